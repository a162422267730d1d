"""The stack's graph has its true edges: what a change rebuilds is what depends on it, and no more.

An action's id is a hash of everything it says, including the ids of what it takes its inputs from, so
the ids that differ between two graphs are exactly the cone of the change.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from hermetic.action import ActionGraph, Mode
from hermetic.analysis.front import analyse
from hermetic.errors import FetchError
from hermetic.loading.loader import Loader

ROOT = Path(__file__).parents[2]
IMAGE = "//runtime:none-cu13-amd64"
PARTS = ("BUILD.py", "pyproject.toml", "container", "runtime", "rules", "toolchains")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tmp_path / part)
    return tmp_path


def graph(workspace: Path, label: str = IMAGE, **settings: str) -> ActionGraph:
    return analyse(Loader(workspace), [label], settings, "linux-amd64").graph


def changed(before: ActionGraph, after: ActionGraph) -> set[str]:
    """Labels of the actions that one graph has and the other has not."""
    ids = before.actions.keys() ^ after.actions.keys()
    return {(before.actions.get(one) or after.actions[one]).label for one in ids}


def edit(workspace: Path, path: str, old: str, new: str) -> None:
    place = workspace / path
    text = place.read_text(encoding="utf-8")
    assert old in text
    place.write_text(text.replace(old, new), encoding="utf-8")


def test_bumping_ffmpeg_rebuilds_ffmpeg_and_the_image(workspace: Path) -> None:
    before = graph(workspace)
    edit(workspace, "container/native/locks/ffmpeg.lock", "de668509", "de668508")
    assert changed(before, graph(workspace)) == {
        "//container/native:ffmpeg_src",
        "//container/native:ffmpeg",
        "//container/stages:ffmpeg_source",
        "//container/stages:media",
        "//runtime:none",
    }


def test_bumping_ucx_leaves_ffmpeg_and_the_wheels_alone(workspace: Path) -> None:
    before = graph(workspace)
    edit(workspace, "container/native/locks/ucx.lock", "1a88e09c", "1a88e09d")
    assert changed(before, graph(workspace)) == {
        "//container/native:ucx_src",
        "//container/native:ucx",
        "//container/stages:transports",
        "//runtime:none",
    }


def test_a_new_commit_changes_the_image_configuration_only(workspace: Path) -> None:
    before, after = graph(workspace, commit="a" * 40), graph(workspace, commit="b" * 40)
    assert changed(before, after) == {"//runtime:none"}
    different = [after.actions[one] for one in after.actions.keys() - before.actions.keys()]
    assert [one.mnemonic for one in different] == ["image"]


def test_one_wheel_of_the_lock_rebuilds_one_installation(workspace: Path) -> None:
    before = graph(workspace)
    lock = workspace / "container/wheels/locks/cu13.lock"
    line = next(line for line in lock.read_text().splitlines() if line.startswith("tqdm=="))
    sha256 = line.split()[2]
    edit(workspace, "container/wheels/locks/cu13.lock", sha256, "0" * 64)
    after = graph(workspace)
    installs = [one for one in after.actions.values() if one.mnemonic == "InstallWheel"]
    fresh = [one for one in installs if one.id not in before.actions]
    assert len(installs) > 150
    assert len(fresh) == 1


def test_a_setting_that_does_not_matter_changes_nothing(workspace: Path) -> None:
    before, after = graph(workspace), graph(workspace, enable_media_nixl="true", framework="vllm")
    assert before.actions.keys() == after.actions.keys()
    ucx = "//container/native:ucx"
    assert graph(workspace, ucx).targets.keys() == graph(workspace, ucx, cuda="12").targets.keys()


def test_without_ffmpeg_there_is_none(workspace: Path) -> None:
    labels = {one.label for one in graph(workspace, enable_media_ffmpeg="false").actions.values()}
    assert not any("ffmpeg" in label or "dav1d" in label for label in labels)


def test_kvbm_comes_with_its_setting_only(workspace: Path) -> None:
    def installed(**settings: str) -> bool:
        return any(
            "kvbm" in word for one in graph(workspace, **settings).actions.values()
            if one.mnemonic == "InstallWheel" for word in one.argv
        )  # fmt: skip

    assert not installed()
    assert installed(enable_kvbm="true")


def test_arm64_compiles_with_the_cross_compiler_and_runs_nothing_foreign(workspace: Path) -> None:
    arm = graph(workspace, "//runtime:none-cu13-arm64")
    for action in arm.actions.values():
        if action.mode is Mode.COMMAND:
            assert dict(action.platform)["ISA"] == "amd64"
    ucx = next(
        one for one in arm.actions.values() if one.label == "//container/native:ucx" and one.mode is Mode.COMMAND
    )
    assert dict(ucx.env)["CC"] == "aarch64-linux-gnu-gcc"


def test_cuda_majors_do_not_mix(workspace: Path) -> None:
    for label, other in ((IMAGE, "cu12"), ("//runtime:none-cu12-amd64", "cu13")):
        wheels = [
            word
            for one in graph(workspace, label).actions.values()
            if one.mnemonic == "InstallWheel"
            for word in one.argv
        ]
        assert not [word for word in wheels if f"_{other}" in word and "nvidia" in word]
        assert not [word for word in wheels if f"nixl_{other}" in word]


def test_ngc_says_what_it_wants(workspace: Path) -> None:
    with pytest.raises(FetchError, match="names no commit"):
        graph(workspace, "//container/native:ucx", distro="ngc")
