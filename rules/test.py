"""Tests: a command in an assembled image, structural checks of an image, Python tests.

A test is an action: it runs sealed, its success is cached by the hash of everything it can see,
and a failure is never a hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from hermetic.api import Context, Default, Dep, Input, Kind, Provider, Rule, SourceFile, Src, declare
from rules.basic import source_tree
from rules.image import Image
from rules.providers import CcToolchain, Part, PythonToolchain, closure, mounted


class ImageTest(Rule):
    """``cmd`` run with bash in the image's root filesystem, with the image's environment."""

    test: ClassVar[bool] = True

    image: Dep
    cmd: str
    env: dict[str, str] = {}
    timeout: int = 600

    def actions(self, ctx: Context) -> Sequence[Provider]:
        image = self.image[Image]
        trees = [*(part.ref for part in image.base), *(layer.tree for layer in image.layers)]
        layers = [Input(f"/{index:03d}", ref) for index, ref in enumerate(trees)]
        root = ctx.operate("merge", {"replace": True}, inputs=layers, outputs={"out": Kind.TREE})["out"]
        made = ctx.run(
            "ImageTest",
            ["/bin/bash", "-euo", "pipefail", "-c", self.cmd],
            inputs=mounted([Part("/", root)], str(self.image.label)),
            outputs={"out": ("/build/out", Kind.TREE)},
            env={**dict(image.env), **self.env},
            timeout=self.timeout,
            test=True,
        )
        return [Default(made)]


class ImageCheck(Rule):
    """Structural checks of an image; nothing is run, so any architecture can be checked.

    ``checks``: see docs/guide/images.md for the kinds and their fields.
    """

    test: ClassVar[bool] = True

    image: Dep
    checks: list[dict[str, Any]]

    def actions(self, ctx: Context) -> Sequence[Provider]:
        image = self.image[Image]
        made = ctx.operate(
            "check_image",
            {"checks": self.checks},
            inputs=[
                Input("/image", image.tree, name=str(self.image.label)),
                *[Input("/base", part.ref) for part in image.base],
            ],
            outputs={"report": Kind.BLOB},
        )
        return [Default(made, layout="blob")]


class PyTest(Rule):
    """Python tests: ``srcs`` run by ``python -m unittest`` (or ``runner``) in the cc toolchain's
    root, with what ``deps`` install."""

    test: ClassVar[bool] = True

    srcs: list[Src]
    deps: list[Dep] = []
    runner: list[str] = ["-m", "unittest", "discover", "-s", ".", "-p", "*test*.py"]
    env: dict[str, str] = {}
    timeout: int = 600

    def actions(self, ctx: Context) -> Sequence[Provider]:
        cc = ctx.toolchain("cc")[CcToolchain]
        python = ctx.toolchain("python")[PythonToolchain]
        files = [src for src in self.srcs if isinstance(src, SourceFile)]
        made = ctx.run(
            "PyTest",
            [python.interpreter, *self.runner],
            inputs=[
                *mounted(cc.root, "toolchain cc"),
                *mounted(closure(self.deps), "deps"),
                Input("/build/src", source_tree(ctx, files), writable=True, name=str(ctx.label)),
            ],
            outputs={"out": ("/build/out", Kind.TREE)},
            env={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", **self.env},
            cwd="/build/src",
            timeout=self.timeout,
            test=True,
        )
        return [Default(made)]


image_check = declare(ImageCheck)
image_test = declare(ImageTest)
py_test = declare(PyTest)
