"""When a build asks for a secret: before what needs it waits for its turn, and never for a hit."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from hermetic.action import Mode
from hermetic.analysis.lines import Parsed, action_line, may_need_secrets
from hermetic.errors import InternalError, SecretError
from hermetic.execution.compile_cache import CompileCache
from hermetic.sandbox.spec import SandboxSpec
from hermetic.vault import Source, Vault

VALUE = b"hunter2-hunter2"


def vault(value: bytes = VALUE) -> Vault:
    return Vault({"TOKEN": Source("env", "TOKEN")}, {b"TOKEN": value})


def needs(world: Any, name: str, *inputs: str) -> str:
    return world.add(name, *inputs, secrets=("TOKEN",), secret_generation="1")


def outcomes(result: Any) -> dict[str, str]:
    return {name: done.outcome.value for name, done in result.finished.items()}


def test_a_missing_secret_fails_before_anything_runs(world) -> None:
    needs(world, "a")
    world.add("b", "a")
    result = world.build("b")
    assert world.sandbox.ran == []
    assert outcomes(result) == {"a": "failed", "b": "skipped"}
    error = result.finished["a"].error
    assert isinstance(error, SecretError)
    assert str(error).startswith(
        "BUILD.py:1: the secret TOKEN is not given (in //:a)\n  → give it: --secret TOKEN=env:"
    )


def test_it_fails_before_its_turn(world) -> None:
    """The only job is taken by a command that waits for the bad news."""

    def waits(spec: SandboxSpec, work: Path, cancel: Any) -> int:
        for _ in range(1000):
            if ("z", "failed") in world.events.outcomes:
                (work / "out-out").write_text("x")
                return 0
            time.sleep(0.01)
        return 1

    world.sandbox.commands = {"a": waits}
    world.add("a")
    needs(world, "z")
    result = world.build("a", "z", jobs=1, keep_going=True)
    assert outcomes(result) == {"a": "built", "z": "failed"}


def test_what_is_not_given_is_said_before_anything_runs(world) -> None:
    """And not hours later, when the action that needs it has its turn. Once for each secret."""
    said: list[list[str]] = []

    def command(spec: SandboxSpec, work: Path, cancel: Any) -> int:
        said.append(list(world.events.notes))
        return world.copy(spec, work, cancel)

    world.sandbox.commands = {"a": command}
    world.add("a")
    world.add("b", "a")
    needs(world, "c", "b")
    needs(world, "d", "b")
    result = world.build("c", "d", jobs=1)
    assert sorted(outcomes(result)) == ["a", "b", "c", "d"] and result.failures
    assert len(said[0]) == 1 and said == [world.events.notes]
    where, _, hint = said[0][0].partition("\n")
    assert where in (
        f"warning: BUILD.py:{line}: //:{name} Test may run, and the secret TOKEN is not given"
        for line, name in ((3, "c"), (4, "d"))
    )
    assert "--secret TOKEN=env:VARIABLE" in hint


def test_nothing_is_said_of_what_is_given_or_need_not_run(world) -> None:
    world.vault = vault()
    world.add("a")
    needs(world, "b", "a")
    world.build("b")
    assert world.events.notes == []
    world.vault = Vault()
    assert set(outcomes(world.build("b")).values()) == {"hit-local"}
    assert set(outcomes(world.build("b", dry_run=True)).values()) == {"hit-local"}
    assert world.events.notes == []


def test_it_is_said_before_a_fetch(world) -> None:
    pin = json.dumps({"sha256": "0" * 64})
    world.add("f", mode=Mode.FETCH, argv=("http", pin))
    needs(world, "a", "f")
    notes: list[int] = []
    inner = world.fetch

    def fetch(operation: str, requests: Any, work: Path) -> Any:
        notes.append(len(world.events.notes))
        return inner(operation, requests, work)

    world.fetch = fetch
    world.build("a")
    assert notes == [1]


def test_looking_for_secrets_reads_no_line(world) -> None:
    needs(world, "a")
    world.add("b", argv=("b", '"secrets":["TOKEN"]'))
    lines = {action_line(one): name for name, one in world.actions.items()}

    def never(line: bytes) -> Any:
        raise AssertionError(line)

    actions = Parsed(lines, lines, never)
    assert may_need_secrets(actions, "a") and not may_need_secrets(actions, "b")


def test_the_rest_is_built_when_asked_to_keep_going(world) -> None:
    needs(world, "a")
    world.add("b")
    result = world.build("a", "b", keep_going=True)
    assert outcomes(result) == {"a": "failed", "b": "built"}


def test_a_hit_needs_no_secret(world) -> None:
    world.vault = vault()
    needs(world, "a")
    world.build("a")
    world.vault = Vault()
    assert outcomes(world.build("a")) == {"a": "hit-local"}


def test_a_renewed_value_is_the_same_action_and_a_new_generation_is_not(world) -> None:
    world.vault = vault()
    needs(world, "a")
    world.build("a")
    world.vault = vault(b"another value")
    assert outcomes(world.build("a")) == {"a": "hit-local"}
    world.add("a", secrets=("TOKEN",), secret_generation="2")
    assert outcomes(world.build("a")) == {"a": "built"}


def test_a_plan_reads_nothing(world) -> None:
    needs(world, "a")
    assert outcomes(world.build("a", dry_run=True)) == {"a": "skipped"}


def test_the_sandbox_gets_those_that_were_named(world) -> None:
    given: dict[str, Any] = {}

    def command(spec: SandboxSpec, work: Path, cancel: Any) -> int:
        given[spec.argv[0]] = spec.secrets
        (work / "out-out").write_text(spec.argv[0])
        return 0

    world.vault = vault()
    world.sandbox.commands = {"a": command, "b": command}
    needs(world, "a")
    world.add("b")
    assert set(outcomes(world.build("a", "b")).values()) == {"built"}
    assert given["b"] == ()
    assert [(one.name, one.value) for one in given["a"]] == [("TOKEN", VALUE)]


def test_an_empty_secret_fails_what_needs_it(world) -> None:
    world.vault = vault(b"")
    needs(world, "a")
    result = world.build("a")
    assert outcomes(result) == {"a": "failed"} and world.sandbox.ran == []
    assert "the secret TOKEN is empty (in //:a)" in str(result.finished["a"].error)


def test_what_the_system_says_of_a_file_with_that_name(world) -> None:
    """The text of an exception nobody expected ends up in a report on disk."""

    def command(spec: SandboxSpec, work: Path, cancel: Any) -> int:
        raise FileNotFoundError(2, "No such file or directory", f"/x/{VALUE.decode()}")

    world.vault = vault()
    world.sandbox.commands = {"a": command}
    needs(world, "a")
    error = world.build("a").finished["a"].error
    assert isinstance(error, InternalError)
    assert "[secret TOKEN]" in str(error) and "hunter2" not in f"{error} {error.__cause__!r}"


def test_a_compile_cache_is_not_for_commands_with_secrets(world) -> None:
    """What is compiled goes there without being looked through."""

    def never() -> Any:
        raise AssertionError("not for this one")

    cache = CompileCache(never, never, never)  # type: ignore[arg-type]
    launchers = (("CC_LAUNCHER", "sccache"),)
    plain = world.actions[world.add("plain", launchers=launchers)]
    secret = world.actions[world.add("secret", launchers=launchers, secrets=("TOKEN",), secret_generation="1")]
    assert cache.wanted(plain) and not cache.wanted(secret)


def test_fetches_say_what_they_need(world) -> None:
    world.add("f", mode=Mode.FETCH, argv=("http", json.dumps({"sha256": "0" * 64})), secrets=("TOKEN",))
    seen: list[tuple[str, ...]] = []
    inner = world.fetch

    def fetch(operation: str, requests: Any, work: Path) -> Any:
        seen.extend(one.secrets for one in requests)
        return inner(operation, requests, work)

    world.fetch = fetch
    world.build("f")
    assert seen == [("TOKEN",)]
