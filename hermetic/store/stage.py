"""Trees made real on disk, once, and shared by every action that mounts them.

Guarantees: a staged tree is complete or absent (it is built beside its place and renamed), is made
of hard links to the CAS, and costs nothing when it exists: no file in it is looked at again. Every
mtime is SOURCE_DATE_EPOCH. Nobody may write to it: it is mounted read-only or below an overlay.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from hermetic.digest import Digest
from hermetic.epoch import SOURCE_DATE_EPOCH
from hermetic.errors import ActionError, StoreError
from hermetic.store.disk import DiskStore
from hermetic.tree import Directory, File, Subdir, Symlink

_TIMES = (SOURCE_DATE_EPOCH, SOURCE_DATE_EPOCH)


class DiskStage:
    def __init__(self, store: DiskStore) -> None:
        self.store = store

    def tree(self, root: Digest) -> Path:
        place = self.store.root / "stage" / root.hash[:2] / root.hash
        if place.is_dir():
            return place
        self.store.want_tree(root)
        temporary = Path(tempfile.mkdtemp(dir=self.store.root / "tmp"))
        try:
            self._fill(root, temporary / "tree")
            place.parent.mkdir(exist_ok=True)
            os.rename(temporary / "tree", place)
        except OSError as error:
            # another process was faster: its tree is as good as ours
            if error.errno == errno.ENAMETOOLONG:
                raise ActionError(
                    f"the tree {root} has paths longer than this system allows",
                    hint="let its rule nest fewer directories, or use shorter names",
                ) from None
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or not place.is_dir():
                raise
        finally:
            remove_tree(temporary)
        return place

    def _fill(self, root: Digest, top: Path) -> None:
        """Iterative, so that no depth of a tree can exhaust the stack. Directories get their times
        last, after their entries are in."""
        made: list[str] = []
        pending: list[tuple[str, Digest]] = [(str(top), root)]
        while pending:
            path, digest = pending.pop()
            os.mkdir(path, 0o755)
            os.chmod(path, 0o755)
            made.append(path)
            for name, node in Directory.decode(self.store.read(digest)).entries.items():
                inner = f"{path}/{name}"
                if isinstance(node, Subdir):
                    pending.append((inner, node.digest))
                elif isinstance(node, Symlink):
                    os.symlink(node.target, inner)
                    os.utime(inner, _TIMES, follow_symlinks=False)
                else:
                    self._file(node, inner)
        for path in reversed(made):
            os.utime(path, _TIMES)

    def _file(self, node: File, path: str) -> None:
        if node.meta.whiteout:
            raise StoreError(f"a tree with deletions cannot be staged ({path})")
        source = self.store.path(node.digest, executable=bool(node.mode & 0o111))
        if os.stat(source).st_mtime != SOURCE_DATE_EPOCH:
            os.utime(source, _TIMES)
        try:
            os.link(source, path)
        except OSError as error:
            if error.errno not in (errno.EMLINK, errno.EXDEV, errno.EPERM):
                raise
            shutil.copyfile(source, path)
            os.chmod(path, 0o555 if node.mode & 0o111 else 0o444)
            os.utime(path, _TIMES)


def remove_tree(path: Path) -> None:
    """Delete a folder whatever modes its insides have; never follows a symlink."""

    def retry(function: object, name: str, error: BaseException) -> None:  # noqa: ARG001
        parent = os.path.dirname(name)
        os.chmod(parent, 0o700)
        if os.path.isdir(name) and not os.path.islink(name):
            os.chmod(name, 0o700)
            remove_tree(Path(name))
        else:
            os.unlink(name)

    def on_error(function: object, name: str, info: tuple[type, BaseException, object]) -> None:
        if not isinstance(info[1], FileNotFoundError):
            retry(function, name, info[1])

    try:
        shutil.rmtree(path, onerror=on_error)
    except RecursionError:
        _flatten(path)


def _flatten(top: Path) -> None:
    """Delete a folder nested deeper than recursion goes: every directory is first moved up."""
    with tempfile.TemporaryDirectory(dir=top.parent, prefix=".rm-") as near:
        os.rename(top, f"{near}/0")
        pending, count = [f"{near}/0"], 1
        while pending:
            folder = pending.pop()
            os.chmod(folder, 0o700)
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        os.chmod(entry.path, 0o700)
                        pending.append(f"{near}/{count}")
                        os.rename(entry.path, pending[-1])
                        count += 1
                    else:
                        os.unlink(entry.path)
            os.rmdir(folder)
