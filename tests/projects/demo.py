"""Rules for the fixture projects and the analysis tests; BUILD files import them as ``rules.demo``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from hermetic.api import (
    Context,
    Default,
    Dep,
    Edge,
    Input,
    Kind,
    Lock,
    Made,
    Provider,
    Rule,
    SourceFile,
    Src,
    Target,
    Tool,
    declare,
)


@dataclass(frozen=True)
class Object(Provider):
    ref: Made


@dataclass(frozen=True)
class Compiler(Provider):
    command: str


class Compile(Rule):
    """An action with every kind of attribute: files, targets, tools, choices, settings, toolchains."""

    srcs: list[Src] = []
    deps: list[Dep] = []
    main: Dep | None = None
    named: dict[str, Dep] = {}
    tool: Tool | None = None
    wants: Annotated[Any, Edge(provides=(Object,))] = None
    mode: Literal["fast", "small", "debug"] = "fast"
    level: int = 1
    flags: list[str] = []
    env: dict[str, str] = {}
    reads: list[str] = []
    toolchain: str = ""
    on_target: bool = False

    def actions(self, ctx: Context) -> Sequence[Provider]:
        deps: list[Target] = [*self.deps, *self.named.values()]
        deps += [dep for dep in (self.main, self.tool, self.wants) if dep is not None]
        command = ctx.toolchain(self.toolchain)[Compiler].command if self.toolchain else "cc"
        settings = [f"-D{name}={ctx.setting(name)}" for name in self.reads]
        platform = [f"-march={ctx.target_platform.arch}"] if self.on_target else []
        made = ctx.run(
            "Compile",
            [command, f"-O{self.mode}", f"-l{self.level}", *self.flags, *settings, *platform],
            inputs=[
                *[Input(f"/build/{src.path}", src) for src in self.srcs if isinstance(src, SourceFile)],
                *[Input(f"/deps/{dep.label.name}", dep[Object].ref, name=str(dep.label)) for dep in deps],
            ],
            outputs={"out": ("/build/out", Kind.BLOB)},
            env=self.env,
        )
        return [Default(made, layout="blob"), Object(made["out"])]


class Toolset(Rule):
    """What a toolchain declaration points to."""

    command: str
    reads: list[str] = []

    def actions(self, ctx: Context) -> Sequence[Provider]:
        return [Compiler(" ".join([self.command, *[str(ctx.setting(name)) for name in self.reads]]))]


class Download(Rule):
    """Pinned by its lock file."""

    lock: Lock
    urls: list[str]

    def actions(self, ctx: Context) -> Sequence[Provider]:
        ctx.lockable("http", self.lock.path, {"urls": self.urls})
        made = ctx.fetch(
            "http", {"sha256": ctx.read(self.lock).strip()}, outputs={"out": Kind.BLOB}, unkeyed={"urls": self.urls}
        )
        return [Default(made, layout="blob"), Object(made["out"])]


class Odd(Rule):
    """A rule with a defect of one's choice."""

    does: str
    dep: Dep | None = None

    def actions(self, ctx: Context) -> Sequence[Provider]:
        ok: dict[str, Any] = {"inputs": [], "outputs": {"out": ("/out", Kind.BLOB)}}
        action = {
            "raises": lambda: 1 // 0,
            "nothing": lambda: None,
            "text": lambda: ["provider"],
            "unpinned": lambda: ctx.fetch("http", {"urls": []}, outputs={"out": Kind.BLOB}),
            "float": lambda: ctx.operate("write", {"a": {"b": [0.5]}}, inputs=[], outputs={"out": Kind.TREE}),
            "nan": lambda: ctx.operate("write", {"a": float("nan")}, inputs=[], outputs={"out": Kind.TREE}),
            "object": lambda: ctx.operate("write", {"a": ok.keys()}, inputs=[], outputs={"out": Kind.TREE}),
            "relative output": lambda: ctx.run("X", ["x"], inputs=[], outputs={"o": ("out", Kind.BLOB)}),
            "upwards output": lambda: ctx.run("X", ["x"], inputs=[], outputs={"o": ("/a/../b", Kind.BLOB)}),
            "overlap": lambda: ctx.run(
                "X", ["x"], inputs=[], outputs={"a": ("/o", Kind.TREE), "b": ("/o/b", Kind.TREE)}
            ),
            "whole root": lambda: ctx.run("X", ["x"], inputs=[], outputs={"o": ("/", Kind.TREE)}),
            "no output": lambda: ctx.run("X", ["x"], inputs=[], outputs={}),
            "relative input": lambda: ctx.run("X", ["x"], **{**ok, "inputs": [Input("a//b", SourceFile("a"))]}),
            "no command": lambda: ctx.run("X", [], **ok),
            "NUL": lambda: ctx.run("X", ["a\0b"], **ok),
            "env name": lambda: ctx.run("X", ["x"], env={"A-B": "1"}, **ok),
            "env value": lambda: ctx.run("X", ["x"], env={"A": 1}, **ok),  # type: ignore[dict-item]
            "cwd": lambda: ctx.run("X", ["x"], cwd="build", **ok),
            "setting": lambda: ctx.setting("arhc"),
            "toolchain": lambda: ctx.toolchain("fortran"),
            "provider": lambda: self.dep[Compiler],
            "surrogate": lambda: ctx.run("X", ["\ud800"], **ok),
        }[self.does]
        return action()  # type: ignore[return-value, no-untyped-call]


class Alias(Rule):
    actual: Dep

    def actions(self, ctx: Context) -> Sequence[Provider]:
        return list(self.actual.providers)


class Configured(Rule):
    actual: Annotated[Any, Edge(transition="attr:settings")]
    settings: dict[str, str]

    def actions(self, ctx: Context) -> Sequence[Provider]:
        return list(self.actual.providers)


alias = declare(Alias)
compile = declare(Compile)
configured = declare(Configured)
download = declare(Download)
odd = declare(Odd)
toolset = declare(Toolset)
