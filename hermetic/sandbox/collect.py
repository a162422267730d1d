"""What a command left behind becomes artifacts, after its last process is dead.

Guarantees: nothing is followed out of the output, nor on the way to it: a command that puts a link in
the place of an output's parent gets an error, not the host's file; a missing output, one of the wrong
kind, or one that is a link, socket, pipe or device is an error that says which and what to do.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from hermetic.action import Kind, Output
from hermetic.digest import Digest
from hermetic.errors import ActionError
from hermetic.sandbox.changes import collect_changes
from hermetic.sandbox.spec import SandboxResult
from hermetic.store.ingest import file_node, ingest_tree, kind_name, store_file
from hermetic.store.operation import Resolved
from hermetic.store.protocols import BlobStore

REMOVE = "let the command remove it before it ends"


def collect(
    outputs: tuple[Output, ...], result: SandboxResult, base: Digest, store: BlobStore
) -> Mapping[str, Resolved]:
    """The outputs by name. ``base``: the input root, which an overlay's changes refer to."""
    return {output.name: _collect(output, result, base, store) for output in outputs}


def _collect(output: Output, result: SandboxResult, base: Digest, store: BlobStore) -> Resolved:
    path = result.outputs[output.name]
    try:
        if output.path == "/":
            return Resolved(Kind.TREE, collect_changes(path, result.owners, base, store))
        work = result.stdout.parent
        parent = _open_folder(work, path.relative_to(work).parts[:-1], output)
        try:
            return _ingest(parent, path.name, output, store)
        finally:
            os.close(parent)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        raise ActionError(
            f"the output {output.path} is nested deeper than the limit of open files allows",
            hint="nest fewer directories, or raise the limit (ulimit -n)",
        ) from None


def _ingest(parent: int, name: str, output: Output, store: BlobStore) -> Resolved:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        raise _missing(output) from None
    wanted = stat.S_ISDIR if output.kind is Kind.TREE else stat.S_ISREG
    if not wanted(found.st_mode):
        noun = "a directory" if output.kind is Kind.TREE else "a regular file"
        raise ActionError(
            f"the output {output.path} is {kind_name(found.st_mode)}, but it is declared as {noun}",
            hint="make the command leave what is declared, or declare what it leaves",
        )
    if output.kind is Kind.BLOB:
        node = file_node(found.st_mode, store_file(name, parent, found, store, take=True))
        return Resolved(Kind.BLOB, node.digest, node.executable)
    _unlock(parent, name, found.st_mode)
    try:
        return Resolved(Kind.TREE, ingest_tree(Path(f"/proc/self/fd/{parent}/{name}"), store, take=True))
    except ActionError as error:
        raise ActionError(f"in the output {output.path}: {error.message}", hint=error.hint or REMOVE) from None


def _open_folder(work: Path, parts: tuple[str, ...], output: Output) -> int:
    """A descriptor of the folder that holds the output; every step is a directory and never a link."""
    fd = os.open(work, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts:
            found = os.stat(part, dir_fd=fd, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                raise ActionError(
                    f"the output {output.path} cannot be taken: {part} on the way to it is "
                    f"{kind_name(found.st_mode)}, not a directory",
                    hint="leave the folders above an output as they were made",
                )
            _unlock(fd, part, found.st_mode)
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
        return fd
    except FileNotFoundError:
        os.close(fd)
        raise _missing(output) from None
    except BaseException:
        os.close(fd)
        raise


def _unlock(parent: int, name: str, mode: int) -> None:
    """Let hb itself read and empty a folder that the command closed."""
    if mode & 0o700 != 0o700:
        os.chmod(name, stat.S_IMODE(mode) | 0o700, dir_fd=parent)


def _missing(output: Output) -> ActionError:
    hint = "look at its log, or declare what it does make"
    return ActionError(f"the command did not make its output {output.path}", hint=hint)
