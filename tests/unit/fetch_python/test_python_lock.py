"""Locks of Python distributions: uv resolves on an index made here; nothing is built; no host is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hermetic.errors import FetchError
from hermetic.fetch import lockfile
from hermetic.fetch.python_lock import best_wheel, find_sdist, fitting_tags, lock_python, lock_python_sdist

SPEC = {"requirements": ["app==1.0"], "overrides": [], "python": "3.13", "glibc": "2_40", "arches": ["amd64", "arm64"]}
BOTH = ("x86_64", "aarch64")


def spec(**changes: Any) -> dict[str, Any]:
    return {**SPEC, **changes}


def rows(text: str) -> list[list[str]]:
    return lockfile.entries(text, 4)


@pytest.mark.parametrize(
    ("best", "others"),
    [
        ("cp313-cp313-manylinux_2_40_x86_64", ["cp313-cp313-manylinux_2_39_x86_64", "py3-none-any"]),
        ("cp313-cp313-manylinux2014_x86_64", ["cp313-abi3-manylinux2014_x86_64", "cp313-cp313-manylinux_2_41_x86_64"]),
        ("cp39-abi3-manylinux_2_28_x86_64", ["py3-none-any", "cp312-cp312-manylinux_2_28_x86_64"]),
        ("py3-none-manylinux1_x86_64", ["py3-none-any", "cp313-cp313-musllinux_1_2_x86_64"]),
        ("py2.py3-none-any", ["cp313-cp313t-manylinux2014_x86_64", "cp313-cp313-manylinux2014_aarch64"]),
        ("cp313-cp313-linux_x86_64", ["cp313-cp313-win_amd64", "cp313-cp313-macosx_11_0_arm64"]),
        (
            None,
            ["cp314-cp314-manylinux2014_x86_64", "cp314-abi3-manylinux2014_x86_64", "pp311-pypy311_pp73-linux_x86_64"],
        ),
    ],
)
def test_the_best_wheel_fits_best(best: str | None, others: list[str]) -> None:
    tags = fitting_tags("3.13", "2_40", "x86_64")
    for names in ([best, *others], [*others, best]):
        wheels = [{"name": f"t-1-{tag}.whl"} for tag in names if tag]
        found = best_wheel([{"name": "no wheel at all.whl"}, *wheels], tags)
        assert (found["name"] if found else None) == (f"t-1-{best}.whl" if best else None)


def test_of_equal_wheels_the_higher_build_wins() -> None:
    wheels = [{"name": f"t-1{build}-py3-none-any.whl"} for build in ("-2", "", "-10", "-9a")]
    found = best_wheel(wheels, fitting_tags("3.13", "2_40", "x86_64"))
    assert found == {"name": "t-1-10-py3-none-any.whl"}


def test_a_lock_has_one_line_a_file(index: Any, tmp_path: Path) -> None:
    app = {arch: index.wheel("app", "1.0", f"cp313-cp313-manylinux_2_28_{arch}", ("pure-lib>=2",)) for arch in BOTH}
    index.wheel("app", "2.0")
    index.wheel("pure-lib", "1.0")
    pure = index.wheel("pure-lib", "2.5", "py2.py3-none-any", ('only-arm; platform_machine == "aarch64"',))
    arm = index.wheel("only-arm", "3")
    text = lock_python(SPEC, tmp_path)
    assert text.startswith(f"# hb lock python {lockfile.spec_digest(SPEC)}\n")
    assert rows(text) == [
        ["app==1.0", "app-1.0-cp313-cp313-manylinux_2_28_aarch64.whl", app["aarch64"], "arm64"],
        ["app==1.0", "app-1.0-cp313-cp313-manylinux_2_28_x86_64.whl", app["x86_64"], "amd64"],
        ["only-arm==3", "only_arm-3-py3-none-any.whl", arm, "arm64"],
        ["pure-lib==2.5", "pure_lib-2.5-py2.py3-none-any.whl", pure, "any"],
    ]
    assert lock_python(SPEC, tmp_path / "again") == text
    assert not re.search(r"://|127\.0\.0\.1|\d+\.example", text)


def test_overrides_replace_what_packages_ask_for(index: Any, tmp_path: Path) -> None:
    index.wheel("app", "1.0", requires=("lib-cu12", "other<2"))
    index.wheel("other", "1.0")
    index.wheel("other", "2.0")
    found = rows(lock_python(spec(overrides=["lib-cu12; python_version < '3'", "other==2.0"]), tmp_path))
    assert [row[0] for row in found] == ["app==1.0", "other==2.0"]


def test_wheels_of_a_newer_glibc_do_not_fit(index: Any, tmp_path: Path) -> None:
    index.wheel("app", "1.0", "cp313-cp313-manylinux_2_39_x86_64")
    assert rows(lock_python(spec(arches=["amd64"]), tmp_path))
    with pytest.raises(FetchError, match="app"):
        lock_python(spec(arches=["amd64"], glibc="2_36"), tmp_path)


def test_a_missing_wheel_of_one_architecture_is_an_error(index: Any, tmp_path: Path) -> None:
    index.wheel("app", "1.0", "cp313-cp313-manylinux_2_28_x86_64")
    with pytest.raises(FetchError, match="app"):
        lock_python(SPEC, tmp_path)


BOMB = "import pathlib; pathlib.Path({!r}).touch()\nfrom setuptools import setup; setup()\n"


def test_nothing_is_built(index: Any, tmp_path: Path, sdist: Any) -> None:
    """A project that has only a source distribution is refused; its code does not run."""
    ran = tmp_path / "ran"
    index.add(
        "app",
        "app-1.0.tar.gz",
        sdist("app", "1.0", {"setup.py": BOMB.format(str(ran)), "PKG-INFO": "Name: app\nVersion: 1.0\n"}),
    )
    with pytest.raises(FetchError, match="app"):
        lock_python(SPEC, tmp_path)
    assert find_sdist("app==1.0")[2] == "app-1.0.tar.gz"
    assert not ran.exists()


def test_the_machines_own_wheels_play_no_part(
    index: Any, other: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.wheel("app", "1.0")
    plain = lock_python(SPEC, tmp_path / "plain")
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "app-1.0-cp313-cp313-manylinux_2_40_x86_64.whl").write_bytes(b"evil")
    other.add("app", "app-1.0-cp313-cp313-manylinux_2_40_x86_64.whl", b"evil")
    for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.setenv(name, str(folder))
    for name in ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_INDEX"):
        monkeypatch.setenv(name, f"{other.url}/simple")
    monkeypatch.setenv("UV_PRERELEASE", "allow")
    monkeypatch.setenv("UV_EXCLUDE_NEWER", "2001-01-01T00:00:00Z")
    assert lock_python(SPEC, tmp_path / "work") == plain
    assert other.asked == []


def test_no_interpreter_is_downloaded(index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", index.url)
    monkeypatch.setenv("UV_PYTHON_INSTALL_DIR", str(tmp_path / "pythons"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    index.wheel("app", "1.0")
    lock_python(spec(python="3.14"), tmp_path)
    assert {path.split("/")[1] for path in index.asked} == {"simple", "files"}


def test_the_settings_of_the_folder_hb_is_called_in_play_no_part(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.wheel("app", "1.0", requires=("lib",))
    index.wheel("lib", "1.0")
    index.wheel("lib", "2.0")
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[tool.uv]\nconstraint-dependencies = ["lib<2"]\n')
    monkeypatch.chdir(project)
    assert [row[0] for row in rows(lock_python(SPEC, tmp_path / "work"))] == ["app==1.0", "lib==2.0"]


def test_what_cannot_be_resolved_says_why(index: Any, tmp_path: Path) -> None:
    index.wheel("app", "1.0", requires=("lib==1",))
    index.wheel("lib", "2")
    with pytest.raises(FetchError, match=r"(?s)no version of lib==1.*require app==1\.0"):
        lock_python(spec(arches=["amd64"]), tmp_path)


def test_the_index_of_pips_configuration_is_used_for_locking(
    index: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.wheel("app", "1.0")
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    conf = tmp_path / "pip.conf"
    conf.write_text(f"[global]\nindex-url = {index.url}/simple\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
    assert [row[0] for row in rows(lock_python(SPEC, tmp_path))] == ["app==1.0"]


# --- source distributions ---------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
def test_a_source_distribution_is_found_by_its_version(index: Any, tmp_path: Path, as_json: bool) -> None:
    index.json = as_json
    index.wheel("Some-Tool", "1.10")
    index.add("Some-Tool", "some_tool-1.1.tar.gz", b"other version")
    index.add("Some-Tool", "Some.Tool-1.10.zip", b"old zip")
    sha256 = index.add("Some-Tool", "some_tool-1.10.tar.gz", b"source")
    index.add("Some-Tool", "some_tool-nonsense.tar.gz", b"?")
    wanted = {"requirement": "Some_Tool==1.10"}
    text = lock_python_sdist(wanted, tmp_path)
    found = lockfile.entries(text, 3)
    assert found == [["Some_Tool==1.10", "some_tool-1.10.tar.gz", sha256]]


@pytest.mark.parametrize("requirement", ["tool", "tool>=1", "tool==", "tool==x y", "tool==1.*", ""])
def test_a_source_needs_its_version(requirement: str) -> None:
    with pytest.raises(FetchError, match="name==version"):
        find_sdist(requirement)


def test_a_project_of_wheels_only_has_no_source(index: Any) -> None:
    index.wheel("tool", "1.0")
    with pytest.raises(FetchError, match=r"tool==1.0 has no source distribution$"):
        find_sdist("tool==1.0")
    with pytest.raises(FetchError, match="the index has no such project"):
        find_sdist("nobody==1.0")


def test_an_index_without_hashes_cannot_be_locked_from(index: Any) -> None:
    index.hashes = False
    index.add("tool", "tool-1.0.tar.gz", b"source")
    with pytest.raises(FetchError, match="no sha256"):
        find_sdist("tool==1.0")
