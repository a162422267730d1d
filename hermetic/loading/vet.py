"""The vet: which Python a BUILD.py (and the workspace files it imports) may use.

Guarantees determinism, not isolation: what passes has no way to name the clock, the disk, the
environment, randomness or the interpreter's insides. Isolation is the child process it runs in. The
subset stays close to Starlark: what is left out is refused by name, with what to write instead.

Starlark differs in that it also refuses recursion, strings as iterables and integers beyond
bounds; here recursion and size are stopped by limits.
"""

from __future__ import annotations

import ast
import re

from hermetic.errors import Location, VetError

VERSION = "3"
MAX_SIZE = 4 << 20  # bytes of one file

_STATEMENTS = (
    ast.Module, ast.Expr, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.For, ast.If, ast.FunctionDef, ast.Return,
    ast.Pass, ast.Break, ast.Continue, ast.ImportFrom, ast.alias, ast.arguments, ast.arg, ast.keyword, ast.Assert,
)  # fmt: skip
_EXPRESSIONS = (
    ast.BoolOp, ast.BinOp, ast.UnaryOp, ast.IfExp, ast.Dict, ast.ListComp, ast.DictComp, ast.GeneratorExp,
    ast.comprehension, ast.Compare, ast.Call, ast.JoinedStr, ast.FormattedValue, ast.Constant, ast.Attribute,
    ast.Subscript, ast.Starred, ast.Name, ast.List, ast.Tuple, ast.Slice,
)  # fmt: skip
_OPERATORS = (
    ast.And, ast.Or, ast.Not, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.UAdd, ast.USub, ast.BitOr,
    ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.In, ast.NotIn, ast.Is, ast.IsNot, ast.Load, ast.Store,
)  # fmt: skip
ALLOWED = (*_STATEMENTS, *_EXPRESSIONS, *_OPERATORS)

# node type → (what it is called, what to write instead)
REFUSED: dict[type[ast.AST], tuple[str, str]] = {
    ast.Import: ("import x", "write: from rules.x import y"),
    ast.While: ("while", "use a for loop over a range or a list"),
    ast.Lambda: ("lambda", "define a function with def"),
    ast.ClassDef: ("class", "rules are classes in rules/; here use a dict or a function"),
    ast.Try: ("try", "errors are for people to read; check with if instead"),
    ast.With: ("with", "BUILD files open nothing"),
    ast.Raise: ("raise", 'call fail("…")'),
    ast.Global: ("global", "return the value instead"),
    ast.Nonlocal: ("nonlocal", "return the value instead"),
    ast.Delete: ("del", "make a new list or dict without the item"),
    ast.Set: ("a set literal", "use a list; the order of a set is not fixed"),
    ast.SetComp: ("a set comprehension", "use a list comprehension; the order of a set is not fixed"),
    ast.Yield: ("yield", "return a list"),
    ast.YieldFrom: ("yield from", "return a list"),
    ast.Await: ("await", "BUILD files do not wait for anything"),
    ast.AsyncFunctionDef: ("async def", "use def"),
    ast.AsyncFor: ("async for", "use for"),
    ast.AsyncWith: ("async with", "BUILD files open nothing"),
    ast.NamedExpr: (":=", "assign on a line of its own"),
    ast.Pow: ("**", "write the number"),
    ast.Div: ("/", "use // for whole numbers"),
    ast.MatMult: ("@", "there is nothing to multiply like that"),
    ast.LShift: ("<<", "write the number"),
    ast.RShift: (">>", "write the number"),
    ast.Match: ("match", "use if and elif, or a dict"),
}
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_HALVES = re.compile("[\ud800-\udfff]")
BAD_ATTRIBUTES = ("format", "format_map", "mro", "gi_frame", "gi_code", "cr_frame", "f_globals", "f_locals", "f_back")


def vet(source: bytes, path: str) -> ast.Module:
    """Parse and check a file. ``path`` is relative to the workspace, for messages. Raises VetError."""
    text = _decoded(source, path)
    try:
        module = ast.parse(text, filename=path)
    except SyntaxError as error:
        raise VetError(f"{error.msg}", location=Location(path, error.lineno or 0)) from None
    except (RecursionError, MemoryError):
        raise VetError("cannot be parsed: too deeply nested", location=Location(path, 1)) from None
    except ValueError as error:
        raise VetError(f"cannot be parsed: {error}", location=Location(path, 1)) from None
    for node in ast.walk(module):
        _check(node, path)
    return module


def _decoded(source: bytes, path: str) -> str:
    if len(source) > MAX_SIZE:
        raise VetError(f"is {len(source)} bytes long; the limit is {MAX_SIZE}", location=Location(path, 0))
    if source.startswith(b"\xef\xbb\xbf"):
        raise VetError("begins with a byte order mark", location=Location(path, 1), hint="save it as plain UTF-8")
    if b"\0" in source:
        line = source[: source.index(b"\0")].count(b"\n") + 1
        raise VetError("holds a NUL byte", location=Location(path, line))
    try:
        text = source.decode("utf-8")
    except UnicodeDecodeError as error:
        line = source[: error.start].count(b"\n") + 1
        raise VetError("is not UTF-8", location=Location(path, line)) from None
    hidden = _BIDI.search(text)
    if hidden:  # CVE-2021-42574: text that reads differently from what it does
        line = text.count("\n", 0, hidden.start()) + 1
        raise VetError(f"holds the invisible character {hidden[0]!a}", location=Location(path, line))
    return text


def _check(node: ast.AST, path: str) -> None:
    where = Location(path, getattr(node, "lineno", 0))
    operator = getattr(node, "op", None)  # has no line of its own, and is refused at that of its expression
    for kind, (name, instead) in REFUSED.items():
        if isinstance(node, kind) or isinstance(operator, kind):
            raise VetError(f"{name} is not allowed in BUILD files", location=where, hint=instead)
    if not isinstance(node, ALLOWED):
        raise VetError(f"{type(node).__name__} is not allowed in BUILD files", location=where)
    if isinstance(node, ast.FunctionDef):
        _check_function(node, where)
    elif isinstance(node, ast.ImportFrom):
        _check_import(node, where)
    elif isinstance(node, ast.Attribute):
        _check_attribute(node, where)
    elif isinstance(node, ast.Dict):
        _check_dict(node, path)
    elif isinstance(node, ast.Name) and node.id.startswith("__"):
        raise VetError(f"the name {node.id!r} is not allowed", location=where, hint="names do not begin with __")
    elif isinstance(node, ast.arg | ast.keyword) and (node.arg or "").startswith("__"):
        raise VetError(f"the name {node.arg!r} is not allowed", location=where, hint="names do not begin with __")
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and _HALVES.search(node.value):
        raise VetError("half a character (U+D800 to U+DFFF) is not a text", location=where)
    elif isinstance(node, ast.Constant) and isinstance(node.value, float | complex | bytes):
        kind_name = type(node.value).__name__
        raise VetError(f"a {kind_name} constant is not allowed", location=where, hint="use whole numbers and strings")


def _check_function(node: ast.FunctionDef, where: Location) -> None:
    if node.decorator_list:
        raise VetError("decorators are not allowed in BUILD files", location=where, hint="call the function instead")
    if node.name.startswith("__"):
        raise VetError(f"the name {node.name!r} is not allowed", location=where, hint="names do not begin with __")


def _check_import(node: ast.ImportFrom, where: Location) -> None:
    if node.level:
        raise VetError("relative imports are not allowed", location=where, hint="name the file from the workspace")
    if any(alias.name == "*" for alias in node.names):
        raise VetError("import * is not allowed", location=where, hint="name what you import")
    for alias in node.names:
        if alias.name.startswith("_") or (alias.asname or "").startswith("_"):
            raise VetError(f"{alias.name!r} is private", location=where, hint="import what the file offers")
    if (node.module or "").startswith("_") or "._" in (node.module or ""):
        raise VetError(f"the module {node.module!r} is private", location=where)


def _check_dict(node: ast.Dict, path: str) -> None:
    seen: set[object] = set()
    for key in node.keys:
        if isinstance(key, ast.Constant):
            if key.value in seen:
                raise VetError(f"the key {key.value!r} is in this dict twice", location=Location(path, key.lineno))
            seen.add(key.value)


def _check_attribute(node: ast.Attribute, where: Location) -> None:
    name = node.attr
    if not isinstance(node.ctx, ast.Load):
        raise VetError(
            f"setting the attribute {name!r} is not allowed", location=where, hint="make a new value; nothing is shared"
        )
    if name.startswith("_"):
        raise VetError(f"the attribute {name!r} is not allowed", location=where, hint="attributes do not begin with _")
    if name in BAD_ATTRIBUTES:
        raise VetError(f"the attribute {name!r} is not allowed", location=where, hint="use an f-string")
