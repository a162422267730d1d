"""What a rule made of a target: its providers checked, its actions and the target itself as lines.

Guarantees: what tunes speed (claims of CPUs and memory, compile caches) is added here, after an action's id was made
of everything else; a rule that raises what it should not is an error that names the target and the rule's line.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from dataclasses import replace

from hermetic.action import Mode, TargetNode
from hermetic.analysis.configured import Configured
from hermetic.analysis.context import RuleContext
from hermetic.analysis.lines import action_line, target_line
from hermetic.analysis.resources import resources_of
from hermetic.analysis.rule import Default, Provider, Rule
from hermetic.errors import BuildFileError
from hermetic.loading.declare import Declaration, rule_name
from hermetic.settings import Configuration


def configured(
    declaration: Declaration,
    trimmed: Configuration,
    rule: Rule,
    context: RuleContext,
    providers: tuple[Provider, ...],
    deps: Sequence[Configured],
    reads: frozenset[str],
) -> Configured:
    """``trimmed``: the settings that the target's closure ``reads``."""
    texts = trimmed.texts()
    label = str(declaration.label)
    default = next((one for one in providers if isinstance(one, Default)), Default())
    node = TargetNode(
        id=f"{label} [{trimmed}]" if texts else label,
        label=label,
        rule=rule_name(declaration.rule),
        location=declaration.location,
        settings=texts,
        deps=tuple(dict.fromkeys(dep.id for dep in deps)),
        actions=tuple(context.made),
        outputs=tuple(default.outputs.items()),
        layout=default.layout,
        tags=tuple(rule.tags),
        test=rule.test,
        lock=context.lock,
    )
    claims = resources_of(rule, declaration)
    actions = {
        key: action_line(
            replace(
                action,
                settings=texts,
                resources=claims if action.mode is Mode.COMMAND else (),
                launchers=() if rule.compile_cache is False else action.launchers,
                compile_cache=bool(rule.compile_cache and action.launchers),
            )
        )
        for key, action in context.made.items()
    }
    return Configured(declaration.label, node.id, node.rule, providers, target_line(node), actions, tuple(deps), reads)


def providers_of(rule: Rule, context: RuleContext) -> tuple[Provider, ...]:
    found = rule.actions(context)
    if not isinstance(found, list | tuple):
        raise BuildFileError(
            f"the rule {rule_name(type(rule))} returns {type(found).__name__}, not a list of providers"
        )
    for one in found:
        if not isinstance(one, Provider):
            raise BuildFileError(f"the rule {rule_name(type(rule))} returns {one!r}, which is not a provider")
    return tuple(found)


def defect(declaration: Declaration, error: Exception) -> BuildFileError:
    """A rule that raised something it should not: where in the rule, and for which target."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "the rule"
    return BuildFileError(
        f"the rule {rule_name(declaration.rule)} failed: {type(error).__name__}: {error}",
        location=declaration.location,
        label=str(declaration.label),
        hint=f"mend the rule at {place}",
    )
