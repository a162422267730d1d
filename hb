#!/bin/sh
# The launcher: makes hb's own environment on first use, then runs hb. Later uses only compare a file.
set -eu

self=$0
while [ -L "$self" ]; do
  link=$(readlink "$self")
  case $link in /*) self=$link ;; *) self=${self%/*}/$link ;; esac
done
case $self in */*) root=$(cd "${self%/*}" && pwd -P) ;; *) root=$(pwd -P) ;; esac

lock=$root/locks/requirements.txt
# One environment per lock: a checkout with another lock does not take this one's away.
sum=$(cksum <"$lock")
venv=${HB_VENV:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hb/venv-${sum%% *}}

if ! cmp -s "$lock" "$venv/lock.txt" 2>/dev/null || [ ! -x "$venv/bin/python" ]; then
  "$root/tools/environment" "$lock" "$venv"
fi

PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
export PYTHONPATH
exec "$venv/bin/python" -s -m hermetic.cli.main "$@"
