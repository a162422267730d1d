"""A compile cache inside a step, against the same step without, and a hit against bare sccache.

    HB_STORE=~/.cache/hb/store python tests/bench/bench_compile.py [FILES] [ROUNDS]

Both with the repository's own gcc. One line of one file changes, and the step is built with a warm compile cache and
without one, in turns. Inside one sandbox, the same compilation is then asked for many times of hb's endpoint and of a
second sccache with its own disk cache, in turns: as it works with any bucket, and in its direct mode, which does
without the preprocessor and which sccache has for disks only.
"""

from __future__ import annotations

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from common import paired, row

ROOT = Path(__file__).parents[2]
HITS = 40

STEP = """
genrule(
    name="{name}",
    cmd="cd cc && printf '%s: %s\\\\n\\\\t@$(CXX) -O2 -c -o $@ $<\\\\n' %.o %.cc > /tmp/Makefile && "
        "make -f /tmp/Makefile $(ls *.cc | sed s/cc$/o/) && cp *.o $OUT/",
    srcs=glob(["cc/*.cc"]),
)
"""

HIT = r"""
tool=/hb/compile-cache/bin/sccache
bare() { env -u SCCACHE_BUCKET -u SCCACHE_ENDPOINT -u SCCACHE_REGION -u SCCACHE_S3_NO_CREDENTIALS -u SCCACHE_S3_USE_SSL \
  SCCACHE_SERVER_UDS=/tmp/$1 SCCACHE_DIR=/tmp/$1.cache SCCACHE_DIRECT=$2 $tool ${3:-/usr/bin/g++ -O2 -c cc/f0.cc -o /tmp/x.o}; }
through() { $tool /usr/bin/g++ -O2 -c cc/f0.cc -o /tmp/x.o; }
plain() { bare plain false; }
direct() { bare direct true; }
ask() { for i in $(seq HITS); do $1; done; echo -n "${EPOCHREALTIME/./} " >> $OUT/times; }
export PATH=/usr/bin:/bin
if [ -x $tool ]; then
  bare plain false --start-server >/dev/null 2>&1
  bare direct true --start-server >/dev/null 2>&1
  through; plain; direct
  for round in 1 2 3 4 5; do
    echo -n "${EPOCHREALTIME/./} " >> $OUT/times
    ask through; ask plain; ask direct
    echo >> $OUT/times
  done
fi
""".replace("HITS", str(HITS))


def source(number: int) -> str:
    return (
        "#include <algorithm>\n#include <map>\n#include <string>\n#include <vector>\n"
        f"int f{number}(std::map<std::string, std::vector<int>> &m) {{\n"
        f"  for (auto &one : m) std::sort(one.second.begin(), one.second.end());\n  return m.size() + {number};\n}}\n"
    )


def checkout(top: Path, files: int) -> None:
    for name in ("BUILD.py", "pyproject.toml", "rules", "toolchains"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(top)], check=True)
    (top / "many/cc").mkdir(parents=True)
    for number in range(files):
        (top / f"many/cc/f{number}.cc").write_text(source(number))
    hit = f'genrule(name="hit", cmd={HIT + "# " + uuid.uuid4().hex!r}, srcs=["cc/f0.cc"])\n'
    steps = STEP.format(name="with") + STEP.format(name="without")
    (top / "many/BUILD.py").write_text(f"from rules.basic import genrule\n{steps}{hit}")


def hb(top: Path, *words: str) -> str:
    done = subprocess.run([str(ROOT / "hb"), "build", *words], cwd=top, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def main(files: int = 24, rounds: int = 3) -> None:
    top = Path(tempfile.mkdtemp())
    os.environ.setdefault("HB_STORE", str(top / "store"))
    print(f"{files} files, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs")
    try:
        checkout(top, files)
        hb(top, "//many:with", "--compile-cache")

        def edit() -> None:
            (top / "many/cc/f0.cc").write_text(source(0).replace("+ 0", f"+ {time.time_ns() % 10**9}"))

        def assisted() -> None:
            edit()
            said = hb(top, "//many:with", "--compile-cache")
            assert re.search(rf"{files - 1} hits .* 1 misses", said), said

        def plain() -> None:
            edit()
            hb(top, "//many:without")

        row(f"one line changed, {files} files", *_named(paired(assisted, plain, rounds), "without a compile cache"))
        hb(top, "//many:hit", "--compile-cache")
        turns = [list(map(int, line.split())) for line in (top / "hb-out/many/hit/times").read_text().splitlines()]
        ours, plain_hit, direct = (
            statistics.median((turn[at + 1] - turn[at]) / HITS / 1e6 for turn in turns) for at in range(3)
        )
        row("one hit, through hb's endpoint", ours, "sccache, disk", plain_hit)
        row("one hit, through hb's endpoint", ours, "the same, direct mode", direct)
        print(f"load {os.getloadavg()[0]:.1f} at the end")
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(top)], check=False)
        shutil.rmtree(top)


def _named(times: tuple[float, float], peer: str) -> tuple[float, str, float]:
    return times[0], peer, times[1]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
