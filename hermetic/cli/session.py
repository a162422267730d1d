"""A command's session: the workspace, the store and the machinery, made from options.

The only place where the parts are put together. Everything below takes what it needs as arguments.
"""

from __future__ import annotations

import argparse
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from hermetic.action import ActionGraph, Kind, TargetNode
from hermetic.cli import workspace
from hermetic.cli.compile_cache import compile_cache
from hermetic.cli.machine import check, jobs_of, machine, telling
from hermetic.cli.null import new_build_id
from hermetic.cli.remote import remote_cache, results, tidy, tiered
from hermetic.cli.scratch import scratch_folder
from hermetic.cli.secrets import vault_of
from hermetic.cli.watch import Watch, watching
from hermetic.cli.workspace import Workspace
from hermetic.errors import ActionError, BuildFileError, CommandLineError, FetchError
from hermetic.execution.executor import Executor, Options
from hermetic.execution.frontend import Frontend, Loaded, Since
from hermetic.execution.outcome import BuildResult, Reporter, Silent
from hermetic.execution.runner import Runner
from hermetic.execution.sources import Sources
from hermetic.execution.state import Earlier
from hermetic.fetch.spec import FetchRequest
from hermetic.sandbox.cgroup import Groups
from hermetic.sandbox.namespace import NamespaceSandbox
from hermetic.spans import UNHEARD, Spans
from hermetic.store.disk import DiskStore
from hermetic.store.filestate import FileStates
from hermetic.store.lease import in_use
from hermetic.store.operation import Resolved
from hermetic.store.stage import DiskStage
from hermetic.vault import Vault

if TYPE_CHECKING:
    from hermetic.cli.remote import Results
    from hermetic.execution.compile_cache import CompileCache

UNSEEN = {"dry_run": False, "events": None}  # of a tool's build
LOOKERS = 32  # actions looked for in a remote cache while others run


@dataclass(frozen=True)
class Session:
    workspace: Workspace
    store: DiskStore
    stage: DiskStage
    states: FileStates
    sources: Sources
    args: argparse.Namespace
    scratch: Path
    cancel: threading.Event
    remote: Results | None = None  # of the remote cache
    vault: Vault = field(default_factory=Vault)
    watch: Watch = field(default_factory=Watch)
    compile_cache: CompileCache | None = None

    @property
    def derived(self) -> Path:
        return self.store.root / "derived"

    @property
    def out(self) -> Path:
        """hb-out/ in the workspace, or below the store when the workspace is read-only."""
        if os.access(self.workspace.root, os.W_OK):
            return self.workspace.root / "hb-out"
        return self.workspace.state_beside(self.store.root) / "hb-out"

    @property
    def jobs(self) -> int:
        return jobs_of(self.args, self.workspace)

    @cached_property
    def groups(self) -> Groups:
        """Where sandboxes' control groups are made."""
        return Groups.find()

    def load(
        self,
        patterns: Sequence[str],
        since: Since | None = None,
        *,
        tests_only: bool = False,
        keep_going: bool = False,
    ) -> Loaded:
        spans = self.watch.spans
        with spans.span("load"):
            return frontend(self.workspace, spans).graph(
                patterns, package=self.workspace.package, keep_going=keep_going, tests_only=tests_only, since=since
            )

    def load_one(self, label: str) -> tuple[Loaded, TargetNode]:
        """For verbs that take one target."""
        loaded = self.load([label])
        if len(loaded.graph.requested) != 1:
            message = f"{label} names {len(loaded.graph.requested)} targets; hb {self.args.verb} takes one"
            raise CommandLineError(message, hint=f"hb query '{label}' lists them")
        return loaded, loaded.graph.targets[loaded.graph.requested[0]]

    def runner(self) -> Runner:
        return Runner(
            store=self.store,
            cache=self.store,
            stage=self.stage,
            sandbox=NamespaceSandbox(self.groups),
            sources=self.sources,
            scratch=self.scratch,
            derived=self.derived,
            cancel=self.cancel,
            keep=getattr(self.args, "sandbox_debug", False),
            remote=self.remote,
            vault=self.vault,
            spans=self.watch.spans,
            compile_cache=self.compile_cache,
        )

    def tool(self, label: str) -> Path:
        """Build a target that is a tool of hb's own, without a word; the staged tree. Raises HbError."""
        from hermetic.analysis.codec import made_in

        graph = self.load([label]).graph
        plain = replace(self, args=argparse.Namespace(**{**vars(self.args), **UNSEEN}), watch=Watch())
        result = plain.execute(graph, Silent())
        for done in result.failures:
            raise ActionError(f"{label} cannot be built: {done.error}")
        made = made_in(graph.targets[graph.requested[0]].outputs[0][1])
        if made is None or made.kind is not Kind.TREE or made.action not in result.finished:
            raise BuildFileError(f"{label} is no target with a tree")
        found = result.finished[made.action].outputs.get(made.output)
        if found is None:
            raise ActionError(f"{label} was not built")
        return self.stage.tree(found.digest)

    @property
    def state(self) -> Path:
        """Where hb keeps what belongs to this workspace."""
        return self.workspace.state_beside(self.store.root)

    def execute(
        self,
        graph: ActionGraph,
        reporter: Reporter,
        again: Iterable[str] = (),
        *,
        earlier: Earlier | None = None,
    ) -> BuildResult:
        """Build the requested targets of ``graph``."""
        args = self.args
        options = Options(
            jobs=self.jobs,
            keep_going=getattr(args, "keep_going", False),
            dry_run=getattr(args, "dry_run", False),
            lookers=LOOKERS if self.remote is not None else 0,
        )
        with machine(self) as found:
            told, ended = telling(args, reporter)
            executor = Executor(graph, self.runner(), self.fetch, told, options, earlier, found)
            with self.watch.spans.span("execute"):
                result = executor.run(new_build_id(), again)
            self.watch.built(graph, result)
            ended(result)
            return result

    def fetch(self, operation: str, requests: Sequence[FetchRequest], work: Path) -> Sequence[Resolved | FetchError]:
        from hermetic.fetch import dispatch
        from hermetic.fetch.vendor import VendorDir

        vendor = getattr(self.args, "vendor", None)
        options = dispatch.Options(
            vendor=VendorDir(Path(vendor)) if vendor else None,
            network=not (vendor or getattr(self.args, "offline", False)),
            cancelled=self.cancel.is_set,
            vault=self.vault,
        )
        return dispatch.fetch_batch(operation, requests, work, self.store, options)


@contextmanager
def session(args: argparse.Namespace) -> Iterator[Session]:
    """A session for parsed options; cleans up its scratch folder at the end."""
    with watching(args) as watch:
        found = workspace.find(Path.cwd(), args.config, args.set)
        check(args, found)
        yield from _opened(found, args, watch)


def _opened(found: Workspace, args: argparse.Namespace, watch: Watch) -> Iterator[Session]:
    began = time.monotonic()
    vault = vault_of(getattr(args, "secret", []), found.root)
    disk = DiskStore(found.store_path(args.store))
    states = FileStates(found.state_beside(disk.root) / "files.db")
    cancel = threading.Event()
    try:
        with (
            in_use(disk.root),
            scratch_folder(disk.root, keep=getattr(args, "sandbox_debug", False)) as scratch,
            remote_cache(found, args, disk, cancel.is_set, watch.spans) as remote,
        ):
            store = tiered(found, args, disk, remote)
            sources = Sources(found.root, store, states, watch.spans)
            stage = DiskStage(store)
            watch.spans.past("open", began, time.monotonic())
            made = Session(found, store, stage, states, sources, args, scratch, cancel, results(store), vault, watch)
            with compile_cache(found, args, disk, remote, made.tool, cancel.is_set) as compiling:
                yield replace(made, compile_cache=compiling)
        with watch.spans.span("tidy"):
            tidy(found, disk)
    finally:
        states.close()


def frontend(found: Workspace, spans: Spans = UNHEARD) -> Frontend:
    writable = os.access(found.root, os.W_OK)
    return Frontend(
        workspace=found.root,
        exec_platform=found.exec_platform,
        settings={name: setting.value for name, setting in found.settings.items()},
        cache=found.state / "bytecode" if writable else None,
        ignore=found.options["ignore"],
        deadline=float(found.options["load_deadline"]),
        memory=int(found.options["load_memory"]) << 20,
        spans=spans,
        origins={name: setting.origin for name, setting in found.settings.items()},
    )
