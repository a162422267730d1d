"""Mount points are found as the sandbox will see them, through the links of its own roots only."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermetic.action import Kind, Output, Root
from hermetic.errors import ActionError
from hermetic.sandbox.bwrap import MAX_ROOTS, Layout, Skeleton, arguments
from hermetic.sandbox.shell import interactive
from hermetic.sandbox.spec import Mount, SandboxSpec


@pytest.fixture
def roots(tmp_path: Path) -> tuple[Path, Path]:
    """A Debian-like root below, a plain prefix above it."""
    low, high = tmp_path / "low", tmp_path / "high"
    (low / "usr/lib/deep").mkdir(parents=True)
    (low / "lib").symlink_to("usr/lib")
    (low / "abs").symlink_to("/usr/lib")
    (low / "up").symlink_to("../../../lib")
    (low / "loop").symlink_to("loop")
    (low / "usr/lib/link").symlink_to("deep")
    (low / "hidden").symlink_to("/usr/lib")
    (high / "hidden").mkdir(parents=True)
    return low, high


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/lib", "/usr/lib"),
        ("/lib/new/x", "/usr/lib/new/x"),
        ("/abs/link/x", "/usr/lib/deep/x"),
        ("/up/x", "/usr/lib/x"),
        ("/lib/../x", "/usr/x"),
        ("/hidden/link", "/hidden/link"),
        ("/nowhere/at/all", "/nowhere/at/all"),
        ("/", "/"),
    ],
)
def test_resolving(roots: tuple[Path, Path], tmp_path: Path, path: str, seen: str) -> None:
    assert Skeleton(tmp_path / "skeleton", roots).resolve(path) == seen


def test_a_circle_of_links_is_an_error(roots: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="too many symbolic links"):
        Skeleton(tmp_path / "skeleton", roots).resolve("/loop/x")


def test_the_host_s_links_are_not_followed(tmp_path: Path) -> None:
    """/out leads out of its root to a folder of the host, where x is a link; a higher root covers it."""
    (tmp_path / "host").mkdir()
    (tmp_path / "host/x").symlink_to("/usr")
    low, high = tmp_path / "low", tmp_path / "high"
    low.mkdir()
    (low / "out").symlink_to(tmp_path / "host")
    (high / "out").mkdir(parents=True)
    assert Skeleton(tmp_path / "skeleton", (low, high)).resolve("/out/x") == "/out/x"


def spec(**options) -> SandboxSpec:
    return SandboxSpec(**{"argv": ("/bin/true",), "roots": (), **options})


def test_too_many_roots(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="more than overlayfs stacks"):
        arguments(spec(roots=(tmp_path,) * (MAX_ROOTS + 1)), Layout(tmp_path / "work"))


def test_a_file_output_outside_the_build_folder(tmp_path: Path) -> None:
    with pytest.raises(ActionError, match="does not lie below /build"):
        arguments(spec(outputs=(Output("out", "/usr/x", Kind.BLOB),)), Layout(tmp_path))


def test_what_tunes_speed_never_replaces_what_was_declared(tmp_path: Path) -> None:
    argv = arguments(spec(env=(("MAX_JOBS", "1"),), speed=(("MAX_JOBS", "8"), ("NVCC_THREADS", "2"))), Layout(tmp_path))
    values = {argv[at + 1]: argv[at + 2] for at, word in enumerate(argv) if word == "--setenv"}
    assert (values["MAX_JOBS"], values["NVCC_THREADS"]) == ("1", "2")


@pytest.mark.parametrize("root", list(Root))
def test_no_nested_namespaces_and_no_shared_ones(tmp_path: Path, root: Root) -> None:
    argv = arguments(spec(root=root), Layout(tmp_path))
    assert {"--unshare-all", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv"} <= set(argv)
    assert "--share-net" not in argv
    assert "CAP_SYS_ADMIN" not in argv


def test_a_shell_has_the_same_mounts_and_a_terminal(tmp_path: Path) -> None:
    given = spec(mounts=(Mount(tmp_path, "/input"),), env=(("A", "1"),))
    argv = interactive(given, tmp_path / "work", ("/bin/cat", "--new-session"))
    own = arguments(given, Layout(tmp_path / "work"))
    assert "--new-session" in own
    assert argv[: argv.index("--")].count("--new-session") == 0
    assert argv[argv.index("--") :] == ["--", "/bin/cat", "--new-session"]
    assert set(own) - set(argv) <= {"--new-session", "/bin/true"}
