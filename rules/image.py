"""Layers and images: from trees to an OCI image, without a daemon.

Guarantees: a layer is one target's files, with owners and modes set in its tar; the image's
configuration is the only thing that knows the commit, so a new commit changes nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hermetic.api import Context, Default, Dep, Input, Kind, Made, Provider, Ref, Rule, declare
from rules.basic import merge_parts
from rules.providers import Files, Licences, Part, Source, licences_of, unique


@dataclass(frozen=True)
class Layer(Provider):
    """One layer: the recipe its tar is streamed from, its descriptor, its tree."""

    recipe: Ref
    descriptor: Ref
    tree: Ref
    name: str


@dataclass(frozen=True)
class Image(Provider):
    """``tree``: the assembled image (manifest, config, recipes). ``layers``: lowest first.
    ``base``: what lies below them. ``env``: what a process started in it sees, without the commit."""

    tree: Ref
    layers: tuple[Layer, ...]
    env: tuple[tuple[str, str], ...]
    base: tuple[Part, ...] = ()


class LayerRule(Rule):
    """Files of ``files`` as one layer, put below ``at``.

    Everything belongs to 0:0 unless ``owners`` (path glob → "uid:gid") says otherwise; a glob that
    matches a directory covers what is in it. ``group_writable``: globs of paths the group may
    write as the owner does. ``modes``: path glob → octal. ``remove``: paths of lower layers to
    delete. ``needs``: take what the targets need, too. ``compression``: zstd or gzip.
    """

    files: list[Dep]
    at: str = "/"
    include: list[str] = []
    exclude: list[str] = []
    owners: dict[str, str] = {}
    group_writable: list[str] = []
    modes: dict[str, str] = {}
    remove: list[str] = []
    needs: bool = False
    compression: str = "zstd"

    def actions(self, ctx: Context) -> Sequence[Provider]:
        found = unique(part for dep in self.files for part in own_parts(dep, self.needs))
        tree = merge_parts(ctx, [Part(place(self.at, part.at), part.ref) for part in found])
        if self.include or self.exclude:
            params = {"include": self.include, "exclude": self.exclude}
            tree = ctx.operate("subset", params, inputs=[Input("/tree", tree)], outputs={"out": Kind.TREE})["out"]
        if rules := self.meta_rules():
            tree = ctx.operate("chmeta", {"rules": rules}, inputs=[Input("/tree", tree)], outputs={"out": Kind.TREE})[
                "out"
            ]
        made = ctx.operate(
            "layer",
            {"compression": self.compression, "created_by": f"hb {ctx.label}", "remove": sorted(self.remove)},
            inputs=[Input("/tree", tree)],
            outputs={"recipe": Kind.BLOB, "descriptor": Kind.BLOB},
        )
        layer = Layer(made["recipe"], made["descriptor"], tree, str(ctx.label))
        return [Default({"tree": tree, **made}), layer, Files((Part("/", tree),)), Licences(licences_of(self.files))]

    def meta_rules(self) -> list[dict[str, object]]:
        rules: list[dict[str, object]] = []
        for glob, owner in self.owners.items():
            uid, _, gid = owner.partition(":")
            rules.append({"glob": glob.strip("/"), "uid": int(uid), "gid": int(gid or uid)})
        rules += [{"glob": glob.strip("/"), "group_like_user": True} for glob in self.group_writable]
        rules += [{"glob": glob.strip("/"), "mode": mode} for glob, mode in self.modes.items()]
        return rules


class ImageRule(Rule):
    """An OCI image from ``layers`` (lowest first) on an optional ``base`` image.

    ``env`` keeps its order. ``commit_env``: the variable that gets the ``commit`` setting.
    ``annotations`` are put on manifest and labels as given.
    """

    layers: list[Dep]
    base: Dep | None = None
    env: dict[str, str] = {}
    user: str = ""
    entrypoint: list[str] = []
    cmd: list[str] = []
    workdir: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    ports: list[str] = []
    commit_env: str = ""

    def actions(self, ctx: Context) -> Sequence[Provider]:
        layers = tuple(dep[Layer] for dep in self.layers)
        env = [f"{name}={value}" for name, value in self.env.items()]
        annotations = dict(self.annotations)
        if self.commit_env:
            commit = str(ctx.setting("commit"))
            env.append(f"{self.commit_env}={commit}")
            annotations["org.opencontainers.image.revision"] = commit
        config = {
            "env": env,
            "user": self.user,
            "entrypoint": self.entrypoint,
            "cmd": self.cmd,
            "workdir": self.workdir,
            "labels": self.labels,
            "ports": self.ports,
        }
        made = assemble(ctx, layers, self.base, config, annotations)
        return [
            Default(made, layout="image"),
            Image(made["image"], layers, tuple(self.env.items()), self.base[Files].parts if self.base else ()),
            Licences(licences_of(self.layers)),
        ]


class ImageIndex(Rule):
    """One image per platform under a single name. ``images``: targets, each for its platform."""

    images: list[Dep]
    annotations: dict[str, str] = {}

    def actions(self, ctx: Context) -> Sequence[Provider]:
        inputs = [Input(f"/{index:02d}", dep[Image].tree) for index, dep in enumerate(self.images)]
        params = {"annotations": self.annotations}
        made = ctx.operate("index", params, inputs=inputs, outputs={"index": Kind.TREE})
        return [Default(made, layout="index")]


def own_parts(dep: Dep, needs: bool) -> tuple[Part, ...]:
    files: Files = dep[Files]
    return files.closure if needs else files.parts


def place(at: str, path: str) -> str:
    return "/" + "/".join(part for part in (at.strip("/"), path.strip("/")) if part)


def assemble(
    ctx: Context,
    layers: Sequence[Layer],
    base: Dep | None,
    config: Mapping[str, object],
    annotations: Mapping[str, str],
) -> Mapping[str, Made]:
    inputs = [Input("/base", base[Source].tree)] if base is not None else []
    for index, layer in enumerate(layers):
        inputs.append(Input(f"/layers/{index:03d}/descriptor", layer.descriptor, name=layer.name))
        inputs.append(Input(f"/layers/{index:03d}/recipe", layer.recipe, name=layer.name))
        inputs.append(Input(f"/layers/{index:03d}/tree", layer.tree, name=layer.name))
    params = {"config": config, "annotations": annotations, "arch": ctx.target_platform.arch}
    return ctx.operate("image", params, inputs=inputs, outputs={"image": Kind.TREE})


layer = declare(LayerRule)
image = declare(ImageRule)
image_index = declare(ImageIndex)
