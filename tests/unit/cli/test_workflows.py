"""The workflows of docs/guide/ci: YAML, with options and verbs that exist, and secrets where the guide says."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hermetic.cli.main import VERBS
from hermetic.cli.options import Parser, add_build
from hermetic.cli.summary import add_summary
from hermetic.errors import HbError

GUIDE = Path(__file__).parents[3] / "docs" / "guide"
GITHUB = yaml.safe_load((GUIDE / "ci/github.yml").read_text(encoding="utf-8"))
GITLAB = yaml.safe_load((GUIDE / "ci/gitlab.yml").read_text(encoding="utf-8"))


def scripts() -> Iterator[tuple[str, str]]:
    for name, job in GITHUB["jobs"].items():
        yield from ((f"github {name}", step["run"]) for step in job["steps"] if "run" in step)
    for name, job in GITLAB.items():
        if isinstance(job, dict):
            yield from ((f"gitlab {name}", line) for part in ("before_script", "script") for line in job.get(part, ()))


def commands() -> list[list[str]]:
    """Every call of hb in the workflows and the guide."""
    texts = [text for _, text in scripts()] + re.findall(r"```sh\n(.*?)```", (GUIDE / "ci.md").read_text(), re.DOTALL)
    text = "\n".join(texts)
    found = re.findall(r"(?:^|\s)(?:\./)?hb ([^\n|&>#]+)", text, re.MULTILINE)
    return [re.sub(r"\$cache|\$CACHE", "--cache-mode read-write --cache-zone pr-1", one).split() for one in found]


@pytest.mark.parametrize(("name", "script"), list(scripts()))
def test_scripts_are_shell(name: str, script: str) -> None:
    plain = re.sub(r"\$\{\{.*?\}\}", "x", script)
    done = subprocess.run(["bash", "-n"], input=plain, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_call_of_hb_parses() -> None:
    found = [words for words in commands() if words[0] in VERBS]
    assert {words[0] for words in found} >= {"build", "test", "affected", "doctor"}
    for verb, *words in found:
        if verb in ("build", "test"):
            parser = Parser(verb, "about", "example")
            parser.add_argument("pattern", nargs="+")
            add_build(parser)
            add_summary(parser)
            try:
                parser.parse(words)
            except HbError as error:
                pytest.fail(f"hb {verb} {' '.join(words)}: {error}")


def test_the_writers_key_is_in_the_trusted_jobs_only() -> None:
    trusted, other = GITHUB["jobs"]["trusted"], GITHUB["jobs"]["pull-request"]
    assert trusted["environment"] == "cache-writer"
    assert "secrets.HB_CACHE_SIGNING_KEY" in str(trusted) and "secrets.HB_CACHE_SIGNING_KEY" not in str(other)
    assert "HB_WRITER_ROLE" not in str(other)
    triggers: dict[str, Any] = GITHUB[True]  # "on" is a truth value in YAML 1.1
    assert set(triggers) == {"push", "pull_request"} and triggers["push"]["branches"] == ["main"]
    assert GITHUB["permissions"] == {"contents": "read", "id-token": "write"}


def test_pull_requests_write_to_their_own_zone_only() -> None:
    for text in (str(GITHUB["jobs"]["pull-request"]), str(GITLAB["merge-request"])):
        for mode in re.findall(r"--cache-mode \S+( --cache-zone)?", text):
            assert mode
    assert GITHUB["jobs"]["pull-request"]["env"]["ZONE"] == "pr-${{ github.event.number }}"
    assert "--cache-zone" not in str(GITHUB["jobs"]["trusted"]) + str(GITLAB["trusted"])


def test_no_words_of_an_event_are_put_into_a_script() -> None:
    """A branch's name or a title in ``${{ }}`` inside a script is an injection."""
    assert not [script for _, script in scripts() if "${{" in script]
