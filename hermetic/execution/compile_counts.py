"""The numbers of compile caches, as the history keeps them and people read them. Plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hermetic.proto import hb_pb2


@dataclass(frozen=True, slots=True)
class Counts:
    """``requests``: compilers called through the cache; ``uncached``: those it can do nothing for, by reason;
    ``errors``: of the cache, not of the code."""

    requests: int = 0
    hits: int = 0
    misses: int = 0
    errors: int = 0
    uncached: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def of(mark: hb_pb2.CompileCache) -> Counts:
        return Counts(mark.requests, mark.hits, mark.misses, mark.errors, dict(sorted(mark.uncached.items())))

    @staticmethod
    def from_object(data: Mapping[str, Any]) -> Counts:
        requests, hits, misses, errors = (int(data[name]) for name in ("requests", "hits", "misses", "errors"))
        uncached = {str(why): int(count) for why, count in data["uncached"].items()}
        return Counts(requests, hits, misses, errors, uncached)

    def to_object(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        if not self.requests:
            return "no requests"
        parts = [f"{self.requests} requests", f"{self.hits} hits", f"{self.misses} misses"]
        if self.hits + self.misses:
            parts[1] += f" ({100 * self.hits // (self.hits + self.misses)} %)"
        parts += [f"{sum(self.uncached.values())} not cacheable"] if self.uncached else []
        parts += [f"{self.errors} errors"] if self.errors else []
        return ", ".join(parts)

    def reasons(self) -> list[str]:
        """``COUNT REASON``, most first."""
        return [f"{count} {why}" for why, count in sorted(self.uncached.items(), key=lambda one: (-one[1], one[0]))]


def total(counts: Iterable[Counts]) -> Counts:
    every = list(counts)
    uncached: Counter[str] = Counter()
    for one in every:
        uncached.update(one.uncached)
    return Counts(
        sum(one.requests for one in every),
        sum(one.hits for one in every),
        sum(one.misses for one in every),
        sum(one.errors for one in every),
        dict(sorted(uncached.items())),
    )
