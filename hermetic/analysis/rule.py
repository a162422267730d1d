"""What a rule is: a class with typed attributes and a pure ``actions(ctx)``.

The engine knows no rule. It sees ``Rule`` subclasses, the ``Provider`` values they return and the
actions they register through ``Context``. Nothing here touches the disk.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Protocol, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict

from hermetic.action import Input, Kind, Made, Ref, Root, SourceFile
from hermetic.label import Label

P = TypeVar("P", bound="Provider")


@dataclass(frozen=True)
class Provider:
    """Base of the frozen dataclasses that targets hand to the targets depending on them."""


@dataclass(frozen=True)
class Default(Provider):
    """What ``hb build`` shows of a target: its outputs by name, the first one in front."""

    outputs: Mapping[str, Ref] = field(default_factory=dict)
    layout: str = "tree"  # tree, blob, image, index: how hb-out shows the first output


class Target(Protocol):
    """A configured dependency as a rule sees it."""

    @property
    def label(self) -> Label: ...
    def __contains__(self, provider: type[Provider]) -> bool: ...
    @property
    def providers(self) -> Sequence[Provider]: ...
    def get(self, provider: type[P]) -> P | None: ...
    def __getitem__(self, provider: type[P]) -> P:
        """The provider; a BuildFileError naming the target when it has none."""
        ...


@dataclass(frozen=True)
class Edge:
    """Marks an attribute as a dependency. ``transition``: None keeps the configuration, "exec"
    builds the dependency for the machine that runs actions, "attr:<name>" reads the changes of
    settings (a dict) from another attribute of the rule."""

    transition: str | None = None
    provides: tuple[type[Provider], ...] = ()
    files: bool = False  # the string may also be a file of the package, which becomes a SourceFile
    missing: bool = False  # … which need not exist yet: a lock


Dep: TypeAlias = Annotated[Any, Edge()]  # a Target in the same configuration
Tool: TypeAlias = Annotated[Any, Edge(transition="exec")]  # a Target built for the exec platform
Src: TypeAlias = Annotated[Any, Edge(files=True)]  # a file of the package (SourceFile) or a Target
Lock: TypeAlias = Annotated[Any, Edge(files=True, missing=True)]  # a lock file of the package


class Platform(Protocol):
    """``name`` such as linux-amd64; ``arch`` amd64 or arm64 (Debian's names)."""

    @property
    def name(self) -> str: ...
    @property
    def arch(self) -> str: ...


class Context(Protocol):
    """What ``actions`` may ask and do. Reading a setting makes it part of the configuration."""

    @property
    def label(self) -> Label: ...
    @property
    def exec_platform(self) -> Platform: ...
    @property
    def target_platform(self) -> Platform: ...
    def setting(self, name: str) -> Any: ...
    def read(self, source: SourceFile) -> str:
        """The text of a source file (a lock); the file becomes part of what the package read."""
        ...

    def lockable(self, kind: str, path: str, spec: Mapping[str, Any]) -> None:
        """Tell ``hb lock`` what to resolve for this target and which file of the package to write."""
        ...

    def toolchain(self, kind: str) -> Target:
        """The registered toolchain of ``kind`` that runs on the exec platform and serves the
        target platform."""
        ...

    def run(
        self,
        mnemonic: str,
        argv: Sequence[str],
        *,
        inputs: Sequence[Input],
        outputs: Mapping[str, tuple[str, Kind]],
        env: Mapping[str, str] | None = None,
        cwd: str = "/build",
        root: Root = Root.READONLY,
        uid: int = 1000,
        timeout: int = 3600,
        test: bool = False,
        secrets: Sequence[str] = (),
        secret_generation: str = "",
        launchers: Mapping[str, str] | None = None,
    ) -> Mapping[str, Made]:
        """Register a sandboxed command. ``outputs``: name → (absolute path, kind). ``secrets``: names; each is
        the file /run/secrets/NAME while the command runs. The names and ``secret_generation``, which must be
        stated with them, are in the key; the values never are. ``launchers``: variables it gets in addition
        when there is a compile cache, whose tool then lies at COMPILE_CACHE; ``%`` in a value is what the
        variable is without. They are in no key."""
        ...

    def operate(
        self, operation: str, params: Mapping[str, Any], *, inputs: Sequence[Input], outputs: Mapping[str, Kind]
    ) -> Mapping[str, Made]:
        """Register an internal operation on trees and blobs (hermetic.execution.operations)."""
        ...

    def fetch(
        self,
        operation: str,
        params: Mapping[str, Any],
        *,
        outputs: Mapping[str, Kind],
        unkeyed: Mapping[str, Any] | None = None,
        secrets: Sequence[str] = (),
    ) -> Mapping[str, Made]:
        """Register a pinned fetch (hermetic.fetch). ``params`` hold the pins and are in the key;
        ``unkeyed`` (mirrors) and the names of ``secrets`` are not."""
        ...


class Rule(BaseModel):
    """Base of all rules. A subclass's annotated fields are its attributes.

    ``Dep``, ``Tool`` and ``Src`` fields (also inside list and dict) are labels in BUILD.py and
    Targets (or SourceFile refs) here. Any attribute may be a ``select()`` in BUILD.py; here it is
    resolved already.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, strict=True)

    test: ClassVar[bool] = False

    name: str
    visibility: list[str] = []
    tags: list[str] = []
    # What the target's commands claim of the machine until a run has shown what they take. In no key.
    cpu: int = 0  # CPUs kept busy besides the jobs of a build tool
    memory: str = ""  # "512M", "11G"
    jobs_memory: str = ""  # of each job of a build tool
    exclusive: bool = False  # nothing may run beside them
    compile_cache: bool | None = None  # with one or without, whatever the command line says. In no key

    def actions(self, ctx: Context) -> Sequence[Provider]:
        raise NotImplementedError
