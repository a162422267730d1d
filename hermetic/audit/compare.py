"""Two key traces of one step compared: which leaves differ. Pure; nothing is read.

Inputs are paired by what they are (a file, a step's output) and where they appear, so that one package
more in a list of three hundred is one change and not three hundred that moved by one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hermetic.execution.records import Entry, Trace

MADE = "made "


@dataclass(frozen=True, slots=True)
class Change:
    """``kind``: the entry's first word (``command``, ``environment``, ``platform``, ``operation``,
    ``output``, ``directory``, ``timeout``, ``setting``) or ``input``. ``old`` or ``new`` is None when there is no
    such entry. An input whose digests are equal has moved, or its file was renamed."""

    kind: str
    old: Entry | None
    new: Entry | None

    @property
    def entry(self) -> Entry:
        found = self.new or self.old
        assert found is not None
        return found

    @property
    def name(self) -> str:
        """``CFLAGS`` of "environment CFLAGS"."""
        return self.entry.name.partition(" ")[2]

    @property
    def moved(self) -> bool:
        old, new = self.old, self.new
        return old is not None and new is not None and (old.digest, old.source) == (new.digest, new.source)

    @property
    def made(self) -> bool:
        """Whether a step makes this input (now, or before when it is gone)."""
        return self.entry.source.startswith(MADE)


def changes(old: Trace, new: Trace) -> list[Change]:
    """What differs, in the order of the new trace; equal traces have no changes."""
    was, now = _unequal(old.rows if old.command else _completed(old, new), new.rows)
    found = _named([one for one in was if not one.source], [one for one in now if not one.source])
    return found + _inputs([one for one in was if one.source], [one for one in now if one.source])


def _completed(old: Trace, new: Trace) -> Sequence[Sequence[str]]:
    """The rows of a trace from before traces named their sources, as if it had named those of ``new``."""
    sources = {row[0]: row[2] for row in new.rows}
    inputs = [row for row in old.rows if row[0].startswith("input ")]
    others = [row for row in old.rows if not row[0].startswith("input ")]
    known = {row[0] for row in old.rows}
    missing = [row for row in new.rows if row[0] == "directory" and row[0] not in known]
    return [*others, *missing, *([row[0], row[1], sources.get(row[0], "inline")] for row in inputs)]


def _unequal(old: Sequence[Sequence[str]], new: Sequence[Sequence[str]]) -> tuple[list[Entry], list[Entry]]:
    """The entries without those that are equal at the same place: mostly few are left."""
    if len(old) == len(new):
        pairs = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
        old, new = [one for one, _ in pairs], [other for _, other in pairs]
    return list(map(Entry._make, old)), list(map(Entry._make, new))


def _named(old: Sequence[Entry], new: Sequence[Entry]) -> list[Change]:
    before = {one.name: one for one in old}
    after = {one.name: one for one in new}
    found = []
    for name in dict.fromkeys((*after, *before)):
        was, now = before.get(name), after.get(name)
        if was is None or now is None or was.digest != now.digest:
            found.append(Change(name.partition(" ")[0], was, now))
    return found


def _inputs(old: Sequence[Entry], new: Sequence[Entry]) -> list[Change]:
    paired = len(old) == len(new) and all(one[::2] == other[::2] for one, other in zip(old, new, strict=True))
    if paired and {one.digest for one in old}.isdisjoint(one.digest for one in new):  # nothing moved
        return [Change("input", one, other) for one, other in zip(old, new, strict=True)]
    same = Counter(map(_identity, old)) & Counter(map(_identity, new))
    before, after = _without(old, Counter(same)), _without(new, Counter(same))
    pairs: list[Change] = []
    for key in (_content, _place_and_source, _source, _place, _renamed):
        before, after = _pair(before, after, key, pairs)
    return [*pairs, *(Change("input", None, one) for one in after), *(Change("input", one, None) for one in before)]


def _without(entries: Sequence[Entry], same: Counter[tuple[str, ...]]) -> list[Entry]:
    left = []
    for one in entries:
        if same[_identity(one)] > 0:
            same[_identity(one)] -= 1
        else:
            left.append(one)
    return left


def _pair(old: list[Entry], new: list[Entry], key: object, pairs: list[Change]) -> tuple[list[Entry], list[Entry]]:
    assert callable(key)
    waiting: dict[object, list[Entry]] = {}
    for one in reversed(old):
        waiting.setdefault(key(one), []).append(one)
    left = []
    for one in new:
        known = waiting.get(key(one)) if key(one) is not None else None
        if known:
            pairs.append(Change("input", known.pop(), one))
        else:
            left.append(one)
    taken = {id(change.old) for change in pairs}
    return [one for one in old if id(one) not in taken], left


def place_of(entry: Entry) -> str:
    """Where an input appears: an absolute path."""
    return entry.name.rpartition(" at ")[2]


def _identity(entry: Entry) -> tuple[str, ...]:
    return place_of(entry), entry.source, entry.digest


def _place_and_source(entry: Entry) -> object:
    return place_of(entry), entry.source


def _content(entry: Entry) -> object:
    return entry.source, entry.digest


def _source(entry: Entry) -> object:
    return None if entry.source == "inline" else entry.source


def _place(entry: Entry) -> object:
    """Only what has no name of its own is known by its place."""
    return place_of(entry) if entry.source == "inline" else None


def _renamed(entry: Entry) -> object:
    """A file of the workspace under another name."""
    return entry.digest if entry.source.startswith("file ") else None
