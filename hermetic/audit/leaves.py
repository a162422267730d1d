"""Changes put into words: which file, which flag, which package, which line of a script.

Old command lines, scripts and source trees are read from the CAS. When one is no longer there the leaf
says less, never something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from hermetic.audit.compare import Change, place_of
from hermetic.audit.subject import pin_of, subject_of
from hermetic.audit.treediff import tree_differences
from hermetic.audit.words import clip, json_changes, line_changes, word_changes
from hermetic.digest import Digest
from hermetic.errors import HbError
from hermetic.execution.records import EXECUTABLE, Entry, Step, Trace
from hermetic.proto import reapi_pb2 as pb
from hermetic.tree import EMPTY_TREE, Load

MOST_FILES = 200  # of one source tree
_TREE_WORDS = {"link": "edited", "type": "is another kind of file"}
_PROPERTIES = {
    "hb:uid": "user id",
    "hb:root": "what it may do to its root",
    "hb:writable": "writable inputs",
    "hb:files": "outputs that are files",
    "hb:secrets": "secrets",
    "hb:secret-generation": "secret generation",
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One thing that differs. ``declared``: it comes from BUILD files, rules, locks or settings, not from
    the content of a file the step reads."""

    kind: str
    text: str
    details: tuple[str, ...] = ()
    declared: bool = True


@dataclass(frozen=True, slots=True)
class Pair:
    """A step now and then, with what made its keys. ``quote``: whether old and new texts are looked up to
    say what in them differs."""

    step: Step
    old: Trace
    new: Trace
    load: Load
    quote: bool = True

    def leaf(self, change: Change) -> Iterator[Leaf]:
        """What a change of these traces means. Changes of settings mean nothing by themselves, and
        inputs made by other steps are not looked at here."""
        if change.kind == "setting":
            return
        if change.kind == "input":
            yield from self._input(change)
        elif change.kind == "command":
            yield self._command()
        elif change.kind == "environment":
            yield Leaf("environment", f"environment {change.name}", (self._arrow(change, "environment"),))
        elif change.kind == "platform":
            title = _PROPERTIES.get(change.name, f"platform property {change.name}")
            yield Leaf("platform", f"{title} of {self.step.title}", (self._arrow(change, "platform"),))
        elif change.kind == "operation":
            yield Leaf("operation", f"hb's operation {self.step.mnemonic}", (_plain(change),), declared=False)
        elif change.kind == "timeout":
            yield Leaf("timeout", f"timeout of {self.step.title}", (f"{_plain(change)} s",))
        else:
            yield Leaf(change.kind, f"{change.entry.name} of {self.step.title}", (_plain(change),))

    # --- commands -------------------------------------------------------------------------------

    def _command(self) -> Leaf:
        old, new = self._words(self.old), self._words(self.new)
        if subject_of(self.step, self.new) is not None:
            return self._fetch(old, new)
        if self.new.entries and self.new.entries[0].name == "operation":
            return Leaf(
                "parameters", f"parameters of {self.step.title}", tuple(_changed(json_changes, old[1:], new[1:]))
            )
        details = word_changes(old, new) if old and new else []
        return Leaf("command", f"command of {self.step.title}", tuple(details))

    def _fetch(self, old: list[str], new: list[str]) -> Leaf:
        was, now = subject_of(self.step, self.old), subject_of(self.step, self.new)
        assert now is not None
        kind = "base image" if now.kind == "base image" else "package" if now.kind == "package" else "fetch"
        if was is not None and was.version != now.version:
            return Leaf(kind, f"{now.kind} {now.name} {was.version} → {now.version}")
        details = word_changes(pin_of(old).split(), pin_of(new).split()) if old and new else []
        return Leaf(kind, str(now), tuple(details))

    def _words(self, trace: Trace) -> list[str]:
        message = self._message(trace)
        return list(message.arguments) if message is not None else []

    def _message(self, trace: Trace) -> pb.Command | None:
        if not self.quote:
            return None
        try:
            return pb.Command.FromString(self.load(Digest.parse(trace.command)))
        except Exception:  # gone, or damaged: protobuf's DecodeError has no common public base
            return None

    def _arrow(self, change: Change, where: str) -> str:
        """The values of a variable or property, in full where the command line is still known."""

        def value(entry: Entry | None, trace: Trace) -> str:
            if entry is None:
                return ""
            message = self._message(trace)
            pairs = () if message is None else message.environment_variables
            known = {one.name: one.value for one in pairs} if where == "environment" else {}
            return known.get(change.name, entry.digest)

        old, new = value(change.old, self.old), value(change.new, self.new)
        if change.old is None or change.new is None:
            return f"+ {clip(new)}" if change.old is None else f"- {clip(old)}"
        words = word_changes(old.split(" "), new.split(" "))
        return "; ".join(words) if words else f"{clip(old)} → {clip(new)}"

    # --- inputs ---------------------------------------------------------------------------------

    def _input(self, change: Change) -> Iterator[Leaf]:
        word, _, name = change.entry.source.partition(" ")
        if word == "file":
            yield from self._file(change, name)
        elif word == "tree":
            yield from self._tree(change, name)
        elif word == "inline":
            yield self._script(change)
        elif change.old is None or change.new is None:
            title = change.entry.name.removeprefix("input ").rpartition(" at ")[0]
            label = name.partition("#")[0] if change.made else title
            yield Leaf("dependency", f"input {label} {'added' if change.old is None else 'removed'}")

    def _file(self, change: Change, path: str) -> Iterator[Leaf]:
        if change.old is None or change.new is None:
            yield Leaf("source", f"source {path} {'added' if change.old is None else 'removed'}")
        elif change.old.source != change.new.source:
            yield Leaf("source", f"source {change.old.source.removeprefix('file ')} renamed to {path}")
        elif change.moved:
            yield Leaf("dependency", f"source {path} is now at {place_of(change.new)}")
        else:
            (was, old_x), (now, new_x) = _parted(change.old.digest), _parted(change.new.digest)
            what = "edited" if was != now else "made executable" if new_x and not old_x else "no longer executable"
            yield Leaf("source", f"source {path} {what}", declared=False)

    def _tree(self, change: Change, base: str) -> Iterator[Leaf]:
        if change.moved:
            yield Leaf("dependency", f"the files of {base or 'the workspace'} are now at {place_of(change.entry)}")
            return
        try:
            old, new = (_digest(change.old), _digest(change.new))
            differences = list(islice(tree_differences(old, new, self.load), MOST_FILES + 1))
        except HbError:
            yield Leaf("source", f"files of {base or 'the workspace'}/ changed", declared=False)
            return
        for one in differences[:MOST_FILES]:
            path = f"{base}/{one.path}" if base else one.path
            said = f"{one.what}: {one.detail}" if one.detail else one.what
            text = f"source {path} {_TREE_WORDS.get(one.what, said)}"
            yield Leaf("source", text, declared=one.what in ("added", "removed"))
        if len(differences) > MOST_FILES:
            yield Leaf("source", f"more files of {base or 'the workspace'}/ changed", declared=False)

    def _script(self, change: Change) -> Leaf:
        name = change.entry.name.removeprefix("input ").rpartition(" at ")[0]
        place = place_of(change.entry)
        title = f"{name} {place} of {self.step.title}" if name != place else f"{place} of {self.step.title}"
        if change.old is None or change.new is None:
            return Leaf("script", f"{title} {'added' if change.old is None else 'removed'}")
        if change.moved:
            return Leaf("script", f"{title} has moved")
        if not self.quote:
            return Leaf("script", title)
        try:
            old, new = (self.load(_digest(one)).decode("utf-8", "replace") for one in (change.old, change.new))
        except HbError:
            return Leaf("script", title)
        return Leaf("script", title, tuple(line_changes(old, new)))


def _changed(compare: Callable[[str, str], list[str]], old: list[str], new: list[str]) -> list[str]:
    try:
        return compare(old[0], new[0]) if old and new else []
    except ValueError:
        return word_changes(old, new)


def _plain(change: Change) -> str:
    old, new = (one.digest if one is not None else "" for one in (change.old, change.new))
    return f"{clip(old)} → {clip(new)}" if old and new else f"+ {clip(new)}" if new else f"- {clip(old)}"


def _parted(text: str) -> tuple[str, bool]:
    return text.removesuffix(EXECUTABLE), text.endswith(EXECUTABLE)


def _digest(entry: Entry | None) -> Digest:
    return Digest.parse(_parted(entry.digest)[0]) if entry is not None else EMPTY_TREE
