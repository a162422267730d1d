"""The public face for rules and toolchains. Everything a rule may use of hb is named here."""

from hermetic.action import COMPILE_CACHE, Inline, Input, Inside, Kind, Made, Ref, Root, SourceFile, SourceTree
from hermetic.analysis.rule import Context, Default, Dep, Edge, Lock, Platform, Provider, Rule, Src, Target, Tool
from hermetic.errors import BuildFileError, FetchError, did_you_mean
from hermetic.fetch.lockfile import entries as lock_entries
from hermetic.label import Label
from hermetic.loading.declare import declare

__all__ = [
    "COMPILE_CACHE",
    "BuildFileError",
    "Context",
    "Default",
    "Dep",
    "Edge",
    "FetchError",
    "Inline",
    "Input",
    "Inside",
    "Kind",
    "Label",
    "Lock",
    "Made",
    "Platform",
    "Provider",
    "Ref",
    "Root",
    "Rule",
    "SourceFile",
    "SourceTree",
    "Src",
    "Target",
    "Tool",
    "declare",
    "did_you_mean",
    "lock_entries",
]
