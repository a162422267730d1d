"""A secret as a login to the servers a fetch names.

A request says in ``unkeyed["auth"]`` which secret it is and, if the server wants one, the user: without a
user it is a bearer token, with one it is a password.

Guarantees: a secret goes to the hosts the request names and, if its owner bound it to hosts, to those only; it
goes through TLS, or to this machine itself; a server cannot send it on by a redirect.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from hermetic.errors import FetchError
from hermetic.fetch.spec import FetchRequest
from hermetic.fetch.transport import Refused
from hermetic.secret import Secret

THIS_MACHINE = ("localhost", "127.0.0.1")  # as no_proxy can name it


@dataclass(frozen=True, slots=True)
class Login:
    secret: Secret
    user: str = ""

    @property
    def password(self) -> str:
        """The value as a header can carry it: without the line break at the end of a file."""
        text = self.secret.value.removesuffix(b"\n").removesuffix(b"\r").decode("latin-1")
        if not text.isprintable():
            raise FetchError(
                f"the secret {self.secret.name} holds a line break or another control character, so it is no password",
                hint="give the token alone",
            )
        return text

    @property
    def header(self) -> dict[str, str]:
        if self.user:
            pair = self.user.encode() + b":" + self.password.encode("latin-1")
            return {"Authorization": "Basic " + base64.b64encode(pair).decode()}
        return {"Authorization": f"Bearer {self.password}"}

    def goes_to(self, url: str) -> bool:
        """Whether this address gets it. Raises Refused for one that would carry it in the clear."""
        parts = urlsplit(url)
        host = str(parts.hostname or "")
        if self.secret.hosts and host not in self.secret.hosts:
            return False
        if parts.scheme != "https" and not (parts.scheme == "http" and host in THIS_MACHINE):
            raise Refused(f"would carry the secret {self.secret.name} in the clear: use https")
        return True


def login_of(request: FetchRequest) -> Login | None:
    """The login a request asks for. Raises FetchError when it is not what the rules make."""
    auth = request.unkeyed.get("auth")
    if auth is None:
        return None
    name, user = auth.get("secret"), auth.get("user", "")
    found = next((one for one in request.given if one.name == name), None)
    if found is None or not isinstance(user, str) or ":" in user or not user.isascii():
        raise FetchError(f"auth names {name!r} and {user!r}, which are no secret of the fetch and its user")
    hosts = {urlsplit(url).hostname for url in request.unkeyed.get("urls", ())}
    if found.hosts and hosts.isdisjoint(found.hosts):
        raise FetchError(
            f"the secret {name} is bound to {', '.join(found.hosts)}, and no address of the fetch is there",
            hint="look at the addresses; hosts in the user's secrets.toml says where it may go",
        )
    return Login(found, user)


def direct(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment, but no proxy stands before this machine: it would read what goes there in the clear."""
    bypass = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return {**environ, "no_proxy": ",".join([*THIS_MACHINE, bypass])}
