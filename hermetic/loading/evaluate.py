"""Evaluation: vetted files run with closed builtins, imports resolved by us.

Guarantees: a file is compiled once per content (bytecode is cached by it); an imported workspace file
is evaluated once per package, and each importer gets its own copy of its values, so no package can
change what another sees, not even through a function's memory; ``from rules.x`` and ``from toolchains.x``
give the rules and functions of trusted Python modules, and not what these import for themselves; nothing
is ever found through sys.path.
"""

from __future__ import annotations

import builtins
import copy
import hashlib
import importlib
import marshal
import stat
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType, ModuleType, SimpleNamespace
from typing import Any

from hermetic.errors import BuildFileError, HbError, Location, VetError, did_you_mean
from hermetic.files import write_whole
from hermetic.loading import vet
from hermetic.loading.declare import declare
from hermetic.loading.links import Links

TRUSTED = ("rules", "toolchains")
BUILTINS = (
    "abs", "all", "any", "bool", "dict", "enumerate", "int", "isinstance", "len", "list", "max", "min", "range",
    "repr", "reversed", "sorted", "str", "sum", "tuple", "zip",
)  # fmt: skip
MAX_DEPTH = 200  # frames of BUILD code; recursion is for trees, and there are none here


class Evaluator:
    """Evaluates files of one workspace. ``read_files``: path → SHA-256 of everything read. ``imported``: the
    files of the workspace that the current package imported, itself or through another file."""

    def __init__(self, workspace: Path, cache: Path | None, links: Links) -> None:
        self.workspace = workspace
        self.cache = cache
        self._links = links
        self.read_files: dict[str, str] = {}
        self.imported: dict[str, None] = {}
        self._modules: dict[str, dict[str, Any]] = {}
        self._loading: list[str] = []

    def package(self, path: str, names: Mapping[str, Any]) -> None:
        """Evaluate the BUILD.py at ``path`` with workspace files of its own."""
        self._modules, self.imported = {}, {}
        self.run(path, names)

    def run(self, path: str, names: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluate the file at ``path`` (relative to the workspace) with ``names`` as globals."""
        code = self._code(path)
        scope = {"__builtins__": self._builtins(), "__name__": path, **names}
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(_depth() + MAX_DEPTH)
        try:
            exec(code, scope)
        except HbError as error:
            raise error.at(_line_in(path)) from None
        except RecursionError:
            raise BuildFileError("calls itself too deeply", location=_line_in(path)) from None
        except MemoryError:
            raise BuildFileError("needs more memory than loading may use", location=Location(path, 0)) from None
        except Exception as error:
            raise _plain(error, path, scope) from None
        finally:
            sys.setrecursionlimit(limit)
        return scope

    def module(self, name: str) -> dict[str, Any]:
        """The values of the workspace file ``a/b.py`` imported as ``a.b``."""
        path = name.replace(".", "/") + ".py"
        self.imported[path] = None
        if path not in self._modules:
            if path in self._loading:
                chain = " → ".join([*self._loading, path])
                raise BuildFileError(f"workspace files import each other in a circle: {chain}")
            self._links.refuse(path, BuildFileError)
            if not (self.workspace / path).is_file():
                raise BuildFileError(f"there is no file {path} to import", hint=self._near_module(path))
            self._loading.append(path)
            try:
                scope = self.run(path, {"fail": fail, "select": _no_select})
            finally:
                self._loading.pop()
            self._modules[path] = {k: v for k, v in scope.items() if not k.startswith("_")}
        return self._modules[path]

    def _near_module(self, path: str) -> str | None:
        folder = (self.workspace / path).parent
        names = [f"{Path(path).parent}/{one.name}" for one in folder.glob("*.py")] if folder.is_dir() else []
        return did_you_mean(path, names)

    def _builtins(self) -> dict[str, Any]:
        closed = {name: getattr(builtins, name) for name in BUILTINS}
        return {**closed, "__import__": self._import, "True": True, "False": False, "None": None, "print": _print}

    def _import(self, name: str, _globals: Any = None, _locals: Any = None, names: Any = (), level: int = 0) -> Any:  # noqa: ARG002
        if name.partition(".")[0] in TRUSTED:
            module: Any = self._trusted(name)
            file = Path(module.__file__ or "")
            if file.is_relative_to(self.workspace):
                self.imported[file.relative_to(self.workspace).as_posix()] = None
            known = [key for key, value in vars(module).items() if _is_offered(value, module.__name__)]
            values = {key: _copied(getattr(module, key)) for key in names or () if key in known}
        else:
            found = self.module(name)
            values = {key: _copied(found[key]) for key in names or () if key in found}
            known = list(found)
        for key in names or ():
            if key not in values:
                raise BuildFileError(f"{name} has no {key!r}", hint=did_you_mean(key, known))
        return SimpleNamespace(**values)

    def _trusted(self, name: str) -> Any:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                near = did_you_mean(name, [one for one in sys.modules if one.startswith(TRUSTED)])
                raise BuildFileError(f"there is no module {name}", hint=near) from None
            raise

    # --- code -----------------------------------------------------------------------------------

    def _code(self, path: str) -> CodeType:
        self._links.refuse(path, BuildFileError)
        source = read_source(self.workspace / path, path)
        digest = hashlib.sha256(source).hexdigest()
        self.read_files[path] = digest
        tag = f"{vet.VERSION}-{sys.implementation.cache_tag}"
        name = hashlib.sha256(f"{tag}\0{path}\0{digest}".encode()).hexdigest()
        cached = self._cached(name)
        if cached is not None:
            return cached
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's advice on style; the vet has said what matters
            code = _compiled(source, path)
        self._keep(name, code)
        return code

    def _cached(self, name: str) -> CodeType | None:
        if self.cache is None:
            return None
        try:
            data = (self.cache / name).read_bytes()
            digest, body = data[:32], data[32:]
            code = marshal.loads(body) if hashlib.sha256(body).digest() == digest else None
        except (OSError, ValueError, EOFError, TypeError):
            return None
        return code if isinstance(code, CodeType) else None

    def _keep(self, name: str, code: CodeType) -> None:
        if self.cache is None:
            return
        body = marshal.dumps(code)
        with suppress(OSError):  # a cache that cannot be written costs time, nothing else
            write_whole(self.cache / name, [hashlib.sha256(body).digest(), body], 0o644)


def _compiled(source: bytes, path: str) -> CodeType:
    try:
        return compile(vet.vet(source, path), path, "exec", dont_inherit=True)
    except SyntaxError as error:  # what the parser accepts and the compiler does not: return outside a function
        raise VetError(error.msg, location=Location(path, error.lineno or 0)) from None
    except (RecursionError, MemoryError):
        raise VetError("cannot be compiled: too deeply nested", location=Location(path, 0)) from None


def read_source(file: Path, path: str) -> bytes:
    """A file's bytes; refuses what is not a regular file of a sensible size."""
    try:
        found = file.stat()
    except OSError as error:
        raise BuildFileError(f"cannot be read: {error.strerror}", location=Location(path, 0)) from None
    if not stat.S_ISREG(found.st_mode):
        raise BuildFileError("is not a regular file", location=Location(path, 0))
    if found.st_size > vet.MAX_SIZE:
        raise BuildFileError(f"is {found.st_size} bytes long; the limit is {vet.MAX_SIZE}", location=Location(path, 0))
    return file.read_bytes()


def fail(*words: object) -> None:
    """Stop with a message of the BUILD file's own."""
    text = " ".join(str(word) for word in words)
    # no control characters: a terminal would obey them
    raise BuildFileError("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text))


def _no_select(*_: object) -> None:
    raise BuildFileError("select() belongs into BUILD.py or a function that BUILD.py calls")


def _print(*words: object) -> None:
    print(*words, file=sys.stderr)


def _is_offered(value: Any, module: str) -> bool:
    """Rules, functions of trusted modules, and plain values; not what such a module imports for itself."""
    if isinstance(value, ModuleType | type) or value is declare:
        return False
    origin = str(getattr(value, "__module__", module) or module)
    return not callable(value) or origin in (module, declare.__module__) or origin.partition(".")[0] in TRUSTED


def _copied(value: Any) -> Any:
    """Functions are shared (their globals hold copies of their own), data is copied."""
    return value if isinstance(value, FunctionType | Callable) else copy.deepcopy(value)


def _depth() -> int:
    frame, depth = sys._getframe(), 0
    while frame is not None:
        frame, depth = frame.f_back, depth + 1  # type: ignore[assignment]
    return depth


def _line_in(path: str) -> Location:
    trace = sys.exc_info()[2]
    lines = [frame.lineno for frame in traceback.extract_tb(trace) if frame.filename == path]
    return Location(path, (lines[-1] if lines else 0) or 0)


def _plain(error: Exception, path: str, scope: Mapping[str, Any]) -> BuildFileError:
    """A Python exception in words of BUILD files, at the line it happened."""
    hint = None
    message = f"{type(error).__name__}: {error}"
    if isinstance(error, NameError) and error.name:
        message = f"the name {error.name!r} is not defined"
        hint = did_you_mean(error.name, [*scope, *BUILTINS]) or "import it from rules, toolchains or a workspace file"
    return BuildFileError(message, location=_line_in(path), hint=hint)
