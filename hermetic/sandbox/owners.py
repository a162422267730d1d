"""Ownership without privileges: chown and chgrp as programs that write down what they were asked.

A sandbox has one user id, so the kernel refuses to give files to others. Scripts call ``chown`` by
name; ours is found first, appends ``uid gid path`` to a record and succeeds. The record becomes
ownership in the output tree (docs/adr/0003-owners-are-data.md).
"""

from __future__ import annotations

from pathlib import Path

# One script for both names. Names are looked up in the sandbox's own passwd and group files. What
# it cannot express (a path with a newline, --reference) fails loudly.
_SHIM = r"""#!/bin/sh
set -u
record=/.hb/owners
me=${0##*/}
recursive=
while [ $# -gt 0 ]; do
  case $1 in
    --) shift; break ;;
    -R|--recursive) recursive=1; shift ;;
    --reference*) echo "$me: --reference is not supported in this sandbox" >&2; exit 1 ;;
    --from=*|--no-dereference|--dereference|--verbose|--silent|--quiet|--changes) shift ;;
    --preserve-root|--no-preserve-root) shift ;;
    -[!-]*) case $1 in *R*) recursive=1 ;; esac; shift ;;
    *) break ;;
  esac
done
[ $# -ge 2 ] || { echo "$me: missing operand" >&2; exit 1; }
spec=$1; shift
number() { # number FILE NAME: the id of a user or group
  case $2 in
    ''|*[!0-9]*) sed -n "s/^$2:[^:]*:\([0-9][0-9]*\).*/\1/p" "$1" | head -n 1 ;;
    *) echo "$2" ;;
  esac
}
user= group=
case $me in
  chgrp) group=$spec ;;
  *) case $spec in
       *:*) user=${spec%%:*}; group=${spec#*:} ;;
       *.*) user=${spec%%.*}; group=${spec#*.} ;;
       *) user=$spec ;;
     esac ;;
esac
uid=- gid=-
if [ -n "$user" ]; then
  uid=$(number /etc/passwd "$user")
  [ -n "$uid" ] || { echo "$me: invalid user: '$user'" >&2; exit 1; }
fi
if [ -n "$group" ]; then
  gid=$(number /etc/group "$group")
  [ -n "$gid" ] || { echo "$me: invalid group: '$group'" >&2; exit 1; }
fi
status=0
for path in "$@"; do
  case $path in
    *'
'*) echo "$me: a path with a newline cannot be recorded" >&2; exit 1 ;;
    /*) ;;
    *) path=$PWD/$path ;;
  esac
  if [ ! -e "$path" ] && [ ! -L "$path" ]; then
    echo "$me: cannot access '$path': No such file or directory" >&2
    status=1
  elif [ -n "$recursive" ]; then
    find "$path" | while IFS= read -r each; do echo "$uid $gid $each" >>"$record"; done
  else
    echo "$uid $gid $path" >>"$record"
  fi
done
exit $status
"""


def write_shims(folder: Path) -> None:
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("chown", "chgrp"):
        path = programs / name
        path.write_text(_SHIM, encoding="utf-8")
        path.chmod(0o555)


def read_record(path: Path) -> tuple[tuple[str, int, int], ...]:
    """(path, uid, gid) in the order of the calls; -1 where a call left an id alone."""
    if not path.exists():
        return ()
    found = []
    for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        uid, gid, name = line.split(" ", 2)
        found.append((name, -1 if uid == "-" else int(uid), -1 if gid == "-" else int(gid)))
    return tuple(found)
