"""A workspace made from texts, analysed in this process with the demo rules."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from hermetic.action import ActionGraph, TargetNode
from hermetic.analysis.front import Answer, analyse
from hermetic.loading.loader import Loader

PROJECTS = Path(__file__).parents[2] / "projects"

SETTINGS = """
setting(name="arch", values=["amd64", "arm64"], default="amd64")
setting(name="cuda", values=["12", "13"], default="13")
setting(name="kvbm", default=False)
setting(name="jobs", default=4)
platform(name="linux-amd64", os="linux", arch="amd64", settings={"arch": "amd64"})
platform(name="linux-arm64", os="linux", arch="arm64", settings={"arch": "arm64"})
register_toolchains("//tools:all")
"""

TOOLS = """
from rules.demo import toolset
toolset(name="gcc", command="gcc", reads=["kvbm"])
toolset(name="cross", command="aarch64-gcc")
toolchain(name="native", kind="cc", exec="linux-amd64", target="linux-amd64", impl=":gcc")
toolchain(name="to_arm", kind="cc", exec="linux-amd64", target="linux-arm64", impl=":cross")
"""


def _demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rules.demo", PROJECTS / "demo.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rules.demo"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def demo() -> ModuleType:
    return sys.modules.get("rules.demo") or _demo()


class Workspace:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.write("BUILD.py", SETTINGS)
        self.write("tools/BUILD.py", TOOLS)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def build(self, package: str, text: str) -> None:
        self.write(f"{package}/BUILD.py", "from rules.demo import *\n".replace("*", NAMES) + text)

    def answer(
        self, *patterns: str, exec_platform: str = "linux-amd64", keep_going: bool = False, **settings: str
    ) -> Answer:
        loader = Loader(self.root)
        return analyse(loader, patterns, settings, exec_platform, keep_going=keep_going)

    def graph(self, *patterns: str, exec_platform: str = "linux-amd64", **settings: str) -> ActionGraph:
        return self.answer(*patterns, exec_platform=exec_platform, **settings).graph

    def target(self, label: str, exec_platform: str = "linux-amd64", **settings: str) -> TargetNode:
        graph = self.graph(label, exec_platform=exec_platform, **settings)
        return graph.targets[graph.requested[0]]


NAMES = "alias, compile, configured, download, odd, toolset"


@pytest.fixture
def workspace(tmp_path: Path, demo: ModuleType) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture(scope="session")
def new_workspace(tmp_path_factory: pytest.TempPathFactory, demo: ModuleType) -> Callable[[], Workspace]:
    """Makes a fresh workspace each time: property tests need many."""
    return lambda: Workspace(tmp_path_factory.mktemp("workspace"))
