"""``hb query --configured`` and ``--actions``: the graph after analysis, and what is known of keys."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace

from hermetic.action import Ref
from hermetic.cli.session import frontend, session
from hermetic.cli.workspace import Workspace
from hermetic.errors import HbError
from hermetic.execution.frontend import Loaded
from hermetic.execution.outcome import Silent, made_by
from hermetic.query.actions import ActionNodes, Actions, Digests
from hermetic.query.answer import Answer, Question, analysable, ask, unconfigured
from hermetic.query.configured import ConfiguredTargets
from hermetic.query.environment import Environment
from hermetic.query.loading import Scope, Source


def configured(question: Question, found: Workspace, args: argparse.Namespace, source: Source) -> Answer:
    """Answer a question about configured targets or, with ``--actions``, about their actions."""
    files, patterns = analysable(question, unconfigured(question, source))
    loaded = frontend(found).graph(patterns, package=found.package, keep_going=question.keep_going)
    packages = dict.fromkeys(one.label[2:].partition(":")[0] for one in loaded.graph.targets.values())
    scope = question.scope
    declared = source.targets(Scope(scope.folders, tuple(dict.fromkeys([*scope.packages, *packages]))))
    targets = ConfiguredTargets(loaded.graph, declared, args.tool_deps, args.implicit_deps, files)
    table = Actions(targets)
    environment = Environment(
        targets,
        question.package,
        question.universe,
        question.keep_going,
        actions=table,
        as_actions=args.actions,
        errors=list(loaded.errors),
    )
    answer = ask(question, environment)
    if not args.actions:
        return answer
    return replace(answer, catalogue=ActionNodes(table, known(args, loaded, table, answer.found.nodes)))


def known(args: argparse.Namespace, loaded: Loaded, table: Actions, actions: Iterable[int]) -> Digests:
    """Keys and digests as far as they are known without running anything: a dry run finds them."""
    owners = {table.targets.name(owner) for action in actions for owner in table.owners(action)}
    graph = replace(loaded.graph, requested=tuple(sorted(owners)))
    args = argparse.Namespace(**{**vars(args), "dry_run": True, "keep_going": True, "jobs": 1})
    with session(args) as found:
        result = found.execute(graph, Silent())
        made = made_by(result.finished.values())
        digests: dict[Ref, str | None] = {}
        for number in actions:
            for one in table.action(number).inputs:
                try:
                    digests[one.ref] = str(found.sources.resolve(one.ref, made).digest)
                except (KeyError, HbError):
                    digests[one.ref] = None
    return Digests({one.action.id: one.key for one in result.finished.values() if one.key}, digests.get)
