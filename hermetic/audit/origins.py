"""Where a declared change comes from: a setting, a BUILD file, a macro, a rule, a lock.

What a step says (its command, variables, script, packages) is decided while loading, from settings and
from files whose digests every build keeps. When one of them changed, that is the origin. When several
did, all are named: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hermetic.execution.records import Step
from hermetic.loading.glob import BUILD_FILE

RULES = ("rules/", "toolchains/")


@dataclass(frozen=True, slots=True)
class Origin:
    """``kind``: setting, rule code, macro, lock or build file. ``text`` for people."""

    kind: str
    text: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class Edited:
    """The files that loading read and that differ between two builds, by what they are."""

    build_files: frozenset[str] = frozenset()
    rules: tuple[str, ...] = ()
    macros: tuple[str, ...] = ()
    locks: tuple[str, ...] = ()

    @staticmethod
    def between(old: Mapping[str, str], new: Mapping[str, str]) -> Edited:
        """Files only one build read say nothing (it was asked for other targets), but for rules, of
        which every build knows all."""
        both = {path for path, sha in new.items() if path in old and old[path] != sha}
        changed = sorted(both | {path for path in old.keys() ^ new.keys() if path.startswith(RULES) and _code(path)})
        build = frozenset(path for path in changed if path.rpartition("/")[2] == BUILD_FILE)
        rest = [path for path in changed if path not in build]
        rules = tuple(path for path in rest if path.startswith(RULES) and (_code(path) or path.startswith(RULES[0])))
        macros = tuple(path for path in rest if _code(path) and path not in rules)
        return Edited(build, rules, macros, tuple(path for path in rest if path not in rules and path not in macros))


def origins(new: Step, old: Step, edited: Edited) -> list[Origin]:
    """What may have changed what a step says. Empty when nothing that loading read differs."""
    found = [Origin("setting", f"setting {name} {change}") for name, change in settings_changed(old, new).items()]
    found += [Origin("rule code", f"rule code {path} edited", path) for path in edited.rules]
    found += [Origin("macro", f"macro {path} edited", path) for path in edited.macros]
    found += [Origin("lock", f"lock {path} edited", path) for path in _near(new, edited.locks)]
    package = new.label.removeprefix("//").partition(":")[0]
    own = f"{package}/{BUILD_FILE}" if package else BUILD_FILE
    if own in edited.build_files:
        found.append(Origin("build file", f"{own} edited", own))
    if not found:  # what a rule says also depends on what its deps provide
        found = [Origin("build file", f"{path} edited", path) for path in sorted(edited.build_files)]
    return found


def settings_changed(old: Step, new: Step) -> dict[str, str]:
    """Setting → ``12 → 13``, ``+ 13`` or ``- 12``."""
    before, after = _settings(old), _settings(new)
    found = {}
    for name in sorted({*before, *after}):
        was, now = before.get(name), after.get(name)
        if was != now:
            found[name] = (
                f"{was} → {now}"
                if was is not None and now is not None
                else f"= {now}"
                if was is None
                else f"= {was} no longer read"
            )
    return found


def _settings(step: Step) -> dict[str, str]:
    return dict(one.split("=", 1) for one in step.settings.split(",") if "=" in one)


def _near(step: Step, locks: tuple[str, ...]) -> tuple[str, ...]:
    """Locks of the step's own package when one of them changed, else all."""
    package = step.label.removeprefix("//").partition(":")[0]
    own = tuple(path for path in locks if not package or path.startswith(f"{package}/"))
    return own or locks


def _code(path: str) -> bool:
    return path.endswith(".py")
