"""Configure and analyse: from declarations to configured targets and their actions.

Guarantees: a (label, configuration) pair is analysed once; a target's configuration keeps only the
settings its closure read, so an irrelevant setting changes no id and no action; circles, invisible and
missing targets are errors at the line that names them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from hermetic.analysis import visibility
from hermetic.analysis.attributes import edges, instantiate, map_labels
from hermetic.analysis.configured import Configured
from hermetic.analysis.context import RuleContext
from hermetic.analysis.made import configured, defect, providers_of
from hermetic.analysis.rule import Edge, Rule
from hermetic.analysis.selects import resolve
from hermetic.analysis.sources import source_file
from hermetic.analysis.toolchains import Toolchains
from hermetic.errors import AttributeError_, BuildFileError, CycleError, HbError, Location, SettingError, did_you_mean
from hermetic.label import Label
from hermetic.loading.declare import Declaration, rule_name
from hermetic.loading.loader import Loader
from hermetic.settings import Configuration, Platform, Setting, Value, find_setting

MAX_CHAIN = 5000  # targets in one chain of dependencies


@dataclass
class _Visit:
    """A target while it is analysed: which settings it read, which targets it used."""

    label: Label
    reads: set[str] = field(default_factory=set)
    deps: list[Configured] = field(default_factory=list)


class Analyser:
    """Analyses targets of one workspace under given settings, each (target, configuration) once."""

    def __init__(self, loader: Loader, exec_platform: str) -> None:
        self.loader = loader
        root = loader.root()
        self.settings: Mapping[str, Setting] = root.settings
        self.platforms: Mapping[str, Platform] = root.platforms
        self.exec_platform = self._platform(exec_platform)
        self.locks: dict[str, str] = {}  # label → what hb lock resolves, also of targets that failed
        self.locations: dict[str, Location] = {}
        self.done: dict[tuple[Label, Configuration], Configured] = {}
        self._failed: dict[tuple[Label, Configuration], HbError] = {}
        self._stack: dict[tuple[Label, Configuration], Location] = {}
        self.toolchains = Toolchains(loader)

    def _platform(self, name: str) -> Platform:
        if self.platforms and name not in self.platforms:
            raise SettingError(
                f"there is no platform {name!r} to run actions on",
                hint=did_you_mean(name, self.platforms) or f"the root BUILD.py declares {', '.join(self.platforms)}",
            )
        os_name, _, arch = name.partition("-")
        return self.platforms.get(name) or Platform(name, os_name, arch)

    # --- targets ---------------------------------------------------------------------------------

    def analyse(self, label: Label, config: Configuration) -> Configured:
        key = (label, config)
        if key in self.done:
            return self.done[key]
        if key in self._failed:
            raise self._failed[key]
        if key in self._stack:
            raise self._circle(key)
        declaration = self.declaration(label)
        if len(self._stack) >= MAX_CHAIN:
            raise BuildFileError(f"{label} ends a chain of {MAX_CHAIN} dependencies", location=declaration.location)
        self._stack[key] = declaration.location
        try:
            self.done[key] = self._analyse(declaration, config)
        except HbError as error:
            self._failed[key] = error
            raise
        finally:
            del self._stack[key]
        return self.done[key]

    def declaration(self, label: Label) -> Declaration:
        package = self.loader.package(label.package)
        if label.name in package.declarations:
            return package.declarations[label.name]
        raise package.absent(label.name)

    def _circle(self, key: tuple[Label, Configuration]) -> CycleError:
        keys = list(self._stack)
        steps = keys[keys.index(key) :]
        path = " → ".join(str(label) for label, _ in [*steps, key])
        places = "; ".join(f"{label} is at {self._stack[label, config]}" for label, config in steps)
        return CycleError(
            f"targets depend on each other in a circle: {path}",
            location=self._stack[key],
            label=str(key[0]),
            hint=f"take one of these dependencies away: {places}"[:2000],
        )

    def _analyse(self, declaration: Declaration, config: Configuration) -> Configured:
        visit = _Visit(declaration.label)
        visibility.check_words(self.loader, declaration)
        rule = self._rule(declaration, config, visit)
        context = self._context(declaration, config, visit)
        try:
            providers = providers_of(rule, context)
        except HbError as error:
            raise error.at(declaration.location, str(declaration.label)) from None
        except Exception as error:
            raise defect(declaration, error) from error
        finally:
            if context.lock:
                self.locks[str(declaration.label)] = context.lock
                self.locations[str(declaration.label)] = declaration.location
        reads = frozenset(visit.reads)
        return configured(declaration, config.restrict(reads), rule, context, providers, visit.deps, reads)

    # --- attributes ------------------------------------------------------------------------------

    def _rule(self, declaration: Declaration, config: Configuration, visit: _Visit) -> Rule:
        def read(name: str) -> Value:
            visit.reads.add(name)
            return config[name]

        try:
            values = {
                name: resolve(value, self.settings, read, declaration.location)
                for name, value in declaration.attrs.items()
            }
        except HbError as error:
            raise error.at(declaration.location, str(declaration.label)) from None
        for name, edge in edges(declaration.rule).items():
            if name in values:
                dep_config, overwritten = self._transition(edge, values, config, declaration)
                follow = partial(self._edge, edge, dep_config, overwritten, declaration, visit)
                values[name] = map_labels(values[name], follow, declaration, name)
        return instantiate(declaration, values)

    def _edge(
        self,
        edge: Edge,
        config: Configuration,
        overwritten: frozenset[str],
        declaration: Declaration,
        visit: _Visit,
        text: str,
    ) -> Any:
        """The value of one label of an attribute: a source file or a configured target."""
        if edge.files and not text.startswith((":", "//", "@")):
            package = self.loader.package(declaration.package)
            if text not in package.declarations:
                return source_file(self.loader, package, text, edge.missing)
        label = Label.parse(text, declaration.package)
        dep = self.analyse(label, config)
        visibility.check(self.loader, dep.label, declaration)
        for provider in edge.provides:
            dep[provider]
        visit.deps.append(dep)
        visit.reads |= dep.reads - overwritten
        return dep

    def _transition(
        self, edge: Edge, values: Mapping[str, Any], config: Configuration, declaration: Declaration
    ) -> tuple[Configuration, frozenset[str]]:
        """The configuration behind an edge, and the settings it no longer takes from here."""
        if edge.transition is None:
            return config, frozenset()
        if edge.transition == "exec":
            return self._exec(config)
        attr = edge.transition.removeprefix("attr:")
        wanted = values.get(attr) or {}
        if not isinstance(wanted, dict):
            raise AttributeError_(
                f"attribute {attr!r} of {rule_name(declaration.rule)} should be a dict of settings, not {wanted!r}",
                location=declaration.location,
                label=str(declaration.label),
            )
        try:
            changes = {name: find_setting(self.settings, name).parse(str(value)) for name, value in wanted.items()}
        except SettingError as error:
            raise error.at(declaration.location, str(declaration.label)) from None
        return config.update(changes), frozenset(changes)

    def _exec(self, config: Configuration) -> tuple[Configuration, frozenset[str]]:
        changes = {name: self.settings[name].parse(value) for name, value in self.exec_platform.settings}
        return config.update(changes), frozenset(changes)

    # --- context ---------------------------------------------------------------------------------

    def _context(self, declaration: Declaration, config: Configuration, visit: _Visit) -> RuleContext:
        def setting(name: str) -> Value:
            find_setting(self.settings, name)
            visit.reads.add(name)
            return config[name]

        def platform() -> Platform:
            return self._target_platform(config, visit)

        def toolchain(kind: str) -> Configured:
            dep = self._toolchain(kind, config, visit)
            visit.deps.append(dep)
            visit.reads.update(dep.reads - self._exec(config)[1])
            return dep

        return RuleContext(
            declaration.label,
            declaration.location,
            self.exec_platform,
            platform,
            setting,
            toolchain,
            partial(self._text, declaration.package),
        )

    def _text(self, package: str, path: str) -> str | None:
        from hermetic.loading.evaluate import read_source

        file = Path(self.loader.workspace) / path
        if not file.is_file():
            self.loader.note(package, path, "")
            return None
        data = read_source(file, path)
        self.loader.note(package, path, hashlib.sha256(data).hexdigest())
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise BuildFileError(f"{path} is not UTF-8") from None

    def _target_platform(self, config: Configuration, visit: _Visit) -> Platform:
        for platform in self.platforms.values():
            visit.reads.update(name for name, _ in platform.settings)
            if all(config[name] == self.settings[name].parse(value) for name, value in platform.settings):
                return platform
        raise SettingError(
            f"no platform fits the configuration [{config}]",
            hint=f"platforms are {', '.join(self.platforms) or 'not declared: add platform() to the root BUILD.py'}",
        )

    def _toolchain(self, kind: str, config: Configuration, visit: _Visit) -> Configured:
        target = self._target_platform(config, visit).name
        chosen = self.toolchains.find(kind, self.exec_platform.name, target)
        try:
            return self.analyse(chosen.impl, self._exec(config)[0])
        except HbError as error:
            raise error.at(chosen.location) from None
