"""The ``Context`` a rule's ``actions`` gets: registers actions, reads settings, finds toolchains.

Guarantees: an action's id is made from its label, its mnemonic and a hash of everything it says, so
the same action declared under two configurations that do not matter to it is one action.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hermetic.action import Action, Input, Kind, Made, Mode, Output, Root, SourceFile
from hermetic.analysis.codec import action_object
from hermetic.analysis.rule import Target
from hermetic.errors import BuildFileError, FetchError, Location
from hermetic.label import Label
from hermetic.secret import FOLDER, fault
from hermetic.settings import Platform, Value

PINS = ("sha256", "commit", "digest")
_SECRET_NAMES = "name each once, in letters, digits and underscores, like NPM_TOKEN"
UNSAID = ("location", "launchers")  # what an action's id does not depend on
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


@dataclass
class RuleContext:
    """One target's context; what it registers is collected in ``made`` and ``lock``."""

    label: Label
    location: Location
    exec_platform: Platform
    _target_platform: Callable[[], Platform]
    _setting: Callable[[str], Value]
    _toolchain: Callable[[str], Target]
    _read: Callable[[str], str | None]
    made: dict[str, Action] = field(default_factory=dict)
    lock: str = ""

    @property
    def target_platform(self) -> Platform:
        return self._target_platform()

    def setting(self, name: str) -> Value:
        return self._setting(name)

    def toolchain(self, kind: str) -> Target:
        return self._toolchain(kind)

    def read(self, source: SourceFile) -> str:
        text = self._read(source.path)
        if text is None:
            raise FetchError(f"{source.path} does not exist yet", hint=f"run: hb lock {self.label}")
        return text

    def lockable(self, kind: str, path: str, spec: Mapping[str, Any]) -> None:
        self.lock = canonical({"kind": kind, "path": path, "spec": spec}, "lock")

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
        declared = tuple(Output(name, path, kind) for name, (path, kind) in outputs.items())
        _check_command(argv, env or {}, declared, inputs, cwd, root)
        _check_secrets(secrets, secret_generation, declared, inputs)
        _check_env(launchers or {})
        return self._register(
            Action(
                id="",
                label=str(self.label),
                mnemonic=mnemonic,
                location=self.location,
                mode=Mode.COMMAND,
                argv=tuple(argv),
                outputs=declared,
                inputs=tuple(inputs),
                env=tuple(sorted((env or {}).items())),
                cwd=cwd,
                root=root,
                uid=uid,
                timeout=timeout,
                test=test,
                secrets=tuple(sorted(secrets)),
                secret_generation=secret_generation,
                launchers=tuple(sorted((launchers or {}).items())),
                platform=(("ISA", self.exec_platform.arch), ("OSFamily", self.exec_platform.os)),
            )
        )

    def operate(
        self, operation: str, params: Mapping[str, Any], *, inputs: Sequence[Input], outputs: Mapping[str, Kind]
    ) -> Mapping[str, Made]:
        _check_inputs(inputs)
        return self._simple(Mode.INTERNAL, operation, params, tuple(inputs), outputs, "{}")

    def fetch(
        self,
        operation: str,
        params: Mapping[str, Any],
        *,
        outputs: Mapping[str, Kind],
        unkeyed: Mapping[str, Any] | None = None,
        secrets: Sequence[str] = (),
    ) -> Mapping[str, Made]:
        pin = next((str(params[name]) for name in PINS if params.get(name)), "")
        if not pin:
            raise FetchError(f"{self.label} fetches something that is not pinned", hint=f"run: hb lock {self.label}")
        wrong = fault(secrets, "", command=False)
        if wrong:
            raise BuildFileError(wrong, hint=_SECRET_NAMES)
        names = tuple(sorted(secrets))
        return self._simple(Mode.FETCH, operation, params, (), outputs, canonical(unkeyed or {}, "unkeyed"), names)

    def _simple(
        self,
        mode: Mode,
        operation: str,
        params: Mapping[str, Any],
        inputs: tuple[Input, ...],
        outputs: Mapping[str, Kind],
        unkeyed: str,
        secrets: tuple[str, ...] = (),
    ) -> Mapping[str, Made]:
        return self._register(
            Action(
                id="",
                label=str(self.label),
                mnemonic=operation,
                location=self.location,
                mode=mode,
                argv=(operation, canonical(params, operation)),
                outputs=tuple(Output(name, f"/{name}", kind) for name, kind in outputs.items()),
                inputs=inputs,
                cwd="/",
                unkeyed=unkeyed,
                secrets=secrets,
            )
        )

    def _register(self, action: Action) -> Mapping[str, Made]:
        try:
            # Where it is written does not make it another action: a comment above it changes no id.
            said = {name: value for name, value in action_object(action).items() if name not in UNSAID}
            content = json.dumps(said, sort_keys=True, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise BuildFileError(f"{action.mnemonic} holds text that is not Unicode") from None
        if not action.outputs:
            raise BuildFileError(f"{action.mnemonic} declares no output, so nothing would ever run it")
        action_id = f"{self.label}#{action.mnemonic}-{hashlib.sha256(content).hexdigest()[:16]}"
        self.made[action_id] = replace(action, id=action_id)
        return {output.name: Made(action_id, output.name, output.kind) for output in action.outputs}


def canonical(params: Mapping[str, Any], what: str) -> str:
    """Parameters as JSON with one possible text: sorted names, no spaces, no floats."""
    _refuse_floats(params, what)
    try:
        return json.dumps(params, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BuildFileError(f"the parameters of {what} are not plain data: {error}") from None


def _refuse_floats(value: Any, what: str) -> None:
    if isinstance(value, float):
        raise BuildFileError(f"the parameters of {what} hold the float {value!r}", hint="use a string")
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_floats(item, what)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_floats(item, what)


def _check_command(
    argv: Sequence[str],
    env: Mapping[str, str],
    outputs: Sequence[Output],
    inputs: Sequence[Input],
    cwd: str,
    root: Root,
) -> None:
    if not argv or isinstance(argv, str) or not all(isinstance(word, str) and "\0" not in word for word in argv):
        raise BuildFileError("an action's command is a list of strings without NUL, and not empty")
    _check_env(env)
    _check_path(cwd, "current directory")
    _check_inputs(inputs)
    taken: list[str] = []
    for output in outputs:
        _check_path(output.path, "output")
        for other in taken:
            if output.path == other or output.path.startswith(f"{other}/") or other.startswith(f"{output.path}/"):
                raise BuildFileError(f"the outputs {other} and {output.path} overlap")
        if output.path != "/":
            taken.append(output.path)
        elif root is not Root.OVERLAY:
            raise BuildFileError("the output / is the changes of the root", hint="run with root=Root.OVERLAY")


def _check_secrets(secrets: Sequence[str], generation: str, outputs: Sequence[Output], inputs: Sequence[Input]) -> None:
    wrong = fault(secrets, generation, command=True)
    if wrong:
        hint = _SECRET_NAMES
        if secrets and not generation:
            hint = 'write secret_generation = "1", and another text when what the secrets unlock has changed'
        raise BuildFileError(wrong, hint=hint)
    places = [one.path for one in outputs] + [one.path for one in inputs]
    in_the_way = [path for path in places if f"{path}/".startswith(f"{FOLDER}/")]
    in_the_way += [one.path for one in outputs if one.path != "/" and FOLDER.startswith(f"{one.path}/")]
    if secrets and in_the_way:
        message = f"{in_the_way[0]} is where secrets are mounted"
        raise BuildFileError(message, hint=f"have no output at or above {FOLDER}, and nothing below it")


def _check_env(env: Mapping[str, str]) -> None:
    for name, value in env.items():
        if not _ENV_NAME.fullmatch(name):
            raise BuildFileError(f"{name!r} is not the name of an environment variable")
        if not isinstance(value, str) or "\0" in value:
            raise BuildFileError(f"the environment variable {name} is {value!r}, not text without NUL")


def _check_inputs(inputs: Sequence[Input]) -> None:
    for one in inputs:
        _check_path(one.path, "input")


def _check_path(path: str, what: str) -> None:
    if not path.startswith("/") or posixpath.normpath(path) != path or "\0" in path or path.startswith("//"):
        raise BuildFileError(f"the {what} path {path!r} is not absolute and normalised", hint="write it like /a/b")
