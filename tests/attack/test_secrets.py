"""Commands that would like to publish a secret they were given, or to learn one they were not.

Each runs for real, with the runner that builds use. What must hold afterwards is one sentence: no byte of the
store, of the scratch folder and of anything that is reported is the value, in any of its forms.
"""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from hermetic.action import Action, Input, Kind, Made, Mode, Output, Root
from hermetic.errors import Location
from hermetic.execution.keys import key_of
from hermetic.execution.outcome import Finished, Outcome
from hermetic.execution.runner import Runner
from hermetic.execution.sources import Sources
from hermetic.needles import forms
from hermetic.sandbox.namespace import NamespaceSandbox
from hermetic.store.disk import DiskStore
from hermetic.store.filestate import FileStates
from hermetic.store.ingest import ingest_tree
from hermetic.store.operation import Resolved
from hermetic.store.stage import DiskStage
from hermetic.vault import Source, Vault

pytestmark = pytest.mark.sandbox
ATTACKS = json.loads((Path(__file__).parent / "secrets.json").read_text(encoding="utf-8"))
VALUE = b"tok-9f8e7d6c5b4a/39281706+x"
OTHER = b"other-secret-of-another-command"
NEEDLES = forms(VALUE) | forms(OTHER)
# v is the value as text, w one of its forms that can be a file's name.
PRELUDE = "v = open('/run/secrets/TOKEN').read(); import base64; w = base64.urlsafe_b64encode(v.encode()).decode()\n"


@pytest.fixture(scope="module")
def machine(rootfs: Path, tmp_path_factory: pytest.TempPathFactory):
    """``machine(name, attack)`` runs one action; ``machine.top`` is all that it leaves."""
    top, store = tmp_path_factory.mktemp("secrets"), DiskStore(tmp_path_factory.mktemp("store"))
    tree = ingest_tree(rootfs, store)
    states = FileStates(top / "files.db")
    (store.root / "work").mkdir()
    vault = Vault({name: Source("env", name) for name in ("TOKEN", "OTHER")}, {b"TOKEN": VALUE, b"OTHER": OTHER})
    runner = Runner(
        store, store, DiskStage(store), NamespaceSandbox(), Sources(top, store, states), store.root / "work",
        store.root / "derived", threading.Event(), vault=vault,
    )  # fmt: skip

    def run(attack: dict[str, str], **more: object) -> Finished:
        argv = ("/bin/bash", "-c", attack.get("shell", ""))
        if "python" in attack:
            argv = ("/usr/bin/python3", "-c", PRELUDE + attack["python"])
        action = Action(
            "a", "//p:a", "Run", Location("p/BUILD.py", 3), Mode.COMMAND, argv, (Output("out", "/build/out", Kind.TREE),),
            (Input("/", Made("rootfs", "out", Kind.TREE)),), timeout=60, secrets=("TOKEN",), secret_generation="1",
        )  # fmt: skip
        action = replace(action, **more)  # type: ignore[arg-type]
        keyed = key_of(action, lambda _: Resolved(Kind.TREE, tree), store)
        done = runner.run(action, keyed)
        run.has_result = store.get(keyed.key) is not None  # type: ignore[attr-defined]
        return done

    run.top, run.store, run.looked_at = store.root, store, set()  # type: ignore[attr-defined]
    yield run
    states.close()


def log_of(machine, done: Finished) -> bytes:
    """Both streams of what ran."""
    files = [
        machine.top / "cas" / digest[:2] / digest.partition("/")[0] for digest in (done.stdout, done.stderr) if digest
    ]
    return b"".join(path.read_bytes() if path.exists() else b"" for path in files)


def nothing_is_left(machine, done: Finished) -> None:
    said = f"{done} {done.error} {done.error!r} {done.tail}".encode()
    assert not [one for one in NEEDLES if one in said], said
    for path in machine.top.rglob("*"):
        found = path.lstat()
        if (path, found.st_ino, found.st_mtime_ns, found.st_size) in machine.looked_at:
            continue  # the root file system, after the first time
        machine.looked_at.add((path, found.st_ino, found.st_mtime_ns, found.st_size))
        texts = [str(path).encode(), str(path.readlink()).encode() if path.is_symlink() else b""]
        if path.is_file() and not path.is_symlink():
            texts.append(path.read_bytes())
        assert not [one for text in texts for one in NEEDLES if one in text], path
    assert list((machine.top / "work").iterdir()) == []


@pytest.mark.parametrize("attack", ATTACKS["says"], ids=lambda one: one["name"])
def test_a_command_that_says_it(attack: dict[str, str], machine) -> None:
    done = machine(attack)
    expected = Outcome.FAILED if "fails" in attack else Outcome.BUILT
    assert done.outcome is expected, done.error
    assert attack.get("fails", "") in str(done.error)
    log = log_of(machine, done)
    if "silent" not in attack and "flood" not in attack["name"]:
        assert b"[secret TOKEN]" in log
    if "fails" in attack:
        assert "[secret TOKEN]" in done.tail
    assert not [one for one in NEEDLES if one in log]
    nothing_is_left(machine, done)


@pytest.mark.parametrize("attack", ATTACKS["makes"], ids=lambda one: one["name"])
def test_a_command_that_makes_it(attack: dict[str, str], machine) -> None:
    done = machine(attack)
    assert done.outcome is Outcome.FAILED
    assert attack["place"] in str(done.error)
    assert str(done.error).startswith("p/BUILD.py:3: ")
    assert not machine.has_result
    nothing_is_left(machine, done)


@pytest.mark.parametrize("attack", ATTACKS["changes"], ids=lambda one: one["name"])
def test_a_command_that_changes_the_root(attack: dict[str, str], machine) -> None:
    done = machine(attack, root=Root.OVERLAY, uid=0, outputs=(Output("changes", "/", Kind.TREE),))
    assert done.outcome is Outcome.FAILED
    assert attack["place"] in str(done.error)
    assert not machine.has_result
    nothing_is_left(machine, done)


@pytest.mark.parametrize("root", Root)
@pytest.mark.parametrize("attack", ATTACKS["reaches"], ids=lambda one: one["name"])
def test_a_command_that_reaches_further(attack: dict[str, str], root: Root, machine) -> None:
    more = {} if root is Root.READONLY else {"root": root, "uid": 0, "outputs": (Output("changes", "/", Kind.TREE),)}
    if root is Root.OVERLAY and attack["name"] == "what lies below the mount":
        pytest.skip("an overlay's /run may be written; what is there is in the changes and looked through")
    done = machine(attack, **more)
    assert done.outcome is Outcome.FAILED, "the attack worked"
    nothing_is_left(machine, done)


def test_two_commands_at_once_see_their_own(machine) -> None:
    """Each waits for the other to be there before it looks."""
    look = "ls /run/secrets; for n in 1 2 3 4 5 6; do sleep 0.1; cat /proc/[0-9]*/environ; done; cat /run/secrets/*"
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(machine, {"shell": f"{look} # {name}"}, secrets=(name,), id=name) for name in ("TOKEN", "OTHER")
        ]
        one, two = (log_of(machine, job.result()) for job in jobs)
    assert b"[secret TOKEN]" in one and b"OTHER" not in one
    assert b"[secret OTHER]" in two and b"[secret TOKEN]" not in two and b"/TOKEN" not in two


def test_modes_owners_and_bytes(machine) -> None:
    """What the guide says a command finds; also when its user is another one."""
    check = (
        "test $(stat -c %a:%u:%s /run/secrets/TOKEN) = 400:{uid}:27 && test $(stat -c %a:%u /run/secrets) = 700:{uid}"
    )
    for uid in (1000, 4711):
        done = machine({"shell": check.format(uid=uid)}, uid=uid)
        assert done.outcome is Outcome.BUILT, log_of(machine, done)
    gone = machine({"shell": "test ! -e /run/secrets"}, secrets=(), secret_generation="")
    assert gone.outcome is Outcome.BUILT, "no command has a place for secrets it did not name"
    changes = (Output("changes", "/", Kind.TREE),)
    kept = machine({"shell": "echo x > /etc/x"}, root=Root.OVERLAY, uid=0, outputs=changes)
    names = {path for path, _ in walked(machine.store, kept.outputs["changes"])}
    assert names == {"", "etc", "etc/x"}, "the mount is in no changes of the root"


def walked(store: DiskStore, resolved: Resolved):
    from hermetic import tree

    return tree.walk(resolved.digest, store.read)


def test_while_it_runs_nothing_of_it_is_outside(machine) -> None:
    """No process of the machine names it, and no file of the store has it, at any moment we look."""
    seen: list[str] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                seen.extend(f"{path}" for one in NEEDLES if one in _bytes(path))
            for folder, _, names in os.walk(machine.top / "work"):
                for path in (Path(folder, name) for name in names):
                    seen.extend(f"{path}" for one in NEEDLES if one in _bytes(path))
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        shell = "for n in 1 2 3 4 5; do cat /run/secrets/TOKEN; sleep 0.1; done; cat /run/secrets/TOKEN >&2"
        done = machine({"shell": shell})
    finally:
        stop.set()
        watcher.join()
    assert done.outcome is Outcome.BUILT
    assert log_of(machine, done).count(b"[secret TOKEN]") == 6
    assert seen == []


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_command_that_is_stopped(machine) -> None:
    """Killed at its limit, with half of the value written: the half is no value, the rest never comes."""
    done = machine({"python": "import time; print(v, v[:20], end='', flush=True); time.sleep(60)"}, timeout=1)
    assert done.outcome is Outcome.TIMEOUT
    assert b"[secret TOKEN] tok-9f8e" in log_of(machine, done)
    nothing_is_left(machine, done)
