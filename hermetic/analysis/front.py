"""The front half in one call: patterns and settings in, an action graph out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from hermetic.action import ActionGraph
from hermetic.analysis.analyser import Analyser
from hermetic.analysis.configured import Configured
from hermetic.analysis.deep import with_deep_stack
from hermetic.analysis.lines import GraphLines, graph_in
from hermetic.errors import BuildFileError, CommandLineError, HbError, SettingError, did_you_mean
from hermetic.label import Label
from hermetic.loading.loader import Loader
from hermetic.pattern import Pattern, PatternSet
from hermetic.settings import Configuration, Setting, find_setting

MANUAL = "manual"  # targets with this tag are left out of wildcard patterns


@dataclass(frozen=True)
class Answer:
    """``errors``: of targets that could not be analysed (with keep_going). ``locks``: label → what
    ``hb lock`` resolves there. ``found``: the targets that were asked for."""

    lines: GraphLines
    errors: tuple[HbError, ...]
    locks: Mapping[str, str]
    analyser: Analyser
    found: Sequence[Configured]

    @property
    def graph(self) -> ActionGraph:
        return graph_in(self.lines)


def analyse(
    loader: Loader,
    patterns: Sequence[str],
    overrides: Mapping[str, str],
    exec_platform: str,
    *,
    package: str | None = None,
    keep_going: bool = False,
    tests_only: bool = False,
    prepare: Callable[[Analyser], None] = lambda _: None,
) -> Answer:
    """Analyse what the patterns name. ``overrides``: setting → text, over the defaults. ``prepare``: gives
    the analyser what is known already."""
    wanted = PatternSet.parse(patterns, package)
    return with_deep_stack(lambda: _analyse(loader, wanted, overrides, exec_platform, keep_going, tests_only, prepare))


def _analyse(
    loader: Loader,
    patterns: PatternSet,
    overrides: Mapping[str, str],
    exec_platform: str,
    keep_going: bool,
    tests_only: bool,
    prepare: Callable[[Analyser], None],
) -> Answer:
    analyser = Analyser(loader, exec_platform)
    prepare(analyser)
    config = configuration(analyser.settings, overrides)
    with loader.spans.span("expand"):
        labels = expand(loader, patterns, tests_only)
    found: list[Configured] = []
    errors: list[HbError] = []
    for label in labels:
        try:
            with loader.spans.span("analyse", label=str(label)):
                found.append(analyser.analyse(label, config))
        except HbError as error:
            if not keep_going:
                raise
            if not any(error is other for other in errors):  # one fault, however many targets need it
                errors.append(error)
    return Answer(lines_of(found), tuple(errors), analyser.locks, analyser, found)


def configuration(settings: Mapping[str, Setting], overrides: Mapping[str, str]) -> Configuration:
    """Every setting's value; SettingError for an unknown name or value."""
    values = {name: setting.default for name, setting in settings.items()}
    for name, text in overrides.items():
        values[name] = find_setting(settings, name).parse(text)
    return Configuration.of(values)


def expand(loader: Loader, patterns: PatternSet, tests_only: bool = False) -> list[Label]:
    """The labels that patterns name, in the order of the patterns, each once."""
    labels: dict[Label, None] = {}
    for pattern in patterns.patterns:
        if pattern.negative:
            labels = {label: None for label in labels if not pattern.matches(label)}
            continue
        for label in _named(loader, pattern):
            if not tests_only or loader.package(label.package).declarations[label.name].rule.test:  # type: ignore[attr-defined]
                labels[label] = None
    return list(labels)


def _named(loader: Loader, pattern: Pattern) -> list[Label]:
    if pattern.name is not None:
        label = Label(pattern.package, pattern.name)
        package = loader.package(label.package)
        if label.name not in package.declarations:
            raise BuildFileError(f"there is no target {label}", hint=did_you_mean(label.name, package.declarations))
        return [label]
    paths = loader.packages(pattern.package) if pattern.recursive else [pattern.package]
    if not paths:
        raise CommandLineError(f"there is no package below //{pattern.package}")
    return [
        declaration.label
        for path in paths
        for declaration in loader.package(path).declarations.values()
        if MANUAL not in (declaration.attrs.get("tags") or ())
    ]


def lines_of(found: Sequence[Configured]) -> GraphLines:
    """Actions and targets of everything found and all it depends on."""
    actions: dict[str, bytes] = {}
    targets: dict[str, bytes] = {}
    waiting = list(reversed(found))
    while waiting:
        one = waiting.pop()
        if one.id in targets:
            continue
        targets[one.id] = one.node
        for key, action in one.actions.items():
            actions.setdefault(key, action)
        waiting.extend(reversed(one.deps))
    return GraphLines([*actions.values()], [*targets.values()], tuple(dict.fromkeys(one.id for one in found)))


def check_names(settings: Mapping[str, Setting], names: Mapping[str, str], where: str) -> None:
    """Refuse configuration entries that name no setting."""
    for name in names:
        try:
            find_setting(settings, name)
        except SettingError as error:
            raise SettingError(f"{where}: {error.message}", hint=error.hint) from None
