"""How a build ended: what was shown, what happened, which exit code. Made by a cold or a warm build."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hermetic.action import TargetNode
from hermetic.analysis.codec import made_in
from hermetic.cli.remote import stays_remote
from hermetic.cli.session import Session
from hermetic.errors import HbError
from hermetic.execution.outcome import BuildResult, Outcome
from hermetic.execution.publish import digest_of, publish
from hermetic.execution.snapshot import Shown
from hermetic.store.operation import Resolved
from hermetic.store.roots import register


@dataclass(frozen=True)
class Ended:
    """``rows``: the requested targets that are there, in order; ``outcomes``: by target id, hits left out.
    ``requested``: how many targets were asked for. ``errors``: of targets that could not be analysed."""

    result: BuildResult
    requested: int
    rows: Sequence[Shown] = ()
    outcomes: Mapping[str, Outcome] | None = None
    errors: Sequence[HbError] = ()

    @property
    def good(self) -> bool:
        """Whether everything asked for is there: what a snapshot may remember."""
        if self.result.failures or self.result.interrupted or self.errors:
            return False
        return len(self.rows) == self.requested and all(row.path for row in self.rows)

    @property
    def exit_code(self) -> int:
        """As Bazel: the worst of what happened, tests failing only when nothing else did."""
        if self.result.interrupted:
            return 8
        codes = [one.error.exit_code for one in self.result.failures if one.error is not None]
        codes += [error.exit_code for error in self.errors]
        others = [code for code in codes if code != 3]
        return (37 if 37 in others else others[0]) if others else 3 if codes else 0

    def lines(self) -> list[dict[str, str]]:
        outcomes = self.outcomes or {}
        return [row.line(outcomes.get(row.id, Outcome.HIT_LOCAL).value) for row in self.rows]


def show(found: Session, target: TargetNode | Shown, resolved: Resolved) -> Shown:
    """Publish a target's first output below hb-out/, unless it stays remote: then the path is empty.
    Raises MissingBlob."""
    if stays_remote(found.store, resolved):
        digest, path = digest_of(target, resolved, found.store), ""
    else:
        with found.watch.spans.span("publish", label=target.label):
            register(found.store.root, found.out)
            digest, place = publish(target, resolved, found.out, found.store, found.stage, found.derived)
        path = str(place)
    return Shown(
        target.id,
        target.label,
        digest,
        path,
        target.layout,
        resolved.kind.value,
        resolved.digest.hash,
        resolved.digest.size,
        resolved.executable,
    )


def outcome_of(target: TargetNode, result: BuildResult) -> Outcome:
    """A target's outcome: that of the action making its first output; a source is always there."""
    first = made_in(target.outputs[0][1]) if target.outputs else None
    done = result.finished.get(first.action) if first else None
    return done.outcome if done else Outcome.HIT_LOCAL
