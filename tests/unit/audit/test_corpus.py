"""One edit, one cause: ``why`` names the true leaf of every mutation, and what must not matter does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

CASES = json.loads((Path(__file__).parents[2] / "cases/why/mutations.json").read_text(encoding="utf-8"))


def test_the_corpus_is_large_enough() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES)
    assert sum(bool(case["causes"]) for case in CASES) >= 40


@pytest.mark.sandbox
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_mutation(case: dict[str, Any], world: Any) -> None:
    world.edit(case["edit"])
    label = case.get("label", "//app:image")
    head = world.build(label, settings=case.get("settings"))
    answer = world.why(head, label)
    causes = sorted(answer.explanation.roots(), key=lambda row: row[0].text)
    found = [(cause.kind, cause.text, cause.through) for cause, _, _ in causes]
    assert found == [(one["kind"], one["text"], one.get("through", "")) for one in case["causes"]]
    ran = [n for n in answer.numbers if answer.outcome(n) != "hit-local"]
    assert bool(ran) == bool(case["causes"])
    assert all(answer.explanation.steps[number].causes for number in ran)


@pytest.mark.sandbox
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_symbols_differ_exactly_where_keys_do(case: dict[str, Any], world: Any, tmp_path: Path) -> None:
    """Nothing was built, so nearly every key is a symbol: the hardest case of ``hb affected``."""
    label = case.get("label", "//app:image")
    empty = world.with_store(tmp_path / "empty")
    before = empty.symbols(label)
    world.edit(case["edit"])
    empty.rules_edited = world.rules_edited
    after = empty.symbols(label, settings=case.get("settings"))
    assert all(key for key in (*before, *after))
    assert (before != after) == bool(case["causes"])
