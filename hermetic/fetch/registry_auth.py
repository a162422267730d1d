"""Credentials of container registries, from the user's own files, and the tokens they buy.

Guarantees: credentials go to the registry they belong to and to the token server it names, if that is
reached by https (or lies on this machine like the registry itself) and is no private address that the
registry could use us to talk to.
Sources: containers-auth.json(5), distribution's token authentication specification.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from hermetic.fetch.transport import Client, Refused

TOKEN_LIMIT = 256 << 10
_PARAMETER = re.compile(r'([a-z_]+)="([^"]*)"', re.ASCII)


@dataclass(frozen=True, slots=True)
class Login:
    user: str = ""
    password: str = ""

    def __bool__(self) -> bool:
        return bool(self.user)

    @property
    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


def auth_files(environ: Mapping[str, str]) -> list[Path]:
    """Where podman, skopeo and docker keep credentials, first found first."""
    home = environ.get("HOME", "/")
    named = [
        environ.get("REGISTRY_AUTH_FILE", ""),
        f"{environ['XDG_RUNTIME_DIR']}/containers/auth.json" if environ.get("XDG_RUNTIME_DIR") else "",
        f"{environ.get('XDG_CONFIG_HOME') or home + '/.config'}/containers/auth.json",
        f"{environ.get('DOCKER_CONFIG') or home + '/.docker'}/config.json",
    ]
    return [Path(name) for name in named if name]


def login_for(registry: str, repository: str, environ: Mapping[str, str]) -> Login:
    """The credentials for a repository: the most specific entry of the first file that has one."""
    names = [registry]
    for part in repository.split("/"):
        names.append(f"{names[-1]}/{part}")
    for path in auth_files(environ):
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            continue
        for name in reversed(names):
            if login := _entry(content, name):
                return login
    return Login()


def _entry(content: Any, name: str) -> Login:
    if not isinstance(content, dict):
        return Login()
    auths = content.get("auths") or {}
    for key in (name, f"https://{name}", f"https://{name}/v1/", f"https://{name}/v2/"):
        encoded = (auths.get(key) or {}).get("auth")
        if encoded:
            user, _, password = base64.b64decode(encoded).decode().partition(":")
            return Login(user, password.rstrip("\0"))
    helper = (content.get("credHelpers") or {}).get(name) or (content.get("credsStore") if name in auths else None)
    return _helper(helper, name) if helper and re.fullmatch(r"[A-Za-z0-9._-]+", helper) else Login()


def _helper(helper: str, registry: str) -> Login:
    """Ask a docker-credential program of the user's, as docker does."""
    try:
        done = subprocess.run(
            [f"docker-credential-{helper}", "get"], input=registry.encode(), capture_output=True, timeout=30, check=True
        )
        answer = json.loads(done.stdout)
        return Login(str(answer["Username"]), str(answer["Secret"]))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return Login()


def authorization(challenge: str, base: str, repository: str, login: Login, client: Client) -> str:
    """The Authorization header that answers a WWW-Authenticate challenge. Raises Refused."""
    scheme, _, rest = challenge.partition(" ")
    if scheme.lower() == "basic":
        if not login:
            raise Refused("wants a user and a password, and your registry auth file has none for it")
        return login.basic
    if scheme.lower() != "bearer":
        raise Refused(f"wants authentication of an unknown kind ({scheme[:20]!r})")
    values = dict(_PARAMETER.findall(rest))
    realm = values.get("realm", "")
    check_realm(realm, base)
    query = {"scope": values.get("scope") or f"repository:{repository}:pull"}
    if "service" in values:
        query["service"] = values["service"]
    separator = "&" if urlsplit(realm).query else "?"
    headers = {"Authorization": login.basic} if login else {}
    with client.request("GET", realm + separator + urlencode(query), headers) as response:
        if response.status != 200:
            raise Refused(f"its token server answers {response.status}")
        try:
            answer = json.loads(response.body(TOKEN_LIMIT))
            token = answer.get("token") or answer["access_token"]
        except (ValueError, KeyError, AttributeError) as error:
            raise Refused("its token server answers without a token") from error
    if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
        raise Refused("its token server answers without a token")
    return f"Bearer {token}"


def check_realm(realm: str, base: str) -> None:
    """Refuse token servers a registry must not send us to."""
    where, registry = urlsplit(realm), urlsplit(base)
    same_host = where.hostname == registry.hostname
    if not where.hostname or where.username or where.fragment:
        raise Refused(f"names the impossible token server {realm[:100]!r}")
    if where.scheme != "https" and not (where.scheme == "http" and same_host and registry.scheme == "http"):
        raise Refused(f"names a token server without https: {realm[:100]!r}")
    if not same_host and _private(where.hostname):
        raise Refused(f"names a token server at a private address: {realm[:100]!r}")


def _private(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return not address.is_global


def is_local(host: str) -> bool:
    """Whether a registry is on this machine, and so may be spoken to without TLS."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
