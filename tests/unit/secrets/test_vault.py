"""Where values come from: who may say so, what is refused, and that no message shows one."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from hermetic.cli import workspace as workspaces
from hermetic.cli.secrets import config_file, vault_of
from hermetic.errors import BuildFileError, HbError, SecretError
from hermetic.vault import Source, Vault

CASES = json.loads((Path(__file__).parents[2] / "cases" / "secrets.json").read_text(encoding="utf-8"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "inside").write_text("hunter2-hunter2")
    (tmp_path / "link-to-inside").symlink_to("ws/inside")
    return tmp_path


def vault(place: Path, *words: str, **environ: str) -> Vault:
    return vault_of(words, place / "ws", {"XDG_CONFIG_HOME": str(place / "config"), **environ}, place)


def config(place: Path, text: str) -> Path:
    path = config_file({"XDG_CONFIG_HOME": str(place / "config")})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("case", CASES["words"], ids=lambda case: case["word"])
def test_a_wrong_word(case: dict, place: Path) -> None:
    with pytest.raises(HbError) as caught:
        vault(place, case["word"])
    assert case["error"] in str(caught.value)
    assert caught.value.exit_code == 2
    assert case.get("unsaid", "\0") not in str(caught.value), "it may be the value itself"


@pytest.mark.parametrize("case", CASES["files"], ids=lambda case: case["text"])
def test_a_wrong_file(case: dict, place: Path) -> None:
    path = config(place, case["text"])
    with pytest.raises(HbError) as caught:
        vault(place)
    assert case["error"] in str(caught.value)
    assert str(path) in str(caught.value)
    assert case.get("unsaid", "\0") not in str(caught.value)


@pytest.mark.parametrize("kind", ["env", "file"])
@pytest.mark.parametrize("case", CASES["values"], ids=lambda case: case["error"])
def test_a_value_that_is_none(case: dict, kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = case["value"] * case.get("times", 1)
    (place / "value").write_text(value)
    monkeypatch.setenv("SOME", value)
    given = vault(place, "TOKEN=env:SOME" if kind == "env" else "TOKEN=file:value")
    given.check(["TOKEN"])
    with pytest.raises(SecretError) as caught:
        given.take(["TOKEN"])
    assert case["error"] in str(caught.value)
    assert case.get("unsaid", "\0") not in str(caught.value)


def test_the_word_is_stronger_than_the_environment_and_that_than_the_file(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ONE", "TWO", "THREE"):
        (place / name).write_text(f"value of {name}\n")
    monkeypatch.setenv("HB_SECRET_B", "value of HB_SECRET_B")
    monkeypatch.setenv("HB_SECRET_C", "value of HB_SECRET_C")
    config(place, "".join(f"[{name}]\nfile = '{place}/ONE'\nhosts = ['Example.org']\n" for name in "ABC"))
    environ = {name: value for name, value in os.environ.items() if name.startswith("HB_SECRET_")}
    found = vault(place, "C=file:THREE", **environ)
    taken = found.take(["A", "B", "C"])
    assert [one.value for one in taken] == [b"value of ONE\n", b"value of HB_SECRET_B", b"value of THREE\n"]
    assert {one.hosts for one in taken} == {("example.org",)}, "a binding holds wherever the value comes from"
    assert [source.said for source in found.sources.values()][1] == "the environment"


def test_a_secret_nobody_gives(place: Path) -> None:
    given = vault(place, "NPM_TOKEN=env:NOT_SET_ANYWHERE", "GONE=file:gone")
    assert given.lacking(["NPM_TOKEN", "GONE", "OTHER"]) == ["NPM_TOKEN", "GONE", "OTHER"]
    phrases = {
        "NPM_TOKEN": "the secret NPM_TOKEN is not given: there is no variable NOT_SET_ANYWHERE",
        "GONE": f"there is no file {place}/gone",
        "NPM_TOKENS": "did you mean 'NPM_TOKEN'?",
        "OTHER": "--secret OTHER=env:VARIABLE or --secret OTHER=file:PATH, or set HB_SECRET_OTHER",
    }
    for name, phrase in phrases.items():
        for ask in (given.check, given.take):
            with pytest.raises(SecretError) as caught:
                ask([name])
            assert phrase in str(caught.value)


def test_a_pipe_is_read_once_and_only_when_it_is_needed(place: Path) -> None:
    os.mkfifo(place / "pipe")
    given = vault(place, "TOKEN=file:pipe")
    given.check(["TOKEN"])  # would wait for a writer if it read
    writer = threading.Thread(target=(place / "pipe").write_text, args=("hunter2-hunter2",))
    writer.start()
    try:
        assert [given.take(["TOKEN"])[0].value for _ in range(2)] == [b"hunter2-hunter2"] * 2
    finally:
        writer.join()


def test_the_workspace_says_nothing(place: Path) -> None:
    """A pull request that maps a name to whatever it would like to have."""
    (place / "ws" / "pyproject.toml").write_text('[tool.hb.secrets]\nTOKEN = "file:/root/.ssh/id_ed25519"\n')
    with pytest.raises(BuildFileError, match=r"says nothing about secrets") as caught:
        workspaces.find(place / "ws")
    assert "--secret" in str(caught.value)


def test_no_vault_shows_a_value(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "value").write_text("hunter2-hunter2")
    monkeypatch.setitem(os.environ, "SOME", "hunter2-hunter2")
    given = vault(place, "TOKEN=file:value", "SOME=env:SOME")
    given.take(["TOKEN", "SOME"])
    assert "hunter2" not in repr(given)
    assert str(Source("env", "X")) == "env:X"
