"""Configure and analyse: from declarations to configured targets and their actions.

Guarantees: a (label, configuration) pair is analysed once; a target's configuration keeps only the
settings its closure read, so an irrelevant setting changes no id and no action; circles, invisible and
missing targets are errors at the line that names them.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from hermetic.action import Action, SourceFile, TargetNode
from hermetic.analysis import visibility
from hermetic.analysis.attributes import edges, instantiate, map_labels
from hermetic.analysis.context import RuleContext
from hermetic.analysis.rule import Default, Edge, P, Provider, Rule
from hermetic.analysis.selects import resolve
from hermetic.errors import BuildFileError, CycleError, HbError, Location, SettingError, did_you_mean
from hermetic.label import Label
from hermetic.loading.declare import Declaration, ToolchainDeclaration, rule_name
from hermetic.loading.loader import Loader
from hermetic.pattern import PatternSet
from hermetic.settings import Configuration, Platform, Setting, Value, find_setting


@dataclass(frozen=True)
class Configured:
    """An analysed target: what rules see of a dependency (``Target``) and what the graph needs."""

    label: Label
    providers: Sequence[Provider]
    node: TargetNode
    actions: Mapping[str, Action]
    reads: frozenset[str]

    def get(self, provider: type[P]) -> P | None:
        return next((one for one in self.providers if isinstance(one, provider)), None)

    def __contains__(self, provider: type[Provider]) -> bool:
        return self.get(provider) is not None

    def __getitem__(self, provider: type[P]) -> P:
        found = self.get(provider)
        if found is None:
            has = ", ".join(type(one).__name__ for one in self.providers) or "nothing"
            raise BuildFileError(
                f"{self.label} ({self.node.rule}) does not provide {provider.__name__}; it provides {has}"
            )
        return found


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
        self._done: dict[tuple[Label, Configuration], Configured] = {}
        self._stack: list[tuple[Label, Configuration]] = []
        self._toolchains: list[ToolchainDeclaration] | None = None

    def _platform(self, name: str) -> Platform:
        os_name, _, arch = name.partition("-")
        return self.platforms.get(name) or Platform(name, os_name, arch)

    # --- targets ---------------------------------------------------------------------------------

    def analyse(self, label: Label, config: Configuration) -> Configured:
        key = (label, config)
        if key in self._done:
            return self._done[key]
        if key in self._stack:
            self._refuse_circle(key)
        declaration = self.declaration(label)
        self._stack.append(key)
        try:
            found = self._analyse(declaration, config)
        finally:
            self._stack.pop()
        self._done[key] = found
        return found

    def declaration(self, label: Label) -> Declaration:
        package = self.loader.package(label.package)
        if label.name in package.declarations:
            return package.declarations[label.name]
        if label.name in package.toolchains:
            raise BuildFileError(f"{label} is a toolchain declaration; name its impl instead")
        near = did_you_mean(label.name, package.declarations)
        raise BuildFileError(
            f"there is no target {label}", hint=near or f"//{label.package} has {', '.join(package.declarations)}"[:300]
        )

    def _refuse_circle(self, key: tuple[Label, Configuration]) -> None:
        labels = [label for label, _ in self._stack[self._stack.index(key) :]] + [key[0]]
        steps = " → ".join(str(label) for label in labels)
        raise CycleError(
            f"targets depend on each other in a circle: {steps}", location=self.declaration(key[0]).location
        )

    def _analyse(self, declaration: Declaration, config: Configuration) -> Configured:
        visit = _Visit(declaration.label)
        rule = self._rule(declaration, config, visit)
        context = self._context(declaration, config, visit)
        try:
            providers = tuple(rule.actions(context))
        except HbError as error:
            raise error.at(declaration.location, str(declaration.label)) from None
        except Exception as error:
            raise _defect(declaration, error) from error
        finally:
            if context.lock:
                self.locks[str(declaration.label)] = context.lock
                self.locations[str(declaration.label)] = declaration.location
        reads = frozenset(visit.reads)
        return self._finish(declaration, config.restrict(reads), providers, context, visit, rule)

    def _finish(
        self,
        declaration: Declaration,
        trimmed: Configuration,
        providers: tuple[Provider, ...],
        context: RuleContext,
        visit: _Visit,
        rule: Rule,
    ) -> Configured:
        texts = trimmed.texts()
        label = str(declaration.label)
        default = next((one for one in providers if isinstance(one, Default)), Default())
        node = TargetNode(
            id=f"{label} [{trimmed}]" if texts else label,
            label=label,
            rule=rule_name(declaration.rule),
            location=declaration.location,
            settings=texts,
            deps=tuple(dict.fromkeys(dep.node.id for dep in visit.deps)),
            actions=tuple(context.made),
            outputs=tuple(default.outputs.items()),
            layout=default.layout,
            tags=tuple(rule.tags),
            test=rule.test,
            lock=context.lock,
        )
        actions = {key: replace(action, settings=texts) for key, action in context.made.items()}
        actions.update((key, action) for dep in visit.deps for key, action in dep.actions.items() if key not in actions)
        return Configured(declaration.label, providers, node, actions, frozenset(visit.reads))

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
        if edge.files and not text.startswith((":", "//")):
            package = self.loader.package(declaration.package)
            path = f"{declaration.package}/{text}" if declaration.package else text
            if text not in package.declarations and (edge.missing or self._is_file(path)):
                return SourceFile(path)
        label = Label.parse(text, declaration.package)
        dep = self.analyse(label, config)
        visibility.check(self.loader, dep.label, declaration)
        for provider in edge.provides:
            dep[provider]
        visit.deps.append(dep)
        visit.reads |= dep.reads - overwritten
        return dep

    def _is_file(self, path: str) -> bool:
        return (Path(self.loader.workspace) / path).is_file()

    def _transition(
        self, edge: Edge, values: Mapping[str, Any], config: Configuration, declaration: Declaration
    ) -> tuple[Configuration, frozenset[str]]:
        """The configuration behind an edge, and the settings it no longer takes from here."""
        if edge.transition is None:
            return config, frozenset()
        if edge.transition == "exec":
            return self._exec(config)
        attr = edge.transition.removeprefix("attr:")
        try:
            changes = {
                name: find_setting(self.settings, name).parse(str(value))
                for name, value in (values.get(attr) or {}).items()
            }
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
            declaration.label, declaration.location, self.exec_platform, platform, setting, toolchain, self._text
        )

    def _text(self, path: str) -> str | None:
        from hermetic.loading.evaluate import read_source

        file = Path(self.loader.workspace) / path
        return read_source(file, path).decode("utf-8") if file.is_file() else None

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
        for one in self._registered():
            if (one.kind, one.exec, one.target) == (kind, self.exec_platform.name, target):
                return self.analyse(one.impl, self._exec(config)[0])
        known = [f"{one.kind} ({one.exec} → {one.target})" for one in self._registered()]
        raise BuildFileError(
            f"no toolchain {kind!r} runs on {self.exec_platform.name} and serves {target}",
            hint=f"registered are {', '.join(known) or 'none: call register_toolchains() in the root BUILD.py'}",
        )

    def _registered(self) -> list[ToolchainDeclaration]:
        if self._toolchains is None:
            patterns = PatternSet.parse(self.loader.root().registered)
            packages = dict.fromkeys(pattern.package for pattern in patterns.patterns)
            declared = [one for path in packages for one in self._declared_toolchains(path)]
            self._toolchains = [one for path, one in declared if patterns.matches(Label(path, one.name))]
        return self._toolchains

    def _declared_toolchains(self, path: str) -> list[tuple[str, ToolchainDeclaration]]:
        return [(path, one) for one in self.loader.package(path).toolchains.values()]


def _defect(declaration: Declaration, error: Exception) -> BuildFileError:
    """A rule that raised something it should not: where in the rule, and for which target."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "the rule"
    return BuildFileError(
        f"the rule {rule_name(declaration.rule)} failed: {type(error).__name__}: {error}",
        location=declaration.location,
        label=str(declaration.label),
        hint=f"mend the rule at {place}",
    )
