"""Runs one action and stores its result; knows nothing of the graph.

Guarantees: the action cache is written last, after every blob the result names; a failure, a timeout,
an out-of-memory kill, a doubtful success and a result whose sources changed meanwhile are never stored, nor
is anything in which a secret of the action is.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from hermetic import tree
from hermetic.action import Action, Kind, Mode, Root
from hermetic.digest import Digest
from hermetic.errors import ActionError, HbError, TestFailure
from hermetic.execution.compile_cache import CompileCache, around
from hermetic.execution.keys import Component, Keyed
from hermetic.execution.operations import operation
from hermetic.execution.outcome import Finished, Outcome
from hermetic.execution.schedule_grant import SETS_UP, STORES, Grant
from hermetic.execution.sources import Sources
from hermetic.proto import hb_pb2
from hermetic.proto import reapi_pb2 as pb
from hermetic.redact import redacted, without
from hermetic.sandbox.collect import collect
from hermetic.sandbox.spec import Cancel, Ending, Mount, Sandbox, SandboxResult, SandboxSpec
from hermetic.secret import Secret
from hermetic.sizes import show_size
from hermetic.spans import UNHEARD, Spans
from hermetic.store import assisted
from hermetic.store.leaks import GuardedStore
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.protocols import ActionCache, BlobStore, Stage
from hermetic.store.stage import remove_tree
from hermetic.vault import Vault

MANY_ROOTS = 40  # more trees than this are merged into one before they are stacked
TAIL = 8000  # bytes of a failed action's log that its error shows
_BAD = {
    Ending.TIMEOUT: (Outcome.TIMEOUT, "took longer than its limit of {timeout} s"),
    Ending.OOM: (Outcome.OOM, "was killed by the kernel for want of memory: it had {had}"),
    Ending.CANCELLED: (Outcome.SKIPPED, "was cancelled"),
}


@dataclass(frozen=True)
class Runner:
    """What running needs. ``scratch``: where actions' folders are made; ``keep``: leave them there."""

    store: BlobStore
    cache: ActionCache
    stage: Stage
    sandbox: Sandbox
    sources: Sources
    scratch: Path
    derived: Path
    cancel: Cancel
    keep: bool = False
    remote: Callable[[Digest], pb.ActionResult | None] | None = None  # results that the cache has not
    vault: Vault = field(default_factory=Vault)
    spans: Spans = UNHEARD
    compile_cache: CompileCache | None = None

    def run(self, action: Action, keyed: Keyed, grant: Grant | None = None) -> Finished:
        """``grant``: what of the machine it may use; none is one job without limits."""
        started = time.monotonic()
        secrets: tuple[Secret, ...] = ()
        try:
            secrets = self.vault.take(action.secrets)
            self.store.put(keyed.command)  # as REAPI has it; hb why compares old command lines
            if action.mode is Mode.INTERNAL:
                return self._operate(action, keyed, started)
            work = Path(tempfile.mkdtemp(dir=self.scratch))
            try:
                return self._command(action, keyed, grant or Grant(self.cancel), work, started, secrets)
            finally:
                if not self.keep:
                    remove_tree(work)
        except HbError as error:
            without(error, secrets).at(action.location, action.label)
            return Finished(action, Outcome.FAILED, key=keyed.key.hash, wall=time.monotonic() - started, error=error)
        except OSError as error:  # of what the command made: reports show the names
            error.filename = redacted(str(error.filename), secrets) if error.filename and secrets else error.filename
            raise

    def _operate(self, action: Action, keyed: Keyed, started: float) -> Finished:
        inputs = {one.input.path: one.resolved for one in keyed.components}
        bench = Workbench(self.store, self.derived)
        outputs = operation(action.argv[0]).load()(json.loads(action.argv[1]), inputs, bench)
        missing = {output.name for output in action.outputs} - set(outputs)
        if missing:
            raise ActionError(f"the operation {action.argv[0]} did not make {', '.join(sorted(missing))}")
        self.cache.put_result(keyed.key, result_message(action, outputs, keyed))
        return Finished(action, Outcome.BUILT, outputs, keyed.key.hash, time.monotonic() - started)

    def _command(
        self, action: Action, keyed: Keyed, grant: Grant, work: Path, started: float, secrets: tuple[Secret, ...]
    ) -> Finished:
        grant.phase(SETS_UP)
        keyed.keep(self.store)
        spec = grant.prepare(replace(self.spec(action, keyed), secrets=secrets))
        with around(self.compile_cache, action, spec, work) as helped:
            result = self.sandbox.run(helped.spec, work, grant)
        grant.phase(STORES)
        mark = helped.mark(result)
        usage = _usage(result, grant)
        out, err = self.store.put_file(result.stdout), self.store.put_file(result.stderr)

        def ended(outcome: Outcome, outputs: Mapping[str, Resolved], error: HbError | None = None) -> Finished:
            wall = time.monotonic() - started
            tail = _tail(result) if error else ""
            kept = str(work) if self.keep else ""
            return Finished(
                action,
                outcome,
                outputs,
                keyed.key.hash,
                wall,
                error,
                str(out),
                str(err),
                tail,
                kept,
                usage=usage,
                assisted=mark,
            )

        problem = _problem(action, result, grant)
        if problem is not None:
            return ended(problem[0], {}, problem[1])
        try:
            store = GuardedStore(self.store, secrets, work) if secrets else self.store
            with self.spans.span("hash outputs"):
                outputs = collect(action.outputs, result, keyed.input_root, store)
        except ActionError as error:
            return ended(Outcome.FAILED, {}, without(error, secrets).at(action.location, action.label))
        changed = self.sources.unchanged(action)
        if changed is not None:
            edited = ActionError(f"{changed} was edited while it was being built", hint="build again")
            return ended(Outcome.FAILED, {}, edited.at(action.location, action.label))
        if not result.tainted:
            message = result_message(action, outputs, keyed, usage)
            _set(message.stdout_digest, out)
            _set(message.stderr_digest, err)
            if mark is None:
                self.cache.put_result(keyed.key, message)
            else:
                assisted.mark(message, mark)
                self.cache.put_result(assisted.assisted_key(keyed.key), message)
                helped.publish()
        return ended(Outcome.BUILT, outputs)

    def spec(self, action: Action, keyed: Keyed) -> SandboxSpec:
        """What the sandbox mounts: trees outside /build as layers of the root, the rest one by one."""
        roots: list[Digest] = []
        mounts: dict[str, list[Component]] = {}
        for one in keyed.components:
            if one.input.path.startswith("/build/") or one.resolved.kind is Kind.BLOB:
                mounts.setdefault(one.input.path, []).append(one)
            else:
                roots.append(one.root)
        roots = list(dict.fromkeys(roots))
        if len(roots) > MANY_ROOTS:
            roots = [roots[0], tree.merge(roots[1:], self.store.read, self.store.put)]
        return SandboxSpec(
            argv=action.argv,
            roots=tuple(self._staged(root) for root in roots),
            mounts=tuple(self._mount(path, found) for path, found in sorted(mounts.items())),
            outputs=action.outputs,
            env=action.env,
            cwd=action.cwd,
            root=action.root,
            uid=0 if action.root is Root.OVERLAY else action.uid,
            timeout=float(action.timeout),
        )

    def _mount(self, path: str, found: list[Component]) -> Mount:
        writable = any(one.input.writable for one in found)
        first = found[0].resolved
        if first.kind is Kind.BLOB:
            executable = first.executable or found[0].input.executable
            return Mount(self.store.path(first.digest, executable=executable), path)
        root = tree.merge([one.resolved.digest for one in found], self.store.read, self.store.put)
        return Mount(self._staged(root), path, writable)

    def _staged(self, root: Digest) -> Path:
        with self.spans.span("stage", tree=root.hash):
            return self.stage.tree(root)


def _problem(action: Action, result: SandboxResult, grant: Grant) -> tuple[Outcome, HbError] | None:
    if result.ending in _BAD:
        outcome, text = _BAD[result.ending]
        had = f"{show_size(max(result.peak, result.max_rss))} with {grant.jobs} jobs"
        message = f"{action.mnemonic} {text.format(timeout=action.timeout, had=had)}"
    elif result.exit_code:
        outcome = Outcome.FAILED
        code = result.exit_code
        how = f"was ended by signal {code - 128}" if result.ending is Ending.SIGNALLED else f"failed with exit {code}"
        message = f"{action.mnemonic} {how}" + (f"; {result.tainted}" if result.tainted else "")
    else:
        return None
    cls = TestFailure if action.test and outcome is not Outcome.SKIPPED else ActionError
    hint = f"hb shell {action.label} enters its sandbox"
    if outcome is Outcome.OOM:
        hint = "let it do less at once (jobs_memory=, --jobs), or give it more with --local-memory"
    return outcome, cls(message, location=action.location, label=action.label, hint=hint)


def _tail(result: SandboxResult) -> str:
    parts = []
    for path in (result.stdout, result.stderr):
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(size - TAIL, 0))
            parts.append(stream.read().decode("utf-8", "replace"))
    return "\n".join(part.rstrip() for part in parts if part.strip())


def _usage(result: SandboxResult, grant: Grant) -> hb_pb2.Usage:
    return hb_pb2.Usage(
        peak=max(result.peak, result.max_rss),
        cpu=result.cpu,
        wall=result.wall,
        read=result.read,
        written=result.written,
        jobs=grant.jobs,
    )


def result_message(
    action: Action, outputs: Mapping[str, Resolved], keyed: Keyed, usage: hb_pb2.Usage | None = None
) -> pb.ActionResult:
    """The ActionResult: outputs at their declared paths; the key trace and what it took as auxiliary metadata."""
    message = pb.ActionResult()
    for output in sorted(action.outputs, key=lambda one: one.path):
        resolved = outputs[output.name]
        if resolved.kind is Kind.TREE:
            _set(message.output_directories.add(path=output.path).root_directory_digest, resolved.digest)
        else:
            entry = message.output_files.add(path=output.path, is_executable=resolved.executable)
            _set(entry.digest, resolved.digest)
    message.execution_metadata.auxiliary_metadata.add().Pack(keyed.trace)
    if usage is not None:
        message.execution_metadata.auxiliary_metadata.add().Pack(usage)
    return message


def usage_of(message: pb.ActionResult) -> hb_pb2.Usage | None:
    """What making a stored result took, where that is known."""
    usage = hb_pb2.Usage()
    for one in message.execution_metadata.auxiliary_metadata:
        if one.Is(usage.DESCRIPTOR) and one.Unpack(usage):
            return usage
    return None


def outputs_of(action: Action, message: pb.ActionResult) -> dict[str, Resolved] | None:
    """The outputs a stored result names, or None when it does not fit the action."""
    directories = {one.path: one.root_directory_digest for one in message.output_directories}
    files = {one.path: one for one in message.output_files}
    found: dict[str, Resolved] = {}
    for output in action.outputs:
        if output.kind is Kind.TREE and output.path in directories:
            digest = directories[output.path]
            found[output.name] = Resolved(Kind.TREE, Digest(digest.hash, digest.size_bytes))
        elif output.kind is Kind.BLOB and output.path in files:
            file = files[output.path]
            digest = file.digest
            found[output.name] = Resolved(Kind.BLOB, Digest(digest.hash, digest.size_bytes), file.is_executable)
        else:
            return None
    return found


def _set(message: pb.Digest, digest: Digest) -> None:
    message.hash, message.size_bytes = digest.hash, digest.size
