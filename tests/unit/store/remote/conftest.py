"""Machines that share a remote, and remotes with a breakable server in front."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fault_proxy import FaultProxy, fault_proxy
from remote_machines import Machine

from hermetic.store.disk import DiskStore


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[..., Machine]]:
    made: list[Machine] = []

    def one(url: str, **more: object) -> Machine:
        made.append(Machine(DiskStore(tmp_path / f"store{len(made)}"), url, **more))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for each in made:
        for cache in each.caches:
            cache.close()
            cache.remote.close()


@pytest.fixture
def http_proxy(http_cache) -> Iterator[FaultProxy]:
    with fault_proxy(http_cache.url) as found:
        found.url += f"/{uuid.uuid4().hex}"
        yield found


@pytest.fixture
def s3_proxy(s3) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint) as found:
        found.url = s3.url(found.url)
        yield found
