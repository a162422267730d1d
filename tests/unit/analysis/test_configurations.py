"""Configurations: selects, transitions, platforms, and what trimming leaves."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hermetic.analysis.selects import resolve
from hermetic.errors import BuildFileError, HbError, Location, SettingError
from hermetic.loading.select import Select
from hermetic.settings import Setting

VALUES = {"arch": ["amd64", "arm64"], "cuda": ["12", "13"], "kvbm": ["true", "false"], "jobs": ["1", "2"]}
overrides = st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in VALUES.items()})


@given(st.data(), overrides, overrides)
@settings(max_examples=25, deadline=None)
def test_a_setting_that_is_not_read_never_changes_anything(new_workspace, data, one, two) -> None:
    """Random targets that read random settings, directly or below: equal where it matters, equal throughout."""
    lines, reads = [], []
    for index in range(3):
        own = data.draw(st.lists(st.sampled_from(sorted(VALUES)), unique=True, max_size=2))
        dep = data.draw(st.sampled_from([None, *range(index)]))
        lines.append(f"compile(name='t{index}', reads={own}, deps={[] if dep is None else [f':t{dep}']})")
        reads.append(set(own) | (set() if dep is None else reads[dep]))
    workspace = new_workspace()
    workspace.build("p", "\n".join(lines) + "\n")
    defaults = {"arch": "amd64", "cuda": "13", "kvbm": "false", "jobs": "4"}
    same = all({**defaults, **one}[name] == {**defaults, **two}[name] for name in reads[2])
    first, second = (workspace.graph("//p:t2", **values) for values in (one, two))
    assert {name for name, _ in first.targets[first.requested[0]].settings} == reads[2]
    assert (first == second) == same


SETTINGS = {
    name: Setting(name, values[0], tuple(values)) for name, values in VALUES.items() if name in ("arch", "cuda")
}
conditions = st.dictionaries(st.sampled_from(["arch", "cuda"]), st.sampled_from([0, 1]), max_size=2).map(
    lambda chosen: {name: VALUES[name][index] for name, index in chosen.items()}
)


@given(st.lists(conditions, min_size=1, max_size=5), conditions, st.randoms())
def test_select_takes_the_most_specific_branch_in_any_order(found, config, random) -> None:
    """Against the definition: among the branches that hold, the one that contains all the others."""
    config = {"arch": "amd64", "cuda": "12", **config}
    branches = {",".join(f"{k}={v}" for k, v in one.items()) or "default": one for one in found}
    holding = [(key, one) for key, one in branches.items() if key != "default" and one.items() <= config.items()]
    maximal = [key for key, one in holding if not any(one.items() < other.items() for _, other in holding)]
    keys = list(branches)
    random.shuffle(keys)
    reads: list[str] = []

    def read(name: str) -> str:
        reads.append(name)
        return config[name]

    select = Select({key: key for key in keys}, Location("BUILD.py", 1))
    same = {frozenset(branches[key].items()) for key in maximal}
    if len(same) > 1 or (len(maximal) > 1) or (not maximal and "default" not in branches):
        with pytest.raises(BuildFileError):
            resolve(select, SETTINGS, read, select.location)
    else:
        assert resolve(select, SETTINGS, read, select.location) == (maximal or ["default"])[0]
    assert set(reads) == {name for one in branches.values() for name in one}  # whatever the order of hashing


def test_branches_that_agree_are_not_ambiguous(workspace) -> None:
    workspace.build("p", "compile(name='x', flags=select({'arch=amd64': ['a'], 'cuda=13': ['a']}))\n")
    graph = workspace.graph("//p:x")
    assert next(iter(graph.actions.values())).argv[-1] == "a"


def test_a_select_in_labels_and_dicts(workspace) -> None:
    workspace.build(
        "p",
        "compile(name='a')\ncompile(name='b')\n"
        "compile(name='x', named={'one': ':a'} | {'two': select({'cuda=12': ':a', 'default': ':b'})},"
        " main=select({'arch=arm64': ':a', 'default': None}))\n",
    )
    assert workspace.target("//p:x").deps == ("//p:a", "//p:b")
    assert workspace.target("//p:x", cuda="12", arch="arm64").deps == ("//p:a",)


def test_exec_edges_take_nothing_from_the_target_platform(workspace) -> None:
    workspace.build("p", "compile(name='tool', reads=['arch', 'cuda'])\ncompile(name='x', tool=':tool')\n")
    one, two = workspace.target("//p:x", arch="arm64"), workspace.target("//p:x", arch="amd64")
    assert one == two
    assert one.settings == (("cuda", "13"),)
    assert one.deps == ("//p:tool [arch=amd64,cuda=13]",)


def test_a_toolchain_is_chosen_by_platform_and_its_reads_count(workspace) -> None:
    workspace.build("p", "compile(name='x', toolchain='cc')\n")
    native = workspace.target("//p:x", kvbm="true")
    assert native.settings == (("arch", "amd64"), ("kvbm", "true"))
    assert native.deps == ("//tools:gcc [kvbm=true]",)
    assert workspace.target("//p:x", kvbm="true", arch="arm64").deps == ("//tools:cross",)


def test_names_of_settings_and_platforms_are_checked(workspace) -> None:
    workspace.build("p", "compile(name='x')\n")
    with pytest.raises(SettingError, match="did you mean 'cuda'"):
        workspace.graph("//p:x", cud="12")
    with pytest.raises(SettingError, match="it has 12, 13"):
        workspace.graph("//p:x", cuda="99")
    with pytest.raises(SettingError, match="did you mean 'linux-amd64'"):
        workspace.graph("//p:x", exec_platform="linux-amd46")


def test_ids_do_not_depend_on_the_hash_seed(workspace) -> None:
    """Sets of settings are read in hash order somewhere; the graph must not show it."""
    workspace.build(
        "p",
        "compile(name='x', reads=['jobs', 'kvbm'], toolchain='cc',"
        " flags=select({'arch=arm64,cuda=12,kvbm=true': ['a'], 'default': []}))\n",
    )
    script = (
        "import sys, pathlib, importlib.util as u\n"
        "spec = u.spec_from_file_location('rules.demo', sys.argv[2]); m = u.module_from_spec(spec)\n"
        "sys.modules['rules.demo'] = m; spec.loader.exec_module(m)\n"
        "from hermetic.analysis.front import analyse\n"
        "from hermetic.loading.loader import Loader\n"
        "print(analyse(Loader(pathlib.Path(sys.argv[1])), ['//p:x'], {}, 'linux-amd64').lines)\n"
    )
    root = Path(__file__).parents[3]
    demo = root / "tests" / "projects" / "demo.py"
    found = {
        subprocess.run(
            [sys.executable, "-c", script, workspace.root, demo],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }  # fmt: skip
    assert len(found) == 1


def test_a_long_chain_and_a_longer_one(workspace) -> None:
    lines = ["compile(name='t0')", "[alias(name=f't{i}', actual=f':t{i - 1}') for i in range(1, 6000)]"]
    workspace.build("p", "\n".join(lines) + "\n")
    assert len(workspace.graph("//p:t3000").targets) == 3001
    with pytest.raises(BuildFileError, match="ends a chain of 5000"):
        workspace.graph("//p:t5999")


def test_one_fault_is_told_once(workspace) -> None:
    workspace.build("p", "compile(name='bad', flags=3)\n[compile(name=f'u{i}', deps=[':bad']) for i in range(50)]\n")
    answer = workspace.answer("//p:all", keep_going=True)
    assert len(answer.errors) == 1
    assert answer.graph.targets == {}


def test_wildcards_leave_out_manual_targets(workspace) -> None:
    workspace.build("p", "compile(name='a', tags=['manual'])\ncompile(name='b')\n")
    assert workspace.graph("//p:all").requested == ("//p:b",)
    assert workspace.graph("//p:a").requested == ("//p:a",)


def test_visibility_words_that_admit(workspace) -> None:
    for index, word in enumerate(["//visibility:public", "//p:__pkg__", "//:__subpackages__", "//p:__subpackages__"]):
        workspace.write(
            f"q{index}/BUILD.py", f"from rules.demo import compile\ncompile(name='y', visibility=['{word}'])\n"
        )
        workspace.build("p", f"compile(name='x', deps=['//q{index}:y'])\n")
        assert workspace.target("//p:x").deps == (f"//q{index}:y",)


def test_a_failed_analysis_leaves_nothing_behind(workspace) -> None:
    """The interpreter's recursion limit and the thread's stack size are as before."""
    before = sys.getrecursionlimit()
    with pytest.raises(HbError):
        workspace.graph("//p:x")
    assert sys.getrecursionlimit() == before
