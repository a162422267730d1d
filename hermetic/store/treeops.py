"""Operations on Merkle trees alone: subset, merge, write, chmeta. No file is opened, ever.

Each is an internal operation (``hermetic.store.operation``) with one tree as its output ``out``, and
decodes only the directories it changes or has to look into; everything else keeps its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from hermetic import tree
from hermetic.action import Kind
from hermetic.digest import EMPTY, Digest
from hermetic.errors import UserError
from hermetic.globs import COVERED, DEAD, Globs, State
from hermetic.store.operation import Resolved, Workbench
from hermetic.store.protocols import BlobStore
from hermetic.tree import DIR_MODE, EXEC_MODE, FILE_MODE, Directory, File, Meta, Node, Subdir, Symlink

Inputs: TypeAlias = Mapping[str, Resolved]
Outputs: TypeAlias = Mapping[str, Resolved]


def _only(inputs: Inputs, operation: str) -> Digest:
    trees = [item.digest for item in inputs.values() if item.kind is Kind.TREE]
    if len(trees) != 1 or len(inputs) != 1:
        raise UserError(f"{operation} takes exactly one tree, not {len(inputs)} inputs")
    return trees[0]


def _out(root: Digest) -> Outputs:
    return {"out": Resolved(Kind.TREE, root)}


def _check_names(operation: str, params: Mapping[str, Any], known: set[str]) -> None:
    if unknown := sorted(params.keys() - known):
        raise UserError(f"{operation} has no parameter {unknown[0]!r}", hint=f"it has {', '.join(sorted(known))}")


# --- subset -------------------------------------------------------------------------------------


def subset(params: Mapping[str, Any], inputs: Inputs, bench: Workbench) -> Outputs:
    """The part of a tree that ``include`` (all, when empty) matches and ``exclude`` does not.

    ``strip``: the directory that becomes the root, before matching. ``prefix``: where the result is
    put, after matching. Directories that end up empty are left out, unless they matched themselves.
    """
    _check_names("subset", params, {"include", "exclude", "strip", "prefix"})
    root = _only(inputs, "subset")
    if strip := params.get("strip", ""):
        found = tree.lookup(root, strip, bench.store.read)
        if not isinstance(found, Subdir):
            raise UserError(f"the tree has no directory {strip!r}", hint="look into it with `hb build` and list it")
        root = found.digest
    root = select(root, params.get("include", ()), params.get("exclude", ()), bench.store)
    if prefix := params.get("prefix", ""):
        root = tree.graft(prefix, Subdir(root), bench.store.put)
    return _out(root)


def select(root: Digest, include: Any, exclude: Any, store: BlobStore) -> Digest:
    """The subset of a tree that the globs ask for."""
    inside, outside = Globs.of(include), Globs.of(exclude)
    start = inside.start if inside.patterns else COVERED
    with tree.depth_limit():
        taken = _select(root, inside, start, outside, outside.start, store)
    return taken or store.put(tree.EMPTY_DIR.encode())


def _select(root: Digest, inside: Globs, take: State, outside: Globs, drop: State, store: BlobStore) -> Digest | None:
    if take is DEAD or drop is COVERED:
        return None
    if take is COVERED and drop is DEAD:
        return root
    directory = Directory.decode(store.read(root))
    entries: dict[str, Node] = {}
    for name, node in directory.entries.items():
        taken, dropped = inside.step(take, name), outside.step(drop, name)
        if isinstance(node, Subdir):
            below = _select(node.digest, inside, taken, outside, dropped, store)
            if below:
                entries[name] = Subdir(below)
        elif taken is COVERED and dropped is not COVERED:
            entries[name] = node
    if not entries and take is not COVERED:
        return None
    if entries == directory.entries:
        return root
    return store.put(Directory(entries, directory.meta).encode())


# --- merge --------------------------------------------------------------------------------------


def merge(params: Mapping[str, Any], inputs: Inputs, bench: Workbench) -> Outputs:
    """The union of the inputs at ``/0``, ``/1``, …, later ones on top; whiteouts are applied.

    ``at``: for each input, in order, the path where it is put (a file is put there itself). Two
    different files at one path are an error unless ``replace`` is set.
    """
    _check_names("merge", params, {"at", "replace"})
    found = [inputs[path] for path in sorted(inputs, key=_position)]
    places = params.get("at") or ["/"] * len(found)
    if len(places) != len(found):
        raise UserError(f"merge has {len(found)} inputs and {len(places)} places for them")
    roots = [_placed(item, place, bench.store) for item, place in zip(found, places, strict=True)]
    replace_files = bool(params.get("replace", False))
    return _out(tree.merge(roots, bench.store.read, bench.store.put, replace_files=replace_files))


def _placed(item: Resolved, place: str, store: BlobStore) -> Digest:
    if item.kind is Kind.TREE and not tree.parts(place):
        return item.digest
    node: Node = Subdir(item.digest) if item.kind is Kind.TREE else File(item.digest, item.executable)
    return tree.graft(place, node, store.put)


def _position(path: str) -> int:
    number = path.strip("/")
    if not number.isdecimal():
        raise UserError(f"inputs of merge are called /0, /1, …, not {path!r}")
    return int(number)


# --- write --------------------------------------------------------------------------------------


def write(params: Mapping[str, Any], inputs: Inputs, bench: Workbench) -> Outputs:
    """A tree from a specification: ``files`` maps paths to what is there.

    One of ``text``, ``input`` (the path of an input: a file, or a tree, which is grafted), ``symlink``
    (its target), ``directory`` (true) or ``whiteout`` (true); with ``executable``, ``mode`` (octal text),
    ``uid``, ``gid`` and ``xattrs`` (name to text) as wanted.
    """
    _check_names("write", params, {"files"})
    nodes: dict[str, File | Symlink | Meta] = {}
    grafts: list[tuple[str, Digest]] = []
    for path, spec in params.get("files", {}).items():
        key = "/".join(tree.parts(path))
        source = inputs.get(spec["input"]) if "input" in spec else None
        if source and source.kind is Kind.TREE:
            grafts.append((key, source.digest))
        elif key in nodes:
            raise UserError(f"write: {key!r} is given twice")
        else:
            nodes[key] = _written(path, spec, source, bench.store)
    root = tree.build(nodes, bench.store.put)
    pieces = [tree.graft(path, Subdir(digest), bench.store.put) if path else digest for path, digest in grafts]
    return _out(tree.merge([*pieces, root], bench.store.read, bench.store.put))


_CONTENT = ("text", "input", "symlink", "directory", "whiteout")


def _written(path: str, spec: Mapping[str, Any], source: Resolved | None, store: BlobStore) -> File | Symlink | Meta:
    _check_names(f"write: {path!r}", spec, {*_CONTENT, "executable", "mode", "uid", "gid", "xattrs"})
    given = [name for name in _CONTENT if name in spec]
    if len(given) != 1:
        raise UserError(f"write: {path!r} needs exactly one of {', '.join(_CONTENT)}")
    meta = Meta(
        mode=_octal(spec["mode"], path) if "mode" in spec else None,
        uid=int(spec.get("uid", 0)),
        gid=int(spec.get("gid", 0)),
        xattrs=tuple(sorted((name, value.encode()) for name, value in spec.get("xattrs", {}).items())),
    )
    executable = bool(spec.get("executable", source.executable if source else False))
    if "text" in spec:
        return File(store.put(spec["text"].encode()), executable, meta)
    if "symlink" in spec:
        return Symlink(spec["symlink"], meta)
    if "whiteout" in spec:
        return File(EMPTY, meta=Meta(whiteout=True))
    if "directory" in spec:
        return meta
    if source is None:
        raise UserError(f"write: {path!r} names the input {spec['input']!r}, which does not exist")
    return File(source.digest, executable, meta)


def _octal(text: Any, where: str) -> int:
    try:
        mode = int(str(text), 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise UserError(f"{where!r}: {text!r} is not a file mode", hint='write it as octal text, like "0644"')
    return mode


# --- chmeta -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """What one rule of ``chmeta`` does. ``own_mode`` is for what its glob matches, the rest also for
    everything below that."""

    number: int
    uid: int | None
    gid: int | None
    own_mode: int | None
    file_mode: int | None
    dir_mode: int | None
    add: int
    clear: int
    group_like_user: bool

    def mode(self, old: int, directory: bool, itself: bool) -> int:
        fixed = self.dir_mode if directory else self.file_mode
        if itself and self.own_mode is not None:
            fixed = self.own_mode
        mode = ((old if fixed is None else fixed) | self.add) & ~self.clear
        return mode | mode >> 3 & 0o070 if self.group_like_user else mode


@dataclass(frozen=True, slots=True)
class _Live:
    """A rule on its way down the tree. ``itself``: the node at hand is what the glob matched, not
    something below a match."""

    globs: Globs
    rule: _Rule
    state: State
    itself: bool

    def step(self, name: str) -> _Live:
        state = self.globs.step(self.state, name)
        return _Live(self.globs, self.rule, state, state is COVERED and self.state is not COVERED)


def chmeta(params: Mapping[str, Any], inputs: Inputs, bench: Workbench) -> Outputs:
    """Owners and modes by rules, later rules on top of earlier ones.

    A rule of ``rules``: ``glob`` (covers what is below a match; "**" is everything, the root directory
    too), and any of ``uid``, ``gid``, ``mode`` (of the match itself), ``file_mode`` and ``dir_mode`` (of
    everything covered; octal text), ``add`` and ``clear`` (bits, octal text), ``group_like_user`` (the
    group may what the owner may).
    """
    _check_names("chmeta", params, {"rules"})
    root = _only(inputs, "chmeta")
    live = []
    for number, spec in enumerate(params["rules"]):
        rule = _rule(number, spec)
        globs = Globs.of([spec["glob"]])
        live.append(_Live(globs, rule, globs.start, globs.start is COVERED))
    with tree.depth_limit():
        return _out(_change(root, live, bench.store, {}))


def _rule(number: int, spec: Mapping[str, Any]) -> _Rule:
    where = f"rule {number} of chmeta"
    names = {"glob", "uid", "gid", "mode", "file_mode", "dir_mode", "add", "clear", "group_like_user"}
    _check_names(where, spec, names)

    def octal(key: str) -> int | None:
        return _octal(spec[key], where) if key in spec else None

    return _Rule(
        number,
        spec.get("uid"),
        spec.get("gid"),
        octal("mode"),
        octal("file_mode"),
        octal("dir_mode"),
        octal("add") or 0,
        octal("clear") or 0,
        bool(spec.get("group_like_user", False)),
    )


def _change(root: Digest, live: list[_Live], store: BlobStore, done: dict[tuple[str, Any], Digest]) -> Digest:
    """The tree with every covered node changed; equal subtrees under equal rules are done once."""
    if not live:
        return root
    key = (root.hash, tuple((item.rule.number, item.state, item.itself) for item in live))
    if key in done:
        return done[key]
    directory = Directory.decode(store.read(root))
    entries: dict[str, Node] = {}
    for name, node in directory.entries.items():
        inner = [item for item in (item.step(name) for item in live) if item.state is not DEAD]
        if isinstance(node, Subdir):
            entries[name] = Subdir(_change(node.digest, inner, store, done))
        elif isinstance(node, Symlink):
            entries[name] = replace(node, meta=_changed(node.meta, None, inner, False))
        elif node.meta.whiteout:
            entries[name] = node
        else:
            entries[name] = _changed_file(node, inner)
    meta = _changed(directory.meta, DIR_MODE, live, True)
    same = entries == directory.entries and meta == directory.meta
    done[key] = root if same else store.put(Directory(entries, meta).encode())
    return done[key]


def _changed_file(node: File, live: list[_Live]) -> File:
    meta = _changed(node.meta, node.mode, live, False)
    mode = node.mode if meta.mode is None else meta.mode
    executable = bool(mode & 0o111)
    default = EXEC_MODE if executable else FILE_MODE
    return replace(node, executable=executable, meta=replace(meta, mode=None if mode == default else mode))


def _changed(meta: Meta, default: int | None, live: list[_Live], directory: bool) -> Meta:
    """``default`` None: a symlink, which has owners but no mode of its own."""
    for item in live:
        if item.state is not COVERED:
            continue
        rule, mode = item.rule, meta.mode
        if default is not None:
            mode = rule.mode(default if mode is None else mode, directory, item.itself)
            mode = None if directory and mode == DIR_MODE else mode
        uid = meta.uid if rule.uid is None else rule.uid
        gid = meta.gid if rule.gid is None else rule.gid
        meta = replace(meta, mode=mode, uid=uid, gid=gid)
    return meta


OPERATIONS: Mapping[str, Callable[[Mapping[str, Any], Inputs, Workbench], Outputs]] = {
    "subset": subset,
    "merge": merge,
    "write": write,
    "chmeta": chmeta,
}
