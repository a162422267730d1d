"""The front half in one call: patterns and settings in, an action graph out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from hermetic.action import ActionGraph
from hermetic.analysis.analyser import Analyser
from hermetic.analysis.configured import Configured
from hermetic.analysis.deep import with_deep_stack
from hermetic.analysis.lines import GraphLines, graph_in
from hermetic.errors import BuildFileError, CommandLineError, HbError, SettingError
from hermetic.label import Label
from hermetic.loading.glob import BUILD_FILE
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
    origins: Mapping[str, str] | None = None,
) -> Answer:
    """Analyse what the patterns name. ``overrides``: setting → text, over the defaults, and ``origins`` where that was
    said, for errors. ``prepare``: gives the analyser what is known already."""
    wanted = PatternSet.parse(patterns, package)
    if wanted.patterns and all(one.negative for one in wanted.patterns):
        hint = f"say first what is meant: //... {' '.join(patterns)}"
        raise CommandLineError("every pattern takes targets away, and there are none yet", hint=hint)
    configure = partial(configuration, overrides=overrides, origins=origins)
    return with_deep_stack(lambda: _analyse(loader, wanted, configure, exec_platform, keep_going, tests_only, prepare))


def _analyse(
    loader: Loader,
    patterns: PatternSet,
    configure: Callable[[Mapping[str, Setting]], Configuration],
    exec_platform: str,
    keep_going: bool,
    tests_only: bool,
    prepare: Callable[[Analyser], None],
) -> Answer:
    analyser = Analyser(loader, exec_platform)
    prepare(analyser)
    config = configure(analyser.settings)
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


def configuration(
    settings: Mapping[str, Setting], overrides: Mapping[str, str], origins: Mapping[str, str] | None = None
) -> Configuration:
    """Every setting's value; SettingError for an unknown name or value, with its origin."""
    values = {name: setting.default for name, setting in settings.items()}
    for name, text in overrides.items():
        try:
            values[name] = find_setting(settings, name).parse(text)
        except SettingError as error:
            where = f"{origins[name]}: " if origins else ""
            raise SettingError(f"{where}{error.message}", hint=error.hint) from None
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
            raise _absent(loader, label)
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


def _absent(loader: Loader, label: Label) -> BuildFileError:
    error = loader.package(label.package).absent(label.name)
    path = f"{label.package}/{label.name}".strip("/")
    if (loader.workspace / path / BUILD_FILE).is_file():
        error.hint = f"//{path} is a package: name //{path}:all, or one of its targets"
    return error


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
