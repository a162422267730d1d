"""What a target says of the CPUs and the memory its commands take."""

from __future__ import annotations

from collections.abc import Mapping

from hermetic.analysis.rule import Rule
from hermetic.errors import BuildFileError
from hermetic.loading.declare import Declaration
from hermetic.sizes import parse_size


def resources_of(rule: Rule, declaration: Declaration) -> tuple[tuple[str, str], ...]:
    """Name → number, as an action carries them; what is not said is left out. Raises BuildFileError."""
    try:
        return _resources(rule)
    except BuildFileError as error:
        raise error.at(declaration.location, str(declaration.label)) from None


def _resources(rule: Rule) -> tuple[tuple[str, str], ...]:
    if rule.cpu < 0:
        raise BuildFileError(f"cpu={rule.cpu} is not a number of CPUs")
    numbers: Mapping[str, int] = {
        "cpu": rule.cpu,
        "exclusive": int(rule.exclusive),
        "jobs_memory": _bytes("jobs_memory", rule.jobs_memory),
        "memory": _bytes("memory", rule.memory),
    }
    return tuple((name, str(number)) for name, number in numbers.items() if number)


def _bytes(name: str, text: str) -> int:
    size = parse_size(text) if text else 0
    if size is None:
        raise BuildFileError(f"{name}={text!r} is not an amount of memory", hint='write it like "512M" or "11G"')
    return size
