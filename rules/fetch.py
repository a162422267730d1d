"""Rules that bring sources in: pinned archives and files, git commits, base images, local folders.

Only these (and the package rules in ``rules.debian``, ``rules.python``, ``rules.cargo``) reach the
network. Each is pinned by content; where it comes from is not part of its identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hermetic.api import (
    BuildFileError,
    Context,
    Default,
    FetchError,
    Input,
    Kind,
    Made,
    Provider,
    Ref,
    Rule,
    SourceFile,
    Src,
    declare,
)
from rules.basic import patched, source_tree
from rules.providers import Blob, Files, Part, Source


class HttpFile(Rule):
    """One file, pinned by ``sha256``; ``urls`` are mirrors, tried in order. ``auth_secret``: the secret that
    opens them, as a bearer token, or with ``auth_user`` as that user's password."""

    urls: list[str]
    sha256: str
    filename: str = ""
    auth_secret: str = ""
    auth_user: str = ""

    def actions(self, ctx: Context) -> Sequence[Provider]:
        ref = http_fetched(ctx, self.sha256, self.urls, self.auth_secret, self.auth_user)
        name = self.filename or self.urls[0].rpartition("/")[2] or self.name
        return [Default(ref, layout="blob"), Blob(ref["out"], name)]


class HttpArchive(Rule):
    """An archive, pinned by ``sha256``, unpacked without ``strip_prefix`` and with ``patches``. ``auth_secret``
    and ``auth_user``: as for http_file."""

    urls: list[str]
    sha256: str
    strip_prefix: str = ""
    patches: list[Src] = []
    patch_strip: int = 1
    auth_secret: str = ""
    auth_user: str = ""

    def actions(self, ctx: Context) -> Sequence[Provider]:
        made = http_fetched(ctx, self.sha256, self.urls, self.auth_secret, self.auth_user)
        name = self.urls[0].rpartition("/")[2]
        return unpacked(ctx, made["out"], name, self.strip_prefix, self.patches, self.patch_strip)


class Unpack(Rule):
    """An archive that is a file of the package or the output of another target, unpacked at ``at``."""

    src: Src
    strip_prefix: str = ""
    include: list[str] = []
    exclude: list[str] = []
    patches: list[Src] = []
    patch_strip: int = 1
    at: str = "/"

    def actions(self, ctx: Context) -> Sequence[Provider]:
        blob = Blob(self.src, self.src.path) if isinstance(self.src, SourceFile) else self.src[Blob]
        providers = unpacked(
            ctx, blob.ref, blob.name, self.strip_prefix, self.patches, self.patch_strip, self.include, self.exclude
        )
        source = next(one for one in providers if isinstance(one, Source))
        return [*providers, Files((Part(self.at, source.tree),))]


class GitSource(Rule):
    """The tree of a git ``commit`` (the full id), with its submodules when asked. ``auth_secret``: the token or
    password that opens the https ``urls``, and submodules at the same hosts; ``auth_user``: whose it is."""

    urls: list[str]
    commit: str
    submodules: bool = False
    patches: list[Src] = []
    patch_strip: int = 1
    auth_secret: str = ""
    auth_user: str = ""

    def actions(self, ctx: Context) -> Sequence[Provider]:
        if not self.commit:
            raise FetchError(
                f"{ctx.label} names no commit",
                hint=f"write the full commit id of the release you want from {self.urls[0]} into it",
            )
        params = {"commit": self.commit, "submodules": self.submodules}
        where, secrets = addresses(self.urls, self.auth_secret, self.auth_user)
        made = ctx.fetch("git", params, outputs={"out": Kind.TREE}, unkeyed=where, secrets=secrets)
        source = Source(made["out"])
        if self.patches:
            return patched(ctx, source, self.patches, self.patch_strip, str(ctx.label))
        return [Default(made), source]


class OciBase(Rule):
    """A base image by manifest or index ``digest``; ``refs`` are where it can be had: registry
    references, or paths of local OCI layouts. As a root filesystem it is all its layers, unpacked."""

    refs: list[str]
    digest: str

    def actions(self, ctx: Context) -> Sequence[Provider]:
        params = {"digest": self.digest, "arch": ctx.target_platform.arch}
        made = ctx.fetch("oci", params, outputs={"out": Kind.TREE}, unkeyed={"refs": self.refs})
        rootfs = ctx.operate(
            "base_rootfs",
            {"arch": ctx.target_platform.arch},
            inputs=[Input("/base", made["out"])],
            outputs={"out": Kind.TREE},
        )
        return [Default(made), Source(made["out"]), Files((Part("/", rootfs["out"]),))]


class LocalSource(Rule):
    """Files of the workspace as a source tree; usually ``srcs = glob([...])``."""

    srcs: list[Src]
    strip_prefix: str = ""
    at: str = "/"

    def actions(self, ctx: Context) -> Sequence[Provider]:
        files = [src for src in self.srcs if isinstance(src, SourceFile)]
        tree = source_tree(ctx, files, self.strip_prefix)
        return [Default({"out": tree}), Source(tree), Files((Part(self.at, tree),))]


def http_fetched(ctx: Context, sha256: str, urls: list[str], secret: str, user: str) -> Mapping[str, Made]:
    where, secrets = addresses(urls, secret, user)
    return ctx.fetch("http", {"sha256": sha256}, outputs={"out": Kind.BLOB}, unkeyed=where, secrets=secrets)


def addresses(urls: list[str], secret: str, user: str) -> tuple[Mapping[str, object], list[str]]:
    """Where a fetch looks, and the secrets it needs there."""
    if not secret:
        if user:
            raise BuildFileError("auth_user without auth_secret", hint="name the secret that is this user's password")
        return {"urls": urls}, []
    return {"urls": urls, "auth": {"secret": secret, "user": user}}, [secret]


def unpacked(
    ctx: Context,
    archive: Ref,
    name: str,
    strip_prefix: str,
    patches: Sequence[Src],
    patch_strip: int,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> Sequence[Provider]:
    """The archive's tree as a Source, patched when there are patches. A ``strip_prefix`` of "*"
    drops the one leading directory, whatever it is called."""
    strip: dict[str, object] = {"strip_components": 1} if strip_prefix == "*" else {"strip_prefix": strip_prefix}
    params = {**strip, "include": list(include), "exclude": list(exclude)}
    made = ctx.operate("unpack", params, inputs=[Input("/archive", archive)], outputs={"out": Kind.TREE})
    source = Source(made["out"], archive, name)
    if patches:
        return patched(ctx, source, patches, patch_strip, str(ctx.label))
    return [Default(made), source]


git_source = declare(GitSource)
http_archive = declare(HttpArchive)
http_file = declare(HttpFile)
local_source = declare(LocalSource)
oci_base = declare(OciBase)
unpack = declare(Unpack)
