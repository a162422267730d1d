"""The command line that puts a fetch worker into its box, and the environment it gets.

Guarantees: own network, process, IPC and user namespaces; the host's files read-only, /run, /tmp and
/var/tmp hidden (sockets of daemons and of other programs live there); one writable folder; no
capabilities; no variable of the caller's environment but those the ecosystems' clients are
configured by. hb's own credentials (caches, signing keys) are not among them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import hermetic
from hermetic.bubblewrap import PROC, find_bwrap

PROXY_INSIDE = "/run/hb/proxy"
HIDDEN = ("/run", "/tmp", "/var/tmp")
KEPT = {
    "HOME", "PATH", "USER", "LOGNAME", "LANG", "LC_ALL", "NETRC", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE",
    "XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "APT_CONFIG", "SSH_AUTH_SOCK", "RUSTUP_HOME",
}  # fmt: skip
KEPT_PREFIXES = ("PIP_", "UV_", "CARGO_", "GIT_CONFIG", "GIT_SSL_", "GIT_ASKPASS")


def command(scratch: Path, proxy_folder: Path, environ: Mapping[str, str], readable: Sequence[str] = ()) -> list[str]:
    """argv of the boxed worker; ``scratch`` is its only writable folder. ``readable``: paths its requests
    name, shown even where they lie under a hidden folder."""
    argv = [find_bwrap(), "--unshare-user", "--unshare-net", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    argv += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    argv += ["--ro-bind", "/", "/", "--dev", "/dev", *PROC]
    for hidden in HIDDEN:
        if Path(hidden).is_dir() and not Path(hidden).is_symlink():
            argv += ["--tmpfs", hidden]
    for path in _needed(environ, readable):
        argv += ["--ro-bind", path, path]
    argv += ["--bind", str(scratch), str(scratch), "--ro-bind", str(proxy_folder), str(Path(PROXY_INSIDE).parent)]
    return [*argv, "--chdir", str(scratch), sys.executable, "-m", "hermetic.fetch.worker"]


def _needed(environ: Mapping[str, str], readable: Sequence[str]) -> list[str]:
    """Paths under the hidden folders that the worker still has to read."""
    package = Path(hermetic.__file__).resolve().parent.parent
    wanted = [sys.prefix, sys.base_prefix, str(package), environ.get("SSH_AUTH_SOCK", ""), _run_auth(environ)]
    wanted += [environ.get(name, "") for name in ("HOME", "XDG_CONFIG_HOME", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE")]
    wanted += [environ.get(name, "") for name in ("NETRC", "SSL_CERT_FILE", "PIP_CONFIG_FILE", "UV_CONFIG_FILE")]
    wanted += [environ.get("GIT_CONFIG_GLOBAL", ""), environ.get("CARGO_HOME", ""), *readable]
    found = []
    for path in dict.fromkeys(wanted):
        inside = any(path.startswith(hidden + "/") for hidden in HIDDEN)
        if inside and os.path.exists(path):
            found.append(path)
    return found


def _run_auth(environ: Mapping[str, str]) -> str:
    """Where podman and skopeo keep the credentials of registries."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    return f"{runtime}/containers/auth.json" if runtime else ""


def environment(scratch: Path, environ: Mapping[str, str], plugins: Sequence[str] = ()) -> dict[str, str]:
    """The worker's environment; the relay adds the proxies. ``plugins``: folders with further fetchers."""
    kept = {name: value for name, value in environ.items() if name in KEPT or name.startswith(KEPT_PREFIXES)}
    if auth := _run_auth(environ):
        kept.setdefault("XDG_RUNTIME_DIR", str(Path(auth).parent.parent))
    package = str(Path(hermetic.__file__).resolve().parent.parent)
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join([package, *plugins]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": str(scratch / "tmp"),
        "XDG_CACHE_HOME": str(scratch / "cache"),
        "GIT_TERMINAL_PROMPT": "0",
    }
