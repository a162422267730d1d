"""Golden keys: the key of an action never changes by accident, because then everybody rebuilds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hermetic.action import Action, Inline, Input, Kind, Mode, Output, Root
from hermetic.errors import ActionError, Location
from hermetic.execution.keys import key_of
from hermetic.execution.sources import Sources
from hermetic.store.memory import MemoryStore

BASE = Action(
    id="x",
    label="//pkg:x",
    mnemonic="Run",
    location=Location("pkg/BUILD.py", 3),
    mode=Mode.COMMAND,
    argv=("/bin/sh", "-c", "make"),
    outputs=(Output("out", "/build/out", Kind.TREE),),
    inputs=(Input("/build/a", Inline("A")), Input("/usr/bin/tool", Inline("T", True))),
    env=(("A", "1"), ("B", "2")),
    platform=(("ISA", "amd64"), ("OSFamily", "linux")),
)
INTERNAL = replace(BASE, mode=Mode.INTERNAL, argv=("merge", "{}"), env=(), platform=(), cwd="/")
SECRETS = replace(BASE, secrets=("TOKEN",), secret_generation="1")
FETCH = replace(INTERNAL, mode=Mode.FETCH, argv=("http", '{"sha256":"00"}'), inputs=())

# name → (action, version, whether the key equals the base's)
CHANGES = {
    "base": (BASE, ""),
    "argv": (replace(BASE, argv=("/bin/sh", "-c", "make install")), ""),
    "argv-order": (replace(BASE, argv=("-c", "/bin/sh", "make")), ""),
    "env-value": (replace(BASE, env=(("A", "1"), ("B", "3"))), ""),
    "env-name": (replace(BASE, env=(("A", "1"), ("C", "2"))), ""),
    "env-empty": (replace(BASE, env=()), ""),
    "cwd": (replace(BASE, cwd="/build/sub"), ""),
    "timeout": (replace(BASE, timeout=10), ""),
    "uid": (replace(BASE, uid=0), ""),
    "root": (replace(BASE, root=Root.OVERLAY), ""),
    "platform": (replace(BASE, platform=(("ISA", "arm64"), ("OSFamily", "linux"))), ""),
    "output-path": (replace(BASE, outputs=(Output("out", "/build/dist", Kind.TREE),)), ""),
    "output-kind": (replace(BASE, outputs=(Output("out", "/build/out", Kind.BLOB),)), ""),
    "second-output": (replace(BASE, outputs=(*BASE.outputs, Output("log", "/build/log", Kind.BLOB))), ""),
    "input-content": (replace(BASE, inputs=(Input("/build/a", Inline("B")), BASE.inputs[1])), ""),
    "input-path": (replace(BASE, inputs=(Input("/build/b", Inline("A")), BASE.inputs[1])), ""),
    "input-executable": (replace(BASE, inputs=(Input("/build/a", Inline("A", True)), BASE.inputs[1])), ""),
    "input-writable": (replace(BASE, inputs=(replace(BASE.inputs[0], writable=True), BASE.inputs[1])), ""),
    "no-inputs": (replace(BASE, inputs=()), ""),
    "internal": (INTERNAL, "1"),
    "internal-version": (INTERNAL, "2"),
    "internal-params": (replace(INTERNAL, argv=("merge", '{"replace":true}')), "1"),
    "secrets": (SECRETS, ""),
    "secrets-other": (replace(SECRETS, secrets=("OTHER",)), ""),
    "secrets-two": (replace(SECRETS, secrets=("OTHER", "TOKEN")), ""),
    "secrets-generation": (replace(SECRETS, secret_generation="2"), ""),
    "fetch": (FETCH, "1"),
    "fetch-pin": (replace(FETCH, argv=("http", '{"sha256":"11"}')), "1"),
}
SAME_AS_BASE = {
    "label": replace(BASE, label="//other:y"),
    "id": replace(BASE, id="y"),
    "mnemonic": replace(BASE, mnemonic="Other"),
    "location": replace(BASE, location=Location("elsewhere/BUILD.py", 99)),
    "env order": replace(BASE, env=BASE.env[::-1]),
    "input order": replace(BASE, inputs=BASE.inputs[::-1]),
    "input names": replace(BASE, inputs=tuple(replace(one, name="n") for one in BASE.inputs)),
    "platform order": replace(BASE, platform=BASE.platform[::-1]),
    "settings": replace(BASE, settings=(("arch", "arm64"),)),
    "test": replace(BASE, test=True),
    "output names": replace(BASE, outputs=(Output("other", "/build/out", Kind.TREE),)),
}


def key(action: Action, version: str = "") -> str:
    store = MemoryStore()
    sources = Sources.__new__(Sources)
    sources._store = store  # only Inline refs are resolved here
    return key_of(action, lambda ref: sources.resolve(ref, {}), store, version).key.hash


@pytest.mark.parametrize("name", CHANGES)
def test_golden_key(name: str, golden) -> None:
    golden.check(name, {"key": key(*CHANGES[name])})


def test_no_stray_goldens(golden) -> None:
    golden.check_no_others(list(CHANGES))


def test_every_change_gives_another_key() -> None:
    keys = {name: key(*change) for name, change in CHANGES.items()}
    assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize("name", SAME_AS_BASE)
def test_what_must_not_matter(name: str) -> None:
    assert key(SAME_AS_BASE[name]) == key(BASE)


def test_mirrors_are_not_in_the_key() -> None:
    assert key(replace(FETCH, unkeyed='{"urls":["http://example.org"]}'), "1") == key(FETCH, "1")
    assert key(replace(FETCH, label="//other:y"), "1") == key(FETCH, "1")


def test_the_secrets_of_a_fetch_are_not_in_its_key() -> None:
    login = '{"auth":{"secret":"TOKEN","user":""},"urls":["http://example.org"]}'
    assert key(replace(FETCH, secrets=("TOKEN",), unkeyed=login), "1") == key(FETCH, "1")


def test_two_inputs_at_one_path_are_an_error_with_a_place() -> None:
    clash = replace(BASE, inputs=(Input("/build/a", Inline("A")), Input("/build/a", Inline("B"))))
    with pytest.raises(ActionError, match=r"pkg/BUILD.py:3: two inputs put different things at /build/a"):
        key(clash)


@given(st.permutations(range(6)), st.permutations(range(4)))
def test_order_never_matters_where_nothing_overlaps(inputs: list[int], env: list[int]) -> None:
    given_inputs = [Input(f"/build/{n}", Inline(str(n))) for n in range(6)]
    given_env = [(f"V{n}", str(n)) for n in range(4)]
    action = replace(BASE, inputs=tuple(given_inputs), env=tuple(given_env))
    shuffled = replace(BASE, inputs=tuple(given_inputs[n] for n in inputs), env=tuple(given_env[n] for n in env))
    assert key(action) == key(shuffled)
