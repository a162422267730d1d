"""Why steps were not hits: root causes, and what merely follows from them.

Guarantees: the answer comes from keys and key traces that were stored when they were made; nothing is
built and nothing is guessed. A step is compared with its newest earlier result. A difference in an input
that another step made is followed to that step, as it was then and is now; what remains are the leaves:
files, flags, variables, settings, packages, rule code. One leaf is named once, however many steps it
made run again.

A comparison is (a step's number now, the name of the earlier build, its number then). The same step may be
in several: a library that was built yesterday is compared with yesterday's, and on behalf of an image that
uses it with the library of the last image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from hermetic.audit.compare import Change, changes
from hermetic.audit.leaves import Leaf, Pair
from hermetic.audit.origins import Edited, Origin, origins
from hermetic.audit.pairing import View, pair
from hermetic.audit.subject import subject_of
from hermetic.execution.records import SYMBOL, Step, Trace
from hermetic.tree import Load

QUOTED = 500  # comparisons whose texts are looked up to say what differs in them; more nobody reads
Comparison: TypeAlias = tuple[int, str, int]
# Of one edit's leaves these are causes each; without them the first is, and the others are its details.
_NAMED = ("source", "package", "base image", "fetch", "dependency")
_ORDER = (*_NAMED, "environment", "command", "script", "parameters")


@dataclass(frozen=True, slots=True)
class Cause:
    """A root cause. ``through``: what was edited, when that is something else than the leaf itself."""

    kind: str
    text: str
    through: str = ""


@dataclass(frozen=True, slots=True)
class Earlier:
    """The result a step is compared with: the name of its build, and its number there."""

    name: str
    step: int


@dataclass(slots=True)
class Finding:
    """What differs in one comparison. ``follows``: the changed steps it takes something from."""

    leaves: list[Leaf] = field(default_factory=list)
    origins: list[Origin] = field(default_factory=list)
    follows: list[int] = field(default_factory=list)
    added: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Explained:
    """A step that was no hit. ``causes``: all that is behind it; ``own``: those that lie in itself."""

    number: int
    earlier: Earlier | None
    own: tuple[Cause, ...]
    causes: frozenset[Cause]
    follows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """``details``: more about a cause. ``steps`` by number."""

    steps: Mapping[int, Explained]
    details: Mapping[Cause, Sequence[str]]

    def roots(self) -> list[tuple[Cause, list[int], list[int]]]:
        """Each cause with the steps it lies in and those that follow; what made most run comes first."""
        own: dict[Cause, list[int]] = {}
        behind: dict[Cause, list[int]] = {}
        for one in self.steps.values():
            for cause in one.causes:
                (own if cause in one.own else behind).setdefault(cause, []).append(one.number)
        found = [(cause, own.get(cause, []), behind.get(cause, [])) for cause in dict.fromkeys((*own, *behind))]
        return sorted(found, key=lambda row: (-len(row[1]) - len(row[2]), row[0].kind, row[0].text))


NEW = Cause("new", "no earlier result anywhere")


class Explainer:
    """``views``: the builds that ``Earlier.name`` names."""

    def __init__(self, now: View, views: Mapping[str, View], load: Load) -> None:
        self.now = now
        self.views = views
        self.load = load
        self._findings: dict[Comparison, Finding] = {}
        self._cascades: dict[Comparison, list[Comparison]] = {}
        self._edited: dict[str, Edited] = {}
        self._given: dict[int, Cause] = {}
        self._details: dict[Cause, dict[str, None]] = {}

    def explain(self, wanted: Mapping[int, Earlier | Cause], order: Sequence[int]) -> Explanation:
        """``wanted``: the steps that were no hits, with the earlier result of each, or with the cause where
        the key says nothing (it failed, it was evicted, it is new). ``order``: all steps, needs first."""
        self._given = {number: one for number, one in wanted.items() if isinstance(one, Cause)}
        rank = {number: place for place, number in enumerate(order)}
        seen = self._reach(wanted)
        roots = self._roots(sorted(seen, key=lambda one: rank[one[0]]))
        by_adding = self._added(wanted, seen, roots, order)
        steps = {}
        for number in sorted(wanted, key=lambda one: rank[one]):
            earlier = wanted[number]
            if isinstance(earlier, Earlier):
                comparison = (number, earlier.name, earlier.step)
                finding = self._findings[comparison]
                steps[number] = Explained(
                    number, earlier, self._own(comparison), roots[comparison], tuple(dict.fromkeys(finding.follows))
                )
            elif earlier.kind == "new" and number in by_adding:
                steps[number] = Explained(number, None, (), by_adding[number], ())
            else:
                steps[number] = Explained(number, None, (earlier,), frozenset((earlier,)), ())
        return Explanation(steps, {cause: tuple(lines) for cause, lines in self._details.items()})

    # --- comparisons ----------------------------------------------------------------------------

    def _reach(self, wanted: Mapping[int, Earlier | Cause]) -> list[Comparison]:
        """Every comparison that is needed, with its finding made."""
        waiting = [(n, one.name, one.step) for n, one in wanted.items() if isinstance(one, Earlier)]
        while waiting:
            comparison = waiting.pop()
            if comparison not in self._findings:
                self._findings[comparison], pairs = self._find(*comparison)
                self._cascades[comparison] = [(new, comparison[1], old) for new, old in pairs]
                waiting += self._cascades[comparison]
        return list(self._findings)

    def _find(self, number: int, name: str, other: int) -> tuple[Finding, list[tuple[int, int]]]:
        now, old = self.now, self.views[name]
        step, before = now.state.steps[number], old.state.steps[other]
        if step.key == before.key:
            return Finding(), []
        pairs, added, removed = pair(now, step.needs, old, before.needs)
        changed = [(n, o) for n, o in pairs if now.state.steps[n].key != old.state.steps[o].key]
        if step.key.startswith(SYMBOL):  # what is not there and will be made again may become another
            changed += [(n, o) for n, o in pairs if n in self._given and (n, o) not in changed]
        finding = Finding(origins=origins(step, before, self._edit(name)), follows=[n for n, _ in changed], added=added)
        traces = old.trace(before.key), now.trace(step.key)
        if traces[0] is None or traces[1] is None:
            if not changed:
                finding.leaves = [Leaf("unknown", f"what made {step.title} is no longer known", declared=False)]
            return finding, changed
        finding.leaves = [*self._leaves(step, traces[0], traces[1], {now.state.steps[n].title for n, _ in changed})]
        finding.leaves += [Leaf("dependency", f"{self._title(now, n)} added") for n in added]
        finding.leaves += [Leaf("dependency", f"{self._title(old, o)} removed") for o in removed]
        finding.leaves = list(dict.fromkeys(finding.leaves))
        if not finding.leaves and not changed:
            finding.leaves = [Leaf("order", f"order of the inputs of {step.title}")]
        return finding, changed

    def _leaves(self, step: Step, old: Trace, new: Trace, changed: set[str]) -> Iterable[Leaf]:
        """The leaves that lie in the step itself."""
        words = Pair(step, old, new, self.load, quote=len(self._findings) < QUOTED)
        found = changes(old, new)
        real = [one for one in found if not one.moved]
        for one in real or found:
            if not one.made:
                yield from words.leaf(one)
            elif one.old is not None and one.new is not None and not one.moved and _maker(one) not in changed:
                yield Leaf("output", f"{_maker(one)} made something else from the same inputs", declared=False)

    def _title(self, view: View, number: int) -> str:
        """What people call a dependency: the package it holds, or its label."""
        steps = view.state.steps
        at = number
        while True:  # an unpacked package is named by its archive
            subject = subject_of(steps[at], view.trace(steps[at].key))
            if subject is not None:
                return str(subject)
            needs = steps[at].needs
            if len(needs) != 1 or steps[needs[0]].label != steps[number].label:
                return f"dependency {steps[number].label}"
            at = needs[0]

    def _edit(self, name: str) -> Edited:
        if name not in self._edited:
            self._edited[name] = Edited.between(self.views[name].state.files, self.now.state.files)
        return self._edited[name]

    # --- causes ---------------------------------------------------------------------------------

    def _roots(self, comparisons: Sequence[Comparison]) -> dict[Comparison, frozenset[Cause]]:
        """The root causes behind each; needs come before users."""
        found: dict[Comparison, frozenset[Cause]] = {}
        for comparison in comparisons:
            parts = {found[one] for one in self._cascades[comparison]}
            own = self._own(comparison)
            if own:
                parts.add(frozenset(own))
            if not parts and comparison[0] in self._given:
                parts.add(frozenset((self._given[comparison[0]],)))
            found[comparison] = next(iter(parts)) if len(parts) == 1 else frozenset().union(*parts)
        return found

    def _own(self, comparison: Comparison) -> tuple[Cause, ...]:
        """The causes that lie in the step itself, their details noted."""
        finding = self._findings[comparison]
        content = [leaf for leaf in finding.leaves if not leaf.declared]
        declared = sorted((leaf for leaf in finding.leaves if leaf.declared), key=_rank)
        found = {self._note(Cause(leaf.kind, leaf.text), leaf.details): None for leaf in content}
        if not declared:
            return tuple(found)
        causes = self._declared(declared, finding.origins)
        return tuple({**found, **dict.fromkeys(causes)})

    def _declared(self, leaves: Sequence[Leaf], origin: Sequence[Origin]) -> list[Cause]:
        """One cause for what one edit changed in a step."""
        if len(origin) == 1 and origin[0].kind in ("setting", "rule code", "macro"):
            cause = Cause(origin[0].kind, origin[0].text)
            return [self._note(cause, [_line(leaf) for leaf in leaves])]
        if origin and all(one.kind == "setting" for one in origin):
            return [self._note(Cause("setting", one.text), [_line(leaf) for leaf in leaves]) for one in origin]
        through = " or ".join(one.path or one.text for one in origin)
        named = [leaf for leaf in leaves if leaf.kind in _NAMED] or leaves[:1]
        rest = [_line(leaf) for leaf in leaves if leaf not in named]
        causes = [self._note(Cause(leaf.kind, leaf.text, through), leaf.details) for leaf in named]
        self._note(causes[0], rest)
        return causes

    def _note(self, cause: Cause, details: Iterable[str]) -> Cause:
        self._details.setdefault(cause, {}).update(dict.fromkeys(details))
        return cause

    def _added(
        self,
        wanted: Mapping[int, Earlier | Cause],
        seen: Sequence[Comparison],
        roots: Mapping[Comparison, frozenset[Cause]],
        order: Sequence[int],
    ) -> dict[int, frozenset[Cause]]:
        """Steps that are new because something else now asks for them: the causes that made it ask."""
        found: dict[int, frozenset[Cause]] = {}
        for comparison in seen:
            for number in self._findings[comparison].added:
                found.setdefault(number, frozenset(self._own(comparison)) or roots[comparison])
        for number in reversed(order):  # users first
            if number in found and isinstance(one := wanted.get(number), Cause) and one.kind == "new":
                for need in self.now.state.steps[number].needs:
                    found.setdefault(need, found[number])
        return found


def _maker(change: Change) -> str:
    """The title of the step that makes an input: of "made //a:b#Run out" it is "//a:b Run"."""
    label, _, rest = change.entry.source.removeprefix("made ").rpartition("#")
    return f"{label} {rest.partition(' ')[0]}"


def _rank(leaf: Leaf) -> int:
    return _ORDER.index(leaf.kind) if leaf.kind in _ORDER else len(_ORDER)


def _line(leaf: Leaf) -> str:
    return f"{leaf.text}: {'; '.join(leaf.details)}" if leaf.details else leaf.text
