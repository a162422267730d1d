"""Fetching, seen from the executor: pinned requests in, verified artifacts in the store out.

Guarantees: a fetcher runs in a box without a network (``box``), behind hb's proxy (``net``); what it
answers is copied by descriptors after it is dead (``collect``) and counts only if its digest is the
pinned one. One request's failure does not lose the others of its batch. A worker is told the secrets
that its requests need, on its standard input; requests that need others have another worker. Nothing a worker
says or makes is kept with a secret's value in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from hermetic.action import Kind
from hermetic.digest import Digest, parse_sha256
from hermetic.errors import FetchError, HbError, InternalError, SecretError, from_dict
from hermetic.fetch import box
from hermetic.fetch.collect import take_file, take_tree
from hermetic.fetch.login import direct
from hermetic.fetch.net import Asked, Proxy
from hermetic.fetch.spec import FetchRequest
from hermetic.fetch.vendor import VendorDir
from hermetic.memfile import memory_file
from hermetic.redact import without
from hermetic.secret import Secret
from hermetic.store.leaks import GuardedStore
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore
from hermetic.vault import Vault

FETCHERS: Mapping[str, str] = {
    "http": "hermetic.fetch.http:fetch",
    "git": "hermetic.fetch.git:fetch",
    "oci": "hermetic.fetch.oci_registry:fetch",
    "debian": "hermetic.fetch.debian:fetch",
    "python": "hermetic.fetch.python:fetch",
    "crate": "hermetic.fetch.cargo:fetch",
}
TREES = ("git", "oci")
LOG_TAIL = 4000  # characters of a failed worker's output that its error shows

Outcome: TypeAlias = Resolved | FetchError


@dataclass(frozen=True, slots=True)
class Options:
    """``vendor``: where to look first. ``network``: whether anything else may be asked.
    ``progress``: told of every address that is asked. ``timeout``: seconds for a whole batch.
    ``cancelled``: looked at a few times a second; when it is true the worker is killed.
    ``fetchers``: operation to ``module:function``; ``plugins``: folders where further such modules lie.
    ``vault``: the secrets that requests name."""

    vendor: VendorDir | None = None
    network: bool = True
    progress: Callable[[Asked], None] | None = None
    timeout: float = 6 * 3600.0
    cancelled: Callable[[], bool] = lambda: False
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    fetchers: Mapping[str, str] = field(default_factory=lambda: FETCHERS)
    plugins: tuple[str, ...] = ()
    vault: Vault = field(default_factory=Vault)


def fetch_batch(
    operation: str, requests: Sequence[FetchRequest], work: Path, store: BlobStore, options: Options | None = None
) -> list[Outcome]:
    """Fetch a batch; one outcome per request, in order. ``work`` is an empty folder of the batch's own,
    which the caller removes."""
    options = options or Options()
    outcomes: dict[int, Outcome] = {}
    for number, request in enumerate(requests):
        try:
            found = _already_here(operation, request, store, options)
        except HbError as error:
            outcomes[number] = _as_fetch_error(error, request)
            continue
        if found:
            outcomes[number] = found
        elif not options.network:
            outcomes[number] = _unreachable(operation, request, options)
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, request in enumerate(requests):
        if number not in outcomes:
            groups.setdefault(request.secrets, []).append(number)
    for place, (names, numbers) in enumerate(groups.items()):
        wanted = [requests[number] for number in numbers]
        fetched = _run_group(operation, wanted, names, work / str(place), store, options)
        outcomes.update(zip(numbers, fetched, strict=True))
    return [outcomes[number] for number in range(len(requests))]


def _already_here(operation: str, request: FetchRequest, store: BlobStore, options: Options) -> Resolved | None:
    """What needs no fetching: a blob of the store with the pinned hash, or a vendored copy."""
    sha256 = request.params.get("sha256")
    if isinstance(sha256, str) and (digest := store.find_sha256(parse_sha256(sha256))):
        return Resolved(Kind.BLOB, digest)
    return options.vendor.get(operation, request.params, store) if options.vendor else None


def _unreachable(operation: str, request: FetchRequest, options: Options) -> FetchError:
    pin = next((str(request.params[key]) for key in ("sha256", "commit", "digest") if key in request.params), "?")
    where = f"not in {options.vendor.path}" if options.vendor else "not in the store"
    return FetchError(
        f"{operation} {pin} is {where}, and the network may not be used",
        label=request.label,
        hint=f"run `hb vendor DIR {request.label}` (or `hb fetch {request.label}`) where there is a network",
    )


def _run_group(
    operation: str,
    requests: Sequence[FetchRequest],
    names: Sequence[str],
    work: Path,
    store: BlobStore,
    options: Options,
) -> list[Outcome]:
    """Fetch what needs the same secrets."""
    try:
        secrets = options.vault.take(names)
    except SecretError as error:
        return [_as_fetch_error(error, request) for request in requests]
    guarded = GuardedStore(store, secrets, work / "scratch") if secrets else store
    try:
        found = _run_worker(operation, requests, secrets, work, guarded, options)
    except HbError as error:
        raise without(error, secrets) from None
    return [without(one, secrets) if isinstance(one, FetchError) else one for one in found]


def _run_worker(
    operation: str,
    requests: Sequence[FetchRequest],
    secrets: Sequence[Secret],
    work: Path,
    store: BlobStore,
    options: Options,
) -> list[Outcome]:
    scratch = (work / "scratch").resolve()
    for folder in (scratch, scratch / "tmp", scratch / "cache", scratch / "out"):
        folder.mkdir(parents=True)
    upstream = _upstream(operation, options.environ)
    with Proxy(direct(upstream) if secrets else upstream, options.progress) as proxy:
        task = {
            "fetcher": options.fetchers[operation],
            "proxy": box.PROXY_INSIDE,
            "work": str(scratch / "out"),
            "requests": [{"label": r.label, "params": dict(r.params), "unkeyed": dict(r.unkeyed)} for r in requests],
            "secrets": [[one.name, b64encode(one.value).decode(), one.hosts] for one in secrets],
        }
        answer = _talk(task, work, scratch, proxy, options)
    if "error" in answer:
        error = from_dict(answer["error"])
        return [_as_fetch_error(error, request) for request in requests]
    replies = answer["replies"]
    if len(replies) != len(requests):
        raise InternalError(f"the fetcher {operation} answered {len(replies)} of {len(requests)} requests")
    return [
        _verified(operation, request, reply, scratch, store) for request, reply in zip(requests, replies, strict=True)
    ]


def _upstream(operation: str, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment whose proxies hb's own proxy goes through. apt has a configuration of its own."""
    if operation != "debian":
        return environ
    from hermetic.fetch.debian import with_apt_proxies

    return with_apt_proxies(environ)


def _talk(task: Mapping[str, Any], work: Path, scratch: Path, proxy: Proxy, options: Options) -> dict[str, Any]:
    """Run the worker to its end. When this returns, none of its processes is left."""
    readable = [*_local_paths(task["requests"]), *options.plugins]
    argv = box.command(scratch, proxy.folder, options.environ, readable)
    with _log(work, in_memory=bool(task["secrets"])) as log:
        worker = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=box.environment(scratch, options.environ, options.plugins),
        )
        with worker:
            try:
                output = _finish(worker, json.dumps(task).encode(), options)
            finally:
                worker.kill()  # bwrap's death takes its whole process namespace with it
        log.seek(0)
        said = log.read().decode(errors="replace")
    if output is None:
        return {"error": FetchError(f"fetching was stopped (limit {options.timeout:.0f} s)").to_dict()}
    lines = output.splitlines()
    try:
        answer = json.loads(lines[-1]) if lines else {}
    except ValueError:
        answer = {}
    if "replies" in answer or "error" in answer:
        return dict(answer)
    text = answer.get("crash") or said
    raise InternalError(f"a fetch worker died (exit {worker.returncode}):\n{text[-LOG_TAIL:]}", hint=_why_dead(text))


def _log(work: Path, *, in_memory: bool) -> BinaryIO:
    """What a worker prints. Nobody has looked through it while it is written, so what knows secrets writes to
    no disk."""
    return open(memory_file("hb-log"), "w+b") if in_memory else (work / "worker.log").open("w+b")


def _local_paths(requests: Sequence[Mapping[str, Any]]) -> list[str]:
    """Folders of this machine that requests name as sources (OCI layouts, git repositories)."""
    named = [str(text) for r in requests for key in ("refs", "urls") for text in r["unkeyed"].get(key, ())]
    bare = [text.removeprefix("oci:").removeprefix("file://") for text in named]
    return [text for text in bare if text.startswith("/")]


def _finish(worker: subprocess.Popen[bytes], task: bytes, options: Options) -> bytes | None:
    """The worker's standard output, or None when it was cancelled or took too long."""
    deadline = time.monotonic() + options.timeout
    pending: bytes | None = task
    while not options.cancelled() and time.monotonic() < deadline:
        try:
            return worker.communicate(pending, timeout=0.2)[0]
        except subprocess.TimeoutExpired:
            pending = None
    return None


def _why_dead(text: str) -> str | None:
    if "bwrap:" in text:
        return "the sandbox could not be made; `hb doctor` says what this machine allows"
    return None


def _verified(
    operation: str, request: FetchRequest, reply: Mapping[str, Any], scratch: Path, store: BlobStore
) -> Outcome:
    if reply["error"]:
        return _as_fetch_error(from_dict(reply["error"]), request)
    try:
        path = Path(reply["path"])
        if operation in TREES:
            return Resolved(Kind.TREE, _take_pinned_tree(operation, request, scratch, path, store))
        digest = take_file(scratch, path, store)
        wanted = parse_sha256(str(request.params.get("sha256")))
        if digest.hash != wanted:
            raise FetchError(
                f"the {operation} fetcher gave sha256 {digest.hash}, expected {wanted}",
                hint=f"if the source has changed rightly, `hb lock {request.label}` pins what is there now",
            )
        return Resolved(Kind.BLOB, digest)
    except HbError as error:
        return _as_fetch_error(error, request)


def _take_pinned_tree(operation: str, request: FetchRequest, scratch: Path, path: Path, store: BlobStore) -> Digest:
    root = take_tree(scratch, path, store)
    if operation == "oci":
        from hermetic.fetch.oci_layout import check_layout, platform_of

        check_layout(root, str(request.params.get("digest")), store, platform_of(request.params))
    elif operation == "git":
        from hermetic.fetch.git_proof import PROOF, PROOF_LIMIT, check_commit

        proof = take_file(scratch, path.with_name(PROOF), store)
        if proof.size > PROOF_LIMIT:
            raise FetchError(f"the git worker's proof has {proof.size} bytes")
        submodules = bool(request.params.get("submodules", False))
        check_commit(root, str(request.params.get("commit")), submodules, store.read(proof), store)
    return root


def _as_fetch_error(error: HbError, request: FetchRequest) -> FetchError:
    if not isinstance(error, FetchError):
        error = FetchError(error.message, location=error.location, label=error.label, hint=error.hint)
    error.label = error.label or request.label
    return error
