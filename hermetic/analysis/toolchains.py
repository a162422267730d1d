"""Registered toolchains: found by kind, the platform they run on and the platform they serve."""

from __future__ import annotations

from functools import cached_property

from hermetic.errors import BuildFileError, CommandLineError, Location, did_you_mean
from hermetic.label import Label
from hermetic.loading.declare import ToolchainDeclaration
from hermetic.loading.glob import BUILD_FILE
from hermetic.loading.loader import Loader
from hermetic.pattern import Pattern, PatternSet


class Toolchains:
    """The toolchains that the root package registers, in the order of its patterns."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def find(self, kind: str, runs_on: str, serves: str) -> ToolchainDeclaration:
        """The first one that fits. BuildFileError naming what there is when none does."""
        for one in self.registered:
            if (one.kind, one.exec, one.target) == (kind, runs_on, serves):
                return one
        known = [f"{one.kind} ({one.exec} → {one.target})" for one in self.registered]
        listed = f"registered are {', '.join(known) or 'none: call register_toolchains() in the root BUILD.py'}"
        kinds = {one.kind for one in self.registered}
        raise BuildFileError(
            f"no toolchain {kind!r} runs on {runs_on} and serves {serves}",
            hint=(None if kind in kinds else did_you_mean(kind, kinds)) or listed,
        )

    @cached_property
    def registered(self) -> list[ToolchainDeclaration]:
        try:
            patterns = PatternSet.parse(self._loader.root().registered)
        except CommandLineError as error:
            raise BuildFileError(
                f"register_toolchains(): {error.message}", location=Location(BUILD_FILE, 0), hint=error.hint
            ) from None
        packages = dict.fromkeys(path for pattern in patterns.patterns for path in self._packages(pattern))
        return [
            one
            for path in packages
            for one in self._loader.package(path).toolchains.values()
            if patterns.matches(Label(path, one.name))
        ]

    def _packages(self, pattern: Pattern) -> list[str]:
        return self._loader.packages(pattern.package) if pattern.recursive else [pattern.package]
