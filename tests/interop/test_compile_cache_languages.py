"""The compile cache with the repository's own toolchains: cmake, make, cargo and nvcc, as their rules call them.

Slow and from package registries: $HB_STORE saves fetching the toolchains again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

pytestmark = [pytest.mark.sandbox, pytest.mark.network, pytest.mark.slow]
ROOT = Path(__file__).parents[2]

BUILD = """
from rules.basic import genrule
from rules.cargo import cargo_binary
from rules.fetch import local_source
from rules.native import cmake, make

local_source(name="c", srcs=glob(["c/**"]), strip_prefix="c")
local_source(name="rs", srcs=glob(["rs/**"]), strip_prefix="rs")

cmake(name="cmake", prefix="/usr/local", src=":c")
make(name="make", prefix="/usr/local", src=":c")
cargo_binary(name="cargo", bins=["top"], src=":rs")

genrule(
    name="nvcc",
    cmd="nvcc -arch=sm_90 -cubin -o $OUT/add.cubin kernel.cu",
    env={"PATH": "/usr/local/cuda/bin:/usr/bin:/bin"},
    srcs=["kernel.cu"],
    tools=["//toolchains:cuda13"],
)
"""

FILES = {
    "c/a.c": "int a(void) { return 1; }\n",
    "c/b.cc": '#include <string>\nint b() { return (int)std::string("b").size(); }\n',
    "c/main.cc": 'extern "C" int a(void);\nint b();\nint main() { return a() + b(); }\n',
    "c/CMakeLists.txt": """cmake_minimum_required(VERSION 3.20)
project(x C CXX)
add_executable(x a.c b.cc main.cc)
install(TARGETS x)
""",
    "c/Makefile": """x: a.o b.o main.o
	$(CXX) -o $@ $^
%.o: %.cc
	$(CXX) $(CXXFLAGS) -c -o $@ $<
%.o: %.c
	$(CC) $(CFLAGS) -c -o $@ $<
install: x
	install -D x $(DESTDIR)$(PREFIX)/bin/x
""",
    "rs/Cargo.toml": """[package]
name = "top"
version = "0.1.0"
edition = "2021"
[dependencies]
one = { path = "one" }
two = { path = "two" }
""",
    "rs/src/main.rs": 'fn main() { println!("{}", one::f() + two::f()); }\n',
    **{f"rs/{name}/Cargo.toml": f'[package]\nname = "{name}"\nversion = "0.1.0"\nedition = "2021"\n' for name in ("one", "two")},
    **{f"rs/{name}/src/lib.rs": "pub fn f() -> u32 { 1 }\n" for name in ("one", "two")},
    "kernel.cu": '__global__ void add(float *a) { a[threadIdx.x] += 1.0f; }\n',
}  # fmt: skip

# target: (a file and what is put into it, whose change leaves so many hits at least)
EDITS = {
    "cmake": ("c/a.c", "int a(void) { return 2; }\n", 2),
    "make": ("c/b.cc", "int b() { return 5; }\n", 2),
    "cargo": ("rs/two/src/lib.rs", "pub fn f() -> u32 { 2 }\n", 1),
    "nvcc": ("", "", 1),  # its command changes, and nothing that is compiled
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's toolchains and rules with a package of ours."""
    top = tmp_path_factory.mktemp("checkout")
    for name in ("BUILD.py", "pyproject.toml", "rules", "toolchains"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(top)], check=True)
    word = uuid.uuid4().hex  # $HB_STORE may know the steps
    for path, text in FILES.items():
        (top / "lang" / path).parent.mkdir(parents=True, exist_ok=True)
        (top / "lang" / path).write_text(text)
    (top / "lang/c/word").write_text(word)
    (top / "lang/rs/word").write_text(word)
    (top / "lang/BUILD.py").write_text(BUILD)
    return top


def hb(checkout: Path, *words: str) -> str:
    store = os.environ.get("HB_STORE", str(checkout / "store"))
    done = subprocess.run(
        [str(ROOT / "hb"), *words], cwd=checkout, capture_output=True, text=True, env={**os.environ, "HB_STORE": store}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def compiled(checkout: Path) -> dict[str, int]:
    """Of the step that ran in the last build."""
    rows = [json.loads(line) for line in hb(checkout, "log", "last", "--json").splitlines()]
    (found,) = [row["compile_cache"] for row in rows if "compile_cache" in row]
    return found


@pytest.mark.parametrize("name", EDITS)
def test_only_what_changed_is_compiled(checkout: Path, name: str) -> None:
    file, text, hits = EDITS[name]
    word = uuid.uuid4().hex
    build = checkout / "lang/BUILD.py"
    if name == "nvcc":
        build.write_text(build.read_text().replace('cmd="nvcc', f'cmd="true {word}; nvcc'))
    hb(checkout, "build", f"//lang:{name}", "--compile-cache")
    assert compiled(checkout)["requests"] > 0
    if name == "nvcc":
        build.write_text(build.read_text().replace(f"true {word};", f"true again {word};"))
    else:
        (checkout / "lang" / file).write_text(text)
    hb(checkout, "build", f"//lang:{name}", "--compile-cache")
    warm = compiled(checkout)
    assert warm["hits"] >= hits, warm
    assert warm["misses"] <= (0 if name == "nvcc" else 2), warm
    place = checkout / "hb-out/lang" / name
    with_cache = {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    assert with_cache
    hb(checkout, "build", f"//lang:{name}")
    assert with_cache == {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()}
    shutil.rmtree(checkout / ".hb", ignore_errors=True)
