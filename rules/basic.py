"""Rules of no language: filegroup, alias, configured, genrule, patch, tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from hermetic.api import (
    BuildFileError,
    Context,
    Default,
    Dep,
    Edge,
    Inline,
    Input,
    Inside,
    Kind,
    Made,
    Provider,
    Ref,
    Rule,
    SourceFile,
    SourceTree,
    Src,
    declare,
)
from rules.launchers import BY_PATH
from rules.providers import Blob, CcToolchain, Files, Part, Source, closure, licences_of, mounted, unique


class Filegroup(Rule):
    """Several targets, or files of the package, under one name. Files appear below ``at``."""

    srcs: list[Src] = []
    at: str = "/"
    strip_prefix: str = ""

    def actions(self, ctx: Context) -> Sequence[Provider]:
        files = [src for src in self.srcs if isinstance(src, SourceFile)]
        targets = [src for src in self.srcs if not isinstance(src, SourceFile)]
        parts = closure(targets) if targets else ()
        if files:
            parts = (Part(self.at, source_tree(ctx, files, self.strip_prefix)), *parts)
        merged = merge_parts(ctx, parts)
        return [Default({"out": merged}), Files(parts), Source(merged)]


class Alias(Rule):
    """Another name for ``actual``; everything it provides is passed on."""

    actual: Dep

    def actions(self, ctx: Context) -> Sequence[Provider]:  # noqa: ARG002
        return list(self.actual.providers)


class Configured(Rule):
    """``actual`` under other settings: ``configured(name="arm", actual=":x", settings={"arch": "arm64"})``."""

    actual: Annotated[object, Edge(transition="attr:settings")]
    settings: dict[str, str]

    def actions(self, ctx: Context) -> Sequence[Provider]:  # noqa: ARG002
        return list(self.actual.providers)  # type: ignore[attr-defined]


class Genrule(Rule):
    """A shell command that makes files.

    ``cmd`` runs with bash in /build; ``srcs`` lie at /build/<path in the package>, ``tools`` are
    installed in the root, what it writes to ``$OUT`` (a directory) is the output tree, which
    counts as installed at ``at``. ``secrets`` are files in /run/secrets while it runs; what it makes
    must not hold them. ``secret_generation`` must be stated with them: it is in the key, they are not.
    """

    cmd: str
    srcs: list[Src] = []
    tools: list[Dep] = []
    deps: list[Dep] = []
    at: str = "/"
    env: dict[str, str] = {}
    timeout: int = 3600
    secrets: list[str] = []
    secret_generation: str = ""

    def actions(self, ctx: Context) -> Sequence[Provider]:
        cc = ctx.toolchain("cc")[CcToolchain]
        made = ctx.run(
            "Genrule",
            ["/bin/bash", "-euo", "pipefail", "-c", self.cmd],
            inputs=[
                *mounted(cc.root, "toolchain cc"),
                *mounted(closure([*self.tools, *self.deps]), "deps"),
                *[source_input(src, ctx) for src in self.srcs],
            ],
            outputs={"out": ("/build/out", Kind.TREE)},
            env={"CC": f"{cc.prefix}gcc", "CXX": f"{cc.prefix}g++", **self.env, "OUT": "/build/out"},
            timeout=self.timeout,
            secrets=self.secrets,
            secret_generation=self.secret_generation,
            launchers=BY_PATH,
        )
        return [Default(made), Files((Part(self.at, made["out"]),)), Source(made["out"])]


class Patch(Rule):
    """``src`` with ``patches`` applied in order (``strip`` leading path components, as patch -p)."""

    src: Dep
    patches: list[Src]
    strip: int = 1

    def actions(self, ctx: Context) -> Sequence[Provider]:
        source = self.src[Source]
        return [*patched(ctx, source, self.patches, self.strip, str(self.src.label))]


class Tree(Rule):
    """Files and links written out in BUILD.py: ``{"/etc/motd": "hello\\n"}``.

    ``links``: path → target. ``dirs``: empty directories. ``modes``: path → octal string.
    """

    files: dict[str, str] = {}
    links: dict[str, str] = {}
    dirs: list[str] = []
    modes: dict[str, str] = {}
    at: str = "/"

    def actions(self, ctx: Context) -> Sequence[Provider]:
        entries: dict[str, dict[str, object]] = {}
        for path in self.dirs:
            entries[path] = {"directory": True}
        for path, target in self.links.items():
            entries[path] = {"symlink": target}
        for path, text in self.files.items():
            entries[path] = {"text": text}
        for path, mode in self.modes.items():
            if path not in entries:
                raise BuildFileError(f"modes names {path!r}, which is neither in files, links nor dirs")
            entries[path]["mode"] = mode
        made = ctx.operate("write", {"files": entries}, inputs=[], outputs={"out": Kind.TREE})
        return [Default(made), Files((Part(self.at, made["out"]),)), Source(made["out"])]


class Pick(Rule):
    """Single files of another target's trees: ``files`` maps new absolute paths to old ones."""

    src: Dep
    files: dict[str, str]

    def actions(self, ctx: Context) -> Sequence[Provider]:
        merged = merge_parts(ctx, self.src[Files].parts)
        if not isinstance(merged, Made):
            raise BuildFileError(f"{self.src.label} is made of workspace files", hint="name the files themselves")
        made = picked(ctx, merged, self.files)
        return [Default({"out": made}), Files((Part("/", made),))]


class SourceArchive(Rule):
    """The archive a source came from, as a file below ``at``: corresponding source in an image."""

    src: Dep
    at: str

    def actions(self, ctx: Context) -> Sequence[Provider]:
        source = self.src[Source]
        if source.archive is None:
            raise BuildFileError(f"{self.src.label} did not come from an archive")
        entries = {f"/{source.archive_name}": {"input": "/archive"}}
        made = ctx.operate(
            "write", {"files": entries}, inputs=[Input("/archive", source.archive)], outputs={"out": Kind.TREE}
        )
        return [Default(made), Files((Part(self.at, made["out"]),))]


class Attribution(Rule):
    """A text file listing component, version and licence of everything in ``of``."""

    of: list[Dep]
    at: str

    def actions(self, ctx: Context) -> Sequence[Provider]:
        rows = sorted({(one.component, one.version, one.spdx) for one in licences_of(self.of)})
        text = "".join(f"{component} {version}: {spdx}\n" for component, version, spdx in rows)
        entries = {self.at: {"text": text or "No third-party component declares a licence.\n"}}
        made = ctx.operate("write", {"files": entries}, inputs=[], outputs={"out": Kind.TREE})
        return [Default(made), Files((Part("/", made["out"]),))]


def picked(ctx: Context, tree: Made, files: Mapping[str, str]) -> Made:
    """A tree of single files of ``tree``, at new paths."""
    entries = {path: {"input": f"/{index}"} for index, path in enumerate(files)}
    inputs = [Input(f"/{index}", Inside(tree, old, Kind.BLOB)) for index, old in enumerate(files.values())]
    return ctx.operate("write", {"files": entries}, inputs=inputs, outputs={"out": Kind.TREE})["out"]


def source_tree(ctx: Context, files: Sequence[SourceFile], strip_prefix: str = "") -> Ref:
    """The files as one tree, relative to the package (or to ``strip_prefix`` in it)."""
    base = "/".join(part for part in (ctx.label.package, strip_prefix) if part)
    prefix = f"{base}/" if base else ""
    outside = [file.path for file in files if not file.path.startswith(prefix)]
    if outside:
        raise BuildFileError(f"{outside[0]} does not lie below {base!r}", hint="change strip_prefix")
    return SourceTree(base, tuple(sorted(file.path.removeprefix(prefix) for file in files)))


def source_input(src: Src, ctx: Context) -> Input:
    """A file of the package or a single-file target as an input below /build."""
    if isinstance(src, SourceFile):
        relative = src.path.removeprefix(f"{ctx.label.package}/")
        return Input(f"/build/{relative}", src, name=f"source {src.path}")
    blob = src.get(Blob)
    if blob is not None:
        return Input(f"/build/{blob.name}", blob.ref, name=str(src.label))
    return Input(f"/build/{src.label.name}", src[Source].tree, name=str(src.label))


def merge_parts(ctx: Context, parts: Sequence[Part]) -> Ref:
    """One tree holding all parts at their paths. Merkle work only: no file is read."""
    if len(parts) == 1 and parts[0].at == "/":
        return parts[0].ref
    made = ctx.operate(
        "merge",
        {"at": [part.at for part in parts]},
        inputs=[Input(f"/{index:04d}", part.ref) for index, part in enumerate(parts)],
        outputs={"out": Kind.TREE},
    )
    return made["out"]


def patched(ctx: Context, source: Source, patches: Sequence[Src], strip: int, name: str) -> Sequence[Provider]:
    """The source with patches applied by patch(1) in the ``cc`` toolchain's root."""
    cc = ctx.toolchain("cc")[CcToolchain]
    script = "\n".join(
        [
            "set -euo pipefail",
            "cd /build/out",
            "cp -a --no-preserve=ownership /build/src/. .",
            "chmod -R u+w .",
            f'for p in /build/patches/*; do patch --batch --forward --no-backup-if-mismatch -p{strip} < "$p"; done',
        ]
    )
    made = ctx.run(
        "Patch",
        ["/bin/bash", "/hb/patch.sh"],
        inputs=[
            *mounted(unique(cc.root), "toolchain cc"),
            Input("/build/src", source.tree, name=name),
            Input("/hb/patch.sh", Inline(script), name="script"),
            *[
                Input(f"/build/patches/{index:03d}", patch if isinstance(patch, SourceFile) else patch[Blob].ref)
                for index, patch in enumerate(patches)
            ],
        ],
        outputs={"out": ("/build/out", Kind.TREE)},
    )
    return [Default(made), Source(made["out"], source.archive, source.archive_name)]


alias = declare(Alias)
attribution = declare(Attribution)
configured = declare(Configured)
filegroup = declare(Filegroup)
genrule = declare(Genrule)
patch = declare(Patch)
pick = declare(Pick)
source_archive = declare(SourceArchive)
tree = declare(Tree)
