"""Ownership without privileges: chown and chgrp as programs that write down what they were asked.

A sandbox has one user id, so the kernel refuses to give files to others. Scripts call ``chown`` by
name; ours is found first, appends ``uid gid path`` and a NUL to a record, and succeeds. The record becomes
ownership in the output tree (docs/adr/0003-owners-are-data.md).
"""

from __future__ import annotations

from pathlib import Path

from hermetic.errors import ActionError

NO_ID = (1 << 32) - 1  # chown(2) takes it for "leave alone"
# One script for both names. Names are looked up in the sandbox's own passwd and group files; paths are
# recorded as the kernel would find them. What it cannot express (--reference) fails loudly.
_SHIM = r"""#!/bin/sh
set -u
record=/.hb/owners
me=${0##*/}
recursive= itself=
while [ $# -gt 0 ]; do
  case $1 in
    --) shift; break ;;
    -R|--recursive) recursive=1; shift ;;
    --reference*) echo "$me: --reference is not supported in this sandbox" >&2; exit 1 ;;
    --no-dereference) itself=1; shift ;;
    --from=*|--dereference|--verbose|--silent|--quiet|--changes|--preserve-root|--no-preserve-root) shift ;;
    -[!-]*)
      case $1 in *R*) recursive=1 ;; esac
      case $1 in *h*) itself=1 ;; esac
      shift ;;
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
login_group() { # login_group USER: the group of a user, by name or id
  case $1 in
    *[!0-9]*) sed -n "s/^$1:[^:]*:[0-9]*:\([0-9][0-9]*\).*/\1/p" /etc/passwd | head -n 1 ;;
    *) sed -n "s/^[^:]*:[^:]*:$1:\([0-9][0-9]*\).*/\1/p" /etc/passwd | head -n 1 ;;
  esac
}
real() { # real PATH: sets path to where it leads; the x keeps newlines at the end of a name
  path=$(readlink -fn -- "$1" && echo x) && path=${path%x}
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
uid=x gid=x
if [ -n "$user" ]; then
  uid=$(number /etc/passwd "$user")
  [ -n "$uid" ] || { echo "$me: invalid user: '$user'" >&2; exit 1; }
fi
if [ -n "$group" ]; then
  gid=$(number /etc/group "$group")
  [ -n "$gid" ] || { echo "$me: invalid group: '$group'" >&2; exit 1; }
elif [ "$me" = chown ] && [ "$spec" != "${spec%:}" ] && [ -n "$user" ]; then
  gid=$(login_group "$user")
  [ -n "$gid" ] || { echo "$me: '$user' has no login group" >&2; exit 1; }
fi
status=0
for given in "$@"; do
  if [ ! -e "$given" ] && [ ! -L "$given" ]; then
    echo "$me: cannot access '$given': No such file or directory" >&2
    status=1
    continue
  fi
  if [ -L "$given" ] && [ -n "$recursive$itself" ]; then # the link, not what it leads to
    case $given in
      */*) real "${given%/*}/" ;;
      *) real . ;;
    esac && path=$path/${given##*/}
  else
    real "$given"
  fi || { echo "$me: cannot access '$given'" >&2; status=1; continue; }
  if [ -n "$recursive" ]; then
    find "$path" -exec printf "$uid $gid %s\\0" {} + >>"$record" || status=1
  else
    printf '%s %s %s\0' "$uid" "$gid" "$path" >>"$record"
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
    """(path, uid, gid) in the order of the calls; -1 where a call left an id alone. Raises ActionError for
    what only a command that meddled with the record can have written."""
    if not path.exists():
        return ()
    try:
        text = path.read_bytes().decode("utf-8")
        return tuple(_entry(line) for line in text.split("\0")[:-1])
    except ValueError:
        hint = "use UTF-8 names, and leave /.hb/owners to chown and chgrp"
        raise ActionError("the record of what chown was asked cannot be read", hint=hint) from None


def _entry(line: str) -> tuple[str, int, int]:
    uid, gid, name = line.split(" ", 2)
    return name, _id(uid), _id(gid)


def _id(text: str) -> int:
    if text == "x":
        return -1
    if not (text.isascii() and text.isdigit()) or int(text) >= NO_ID:
        raise ValueError(text)
    return int(text)
