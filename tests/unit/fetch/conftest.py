"""Shared helpers: a store in memory and a way to look at trees."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from hermetic import tree
from hermetic.digest import Digest
from hermetic.store.memory import MemoryStore


class TreeStore(MemoryStore):
    """A store in memory, with ways to look at its trees."""

    def listing(self, root: Digest) -> dict[str, tree.File | tree.Symlink | tree.Meta]:
        """A tree as the flat mapping ``tree.build`` takes."""
        return {
            path: node.meta if isinstance(node, tree.Directory) else node for path, node in tree.walk(root, self.read)
        }

    def texts(self, root: Digest) -> dict[str, str]:
        """Files by path with their text; symlinks as ``-> target``; directories left out."""
        found = {}
        for path, node in tree.walk(root, self.read):
            if isinstance(node, tree.File):
                found[path] = self.read(node.digest).decode()
            elif isinstance(node, tree.Symlink):
                found[path] = f"-> {node.target}"
        return found


@pytest.fixture
def store() -> TreeStore:
    return TreeStore()


def _load(name: str) -> Any:
    """A helper module of this folder (test folders are no packages)."""
    spec = importlib.util.spec_from_file_location(f"hb_test_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def web() -> Any:
    """The module ``faulty_server``: Server, Reply, Seen, ranged."""
    return _load("faulty_server")
