"""The builds of the past, below STORE/builds: what ``hb log``, ``hb why`` and ``hb diff`` answer from.

    builds/<id>.build        one line of JSON (the head), then the compressed events and key traces
    builds/states/<hash>     which step had which key, shared by all builds that found the same
    builds/sweeps            when results were removed to make room, one line of JSON each

Guarantees: a record appears complete or not at all; one that was torn or damaged, or that another
version of hb wrote, counts as absent; reading a record's head reads nothing else, and asking a hundred
states whether they know a step unpacks none of them. The newest ``KEEP`` builds stay. Nothing is locked:
names are unique, states are contents.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hermetic.errors import StoreError
from hermetic.execution.compile_counts import Counts
from hermetic.execution.records import Event, Record, State
from hermetic.files import COMING, write_whole

FORMAT = 2
MODE = 0o644  # of records
ANY = "*"  # settings of no step
TARGET = ""  # in the index: the mnemonic of a target
KEEP = 200  # builds
SWEEPS = 100  # remembered
SLACK = 20  # builds more than that are removed together
YOUNG = 3600.0  # seconds: a state this new may belong to a build whose head is still being written


class DamagedRecord(StoreError):
    pass


@dataclass(frozen=True, slots=True)
class Head:
    """A build in one line. ``time``: seconds since 1970; ``wall``: seconds; ``state``: a name below states/."""

    id: str
    time: float
    workspace: str
    command: tuple[str, ...]
    wall: float
    outcomes: Mapping[str, int] = field(default_factory=dict)
    interrupted: bool = False
    state: str = ""


class History:
    """The records below ``folder``, which need not exist."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._states: dict[str, State] = {}
        self._bodies: dict[str, tuple[Sequence[Event], Mapping[str, str], Mapping[int, Counts]]] = {}

    # --- writing --------------------------------------------------------------------------------

    def add(self, head: Head, record: Record) -> Head:
        """Keep a build. Returns the head with the state's name."""
        name = self._keep_state(record.state)
        traces = {key: trace.encode() for key, trace in record.traces.items()}
        compiled = {number: counts.to_object() for number, counts in record.compiled.items()}
        said = {"events": list(record.events), "traces": traces, **({"compiled": compiled} if compiled else {})}
        return self._write(head, name, _packed(said))

    def add_unchanged(self, head: Head, state: str) -> Head:
        """Keep a build in which every step was a hit and nothing differs from one with this ``state``."""
        return self._write(head, state, _packed({"events": [], "traces": {}}))

    def _write(self, head: Head, state: str, body: bytes) -> Head:
        words = {**asdict(head), "state": state, "format": FORMAT, "body": len(body), "check": _check(body)}
        first = json.dumps(words, ensure_ascii=True, separators=(",", ":")).encode()
        write_whole(self.folder / f"{head.id}.build", [first, b"\n", body], MODE)
        self._prune()
        return _head(first) or head

    def _keep_state(self, state: State) -> str:
        body = _packed(state.to_object())
        names = {(one.label, one.mnemonic, settings) for one in state.steps for settings in (one.settings, ANY)}
        names |= {(one.label, TARGET, ANY) for one in state.targets}
        index = array("Q", sorted({step_hash(*name) for name in names})).tobytes()
        first = {"format": FORMAT, "index": len(index), "body": len(body), "check": _check(index + body)}
        data = json.dumps(first, separators=(",", ":")).encode() + b"\n" + index + body
        name = _check(data)
        place = self.folder / "states" / name
        try:
            same = place.read_bytes() == data
        except OSError:
            same = False
        if same:
            with suppress(OSError):
                os.utime(place)
        else:
            write_whole(place, [data], MODE)
        return name

    def _prune(self) -> None:
        try:
            count = sum(name.endswith(".build") for name in os.listdir(self.folder))
        except OSError:
            return
        if count <= KEEP + SLACK:
            return
        heads = self.heads()
        for head in heads[: max(len(heads) - KEEP, 0)]:
            (self.folder / f"{head.id}.build").unlink(missing_ok=True)
        needed = {head.state for head in heads[-KEEP:]}
        torn = self.folder.glob(f"{COMING}*")
        for place in (*torn, *(one for one in (self.folder / "states").iterdir() if one.name not in needed)):
            with suppress(OSError):
                if time.time() - place.stat().st_mtime > YOUNG:
                    place.unlink()

    def note_sweep(self, when: float, words: str) -> None:
        """Remember that results were removed to make room; ``words``: why, such as "store quota 20 GiB"."""
        rows = [*self.sweeps()[-SWEEPS + 1 :], (when, words)]
        write_whole(self.folder / "sweeps", [f"{json.dumps(row)}\n".encode() for row in rows], MODE)

    def sweeps(self) -> list[tuple[float, str]]:
        """When results were removed to make room (seconds since 1970, oldest first), and why."""
        found = []
        with suppress(OSError, ValueError, TypeError):
            for line in (self.folder / "sweeps").read_text(encoding="utf-8").splitlines():
                when, words = json.loads(line)
                found.append((float(when), str(words)))
        return found

    # --- reading --------------------------------------------------------------------------------

    def heads(self, workspace: str | None = None) -> list[Head]:
        """Every readable build, oldest first; of one workspace when asked."""
        found = []
        for place in self.folder.glob("*.build"):
            with suppress(OSError), place.open("rb") as stream:
                head = _head(stream.readline())
                if head is not None and head.id == place.stem and workspace in (None, head.workspace):
                    found.append(head)
        return sorted(found, key=lambda one: (one.time, one.id))

    def state(self, head: Head) -> State:
        """Raises DamagedRecord."""
        if head.state not in self._states:
            first, rest = self._read(self.folder / "states" / head.state)
            self._states[head.state] = State.from_object(_unpacked(rest[int(first["index"]) :], head.id))
        return self._states[head.state]

    def events(self, head: Head) -> Sequence[Event]:
        return self._body(head)[0]

    def traces(self, head: Head) -> Mapping[str, str]:
        """Key → encoded trace of the steps that were no local hits in this build."""
        return self._body(head)[1]

    def compiled(self, head: Head) -> Mapping[int, Counts]:
        """Step → what its compile cache did, of those that ran with one."""
        return self._body(head)[2]

    def knows(self, head: Head, hashes: Sequence[int]) -> bool:
        """Whether a build had any of the steps or targets with these ``step_hash``es."""
        place = self.folder / "states" / head.state
        try:
            with place.open("rb") as stream:
                first = json.loads(stream.readline())
                index = array("Q")
                index.frombytes(stream.read(int(first["index"])))
        except (OSError, ValueError, KeyError, TypeError):
            return False
        if len(hashes) > len(index) // 8:
            return not set(hashes).isdisjoint(index)
        return any(_holds(index, one) for one in hashes)

    def _body(self, head: Head) -> tuple[Sequence[Event], Mapping[str, str], Mapping[int, Counts]]:
        if head.id not in self._bodies:
            data = _unpacked(self._read(self.folder / f"{head.id}.build")[1], head.id)
            compiled = {int(number): Counts.from_object(one) for number, one in data.get("compiled", {}).items()}
            self._bodies[head.id] = tuple(map(Event._make, data["events"])), data["traces"], compiled
        return self._bodies[head.id]

    def _read(self, place: Path) -> tuple[dict[str, Any], bytes]:
        """A file's first line and what follows, checked."""
        try:
            line, _, rest = place.read_bytes().partition(b"\n")
            first = json.loads(line)
            if first["format"] == FORMAT and _check(rest) == first["check"]:
                return first, rest
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise DamagedRecord(f"the record {place} is damaged or gone", hint="hb log lists the builds that are kept")


def step_hash(label: str, mnemonic: str, settings: str) -> int:
    """What the index of a state holds: of each step, and of each under ``ANY`` settings."""
    import xxhash

    return xxhash.xxh3_64_intdigest(f"{label}\0{mnemonic}\0{settings}".encode("utf-8", "surrogatepass"))


def durations(
    history: History, workspace: str, wanted: Iterable[tuple[str, str, str]]
) -> dict[tuple[str, str, str], float]:
    """(label, mnemonic, settings) → seconds of the newest success. Steps nothing is known of are absent."""
    left, found = set(wanted), {}
    for head, record in _newest(history, workspace):
        if not left:
            break
        for event in reversed(record):
            if event.outcome in ("built", "evicted"):
                step = history.state(head).steps[event.step]
                identity = (step.label, step.mnemonic, step.settings)
                if identity in left:
                    found[identity] = event.wall
                    left.discard(identity)
    return found


def _newest(history: History, workspace: str) -> Iterator[tuple[Head, Sequence[Event]]]:
    """Builds and their events, those of the workspace first, newest first."""
    heads = history.heads()[::-1]
    for head in (*(one for one in heads if one.workspace == workspace), *heads):
        if not head.outcomes.keys() <= {"hit-local", "hit-remote"}:
            with suppress(DamagedRecord):
                events = history.events(head)
                history.state(head)
                yield head, events


def _holds(index: array[int], value: int) -> bool:
    place = bisect_left(index, value)
    return place < len(index) and index[place] == value


def _head(line: bytes) -> Head | None:
    try:
        data = json.loads(line)
        if data.pop("format") != FORMAT:
            return None
        data.pop("body"), data.pop("check")
        return Head(**{**data, "command": tuple(data["command"])})
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _packed(data: Any) -> bytes:
    return zlib.compress(
        json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"), 1
    )


def _unpacked(data: bytes, what: str) -> Any:
    try:
        return json.loads(zlib.decompress(data))
    except (zlib.error, ValueError):
        raise DamagedRecord(f"the record of build {what} is damaged") from None


def _check(data: bytes) -> str:
    import xxhash

    return xxhash.xxh3_128_hexdigest(data)
