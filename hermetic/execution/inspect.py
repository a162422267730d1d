"""An action made ready without running it: its dependencies built, its key known."""

from __future__ import annotations

from hermetic.action import Action, ActionGraph, Kind, Made, Mode, TargetNode
from hermetic.analysis.codec import made_in
from hermetic.errors import CommandLineError, Location
from hermetic.execution.executor import Executor, Options
from hermetic.execution.fetching import Fetch
from hermetic.execution.frontend import Loaded
from hermetic.execution.keys import Keyed, key_of
from hermetic.execution.outcome import Silent, made_by
from hermetic.execution.runner import Runner


def prepare(
    loaded: Loaded, runner: Runner, fetch: Fetch, jobs: int, mnemonic: str | None
) -> tuple[Action, Keyed, Runner]:
    """The command of the requested target, with everything it needs in the store. Raises the error of
    a dependency that fails, or CommandLineError when the target runs no command."""
    graph = loaded.graph
    target = graph.targets[graph.requested[0]]
    actions = [graph.actions[one] for one in target.actions if graph.actions[one].mode is Mode.COMMAND]
    actions = [one for one in actions if mnemonic in (None, one.mnemonic)]
    if not actions:
        raise CommandLineError(f"{target.label} runs no command", hint="name a target that does")
    action = actions[-1]
    needed = [made for one in action.inputs if (made := made_in(one.ref)) is not None]
    refs = tuple((f"{made.action} {made.output}", Made(made.action, made.output, Kind(made.kind))) for made in needed)
    node = TargetNode("inputs", "inputs", "", Location("", 0), (), (), (), refs)
    executor = Executor(
        ActionGraph(graph.actions, {"inputs": node}, ("inputs",)), runner, fetch, Silent(), Options(jobs)
    )
    result = executor.run("inputs")
    for done in result.failures:
        assert done.error is not None
        raise done.error
    outputs = made_by(result.finished.values())
    keyed = key_of(action, lambda ref: runner.sources.resolve(ref, outputs), runner.store)
    keyed.keep(runner.store)
    return action, keyed, runner
