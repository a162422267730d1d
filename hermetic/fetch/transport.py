"""One HTTP request, done carefully: proxies, redirects, credentials, timeouts, caps.

Guarantees: only http and https; a redirect never takes credentials to another origin and never leads
from https to http; every wait has a time limit and every body a cap. Mirrors, retries and resuming
are ``hermetic.fetch.http``'s; registries' tokens are ``hermetic.fetch.oci_registry``'s.
"""

from __future__ import annotations

import base64
import http.client
import netrc
import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit, urlunsplit

from hermetic import __version__

REDIRECTS = (301, 302, 303, 307, 308)
TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
STEP = 1 << 20


class Refused(Exception):
    """This address will not give it, however often we ask (404, a forbidden redirect, a bad URL)."""


class Transient(Exception):
    """It may work in a moment. ``after``: seconds the server asked for."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of one exchange. Times in seconds, sizes in bytes."""

    timeout: float = 60.0
    redirects: int = 8
    body: int = 32 << 30


@dataclass(slots=True)
class Response:
    """An answer whose body is read once, in pieces. ``url`` is where the redirects ended."""

    status: int
    headers: http.client.HTTPMessage
    url: str
    _raw: http.client.HTTPResponse
    _cap: int

    def pieces(self) -> Iterator[bytes]:
        """The body. A connection that breaks or ends early is Transient, one that goes on past the
        cap is Refused."""
        seen = 0
        try:
            while data := self._raw.read(STEP):
                seen += len(data)
                if seen > self._cap:
                    raise Refused(f"sends more than the {self._cap} bytes it may")
                yield data
        except (OSError, http.client.HTTPException) as error:
            raise Transient(f"the transfer broke after {seen} bytes ({describe(error)})") from error
        length = self.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) != seen and not self.headers.get("Transfer-Encoding"):
            raise Transient(f"the transfer ended after {seen} of {length} bytes")

    def body(self, limit: int) -> bytes:
        """The whole body of a small answer."""
        data = b""
        for piece in self.pieces():
            data += piece
            if len(data) > limit:
                raise Refused(f"sends more than the {limit} bytes it may")
        return data


@dataclass(frozen=True, slots=True)
class Client:
    """Makes requests the way the environment says: proxies, netrc, certificate files."""

    policy: Policy = Policy()
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @contextmanager
    def request(self, method: str, url: str, headers: Mapping[str, str] | None = None) -> Iterator[Response]:
        """Send one request and follow its redirects. Statuses are the caller's business; what cannot
        be asked at all is Refused, what failed on the way is Transient."""
        sent = {"User-Agent": f"hb/{__version__}", "Accept-Encoding": "identity", **(headers or {})}
        parsed = _checked(url)
        if "Authorization" not in sent and (login := self._login(parsed)):
            sent["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
        for _ in range(self.policy.redirects + 1):
            connection, raw = self._exchange(method, parsed, sent)
            try:
                target = raw.headers.get("Location") if raw.status in REDIRECTS else None
                if target is None:
                    yield Response(raw.status, raw.headers, urlunsplit(_public(parsed)), raw, self.policy.body)
                    return
            finally:
                raw.close()
                connection.close()
            following = redirected(parsed, target)
            if origin(following) != origin(parsed):
                sent = {name: value for name, value in sent.items() if name not in ("Authorization", "Cookie")}
            parsed = following
        raise Refused(f"redirects more than {self.policy.redirects} times")

    def _exchange(
        self, method: str, url: SplitResult, headers: Mapping[str, str]
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        host, port = str(url.hostname), port_of(url)
        connection, target = self._connect(url, host, port)
        try:
            connection.request(method, target, headers={"Host": _public(url).netloc, **headers})
            return connection, connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            connection.close()
            raise Refused(f"certificate of {host} not accepted: {error.verify_message}") from error
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Transient(f"cannot reach {host}:{port}: {describe(error)}") from error
        except UnicodeError as error:
            connection.close()
            raise Refused(f"not a URL: {error}") from error

    def _connect(self, url: SplitResult, host: str, port: int) -> tuple[http.client.HTTPConnection, str]:
        """A connection (not opened yet) and the request target to use on it."""
        target = urlunsplit(("", "", url.path or "/", url.query, ""))
        proxy = proxy_for(url.scheme, host, port, self.environ)
        where = (str(proxy.hostname), proxy.port or 80) if proxy else (host, port)
        timeout = self.policy.timeout
        if url.scheme == "https":
            secure = http.client.HTTPSConnection(*where, timeout=timeout, context=self._tls())
            if proxy:
                secure.set_tunnel(host, port, proxy_authorization(proxy))
            return secure, target
        plain = http.client.HTTPConnection(*where, timeout=timeout)
        return plain, urlunsplit(_public(url)._replace(path=url.path or "/")) if proxy else target

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            if file := self.environ.get(name):
                context.load_verify_locations(file)
        return context

    def _login(self, url: SplitResult) -> str:
        """``user:password`` from the URL, else from the user's netrc, else ""."""
        if url.username:
            return f"{unquote(url.username)}:{unquote(url.password or '')}"
        path = Path(self.environ.get("NETRC") or Path(self.environ.get("HOME", "/")) / ".netrc")
        try:
            entry = netrc.netrc(str(path)).hosts.get(str(url.hostname))
        except (OSError, netrc.NetrcParseError):
            return ""
        return f"{entry[0]}:{entry[2]}" if entry else ""


def redirected(url: SplitResult, target: str) -> SplitResult:
    """Where a Location header leads. Raises Refused for places a redirect may not lead to."""
    following = _checked(urljoin(urlunsplit(url), target))
    if url.scheme == "https" and following.scheme != "https":
        raise Refused(f"redirects from https to {following.scheme}://{following.hostname}")
    return following


def origin(url: SplitResult) -> tuple[str, str, int]:
    return url.scheme, str(url.hostname), port_of(url)


def port_of(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _checked(url: str) -> SplitResult:
    try:
        parsed = urlsplit(url)
        _ = parsed.port
    except ValueError as error:
        raise Refused(f"not a URL: {error}") from error
    if parsed.scheme not in ("http", "https") or not parsed.hostname:
        raise Refused(f"not an http or https URL: {url[:120]!r}")
    if any(ord(char) <= 32 or ord(char) == 127 for char in url):
        raise Refused(f"has a space or control character: {url[:120]!r}")
    return parsed._replace(fragment="")


def _public(url: SplitResult) -> SplitResult:
    """Without user and password."""
    return url._replace(netloc=url.netloc.rpartition("@")[2])


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> SplitResult | None:
    """The proxy the environment names for an address, by the conventions curl and pip share."""
    value = environ.get(f"{scheme}_proxy") or environ.get("HTTPS_PROXY" if scheme == "https" else "")
    value = value or environ.get("all_proxy") or environ.get("ALL_PROXY")
    if not value:
        return None
    bypass = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if any(_bypassed(entry.strip(), host, port) for entry in bypass.split(",")):
        return None
    parsed = urlsplit(value if "://" in value else f"http://{value}")
    if parsed.scheme != "http" or not parsed.hostname:
        raise Refused(f"the proxy {parsed.scheme}://{parsed.hostname} is not an http proxy")
    return parsed


def _bypassed(entry: str, host: str, port: int) -> bool:
    """Whether an entry of no_proxy means this address: ``*``, a host, a domain, with or without port."""
    name, colon, digits = entry.lower().rpartition(":")
    if not colon or not digits.isdecimal():
        name, digits = entry.lower(), ""
    if digits and int(digits) != port:
        return False
    name = name.lstrip(".")
    return name == "*" or (bool(name) and (host.lower() == name or host.lower().endswith("." + name)))


def proxy_authorization(proxy: SplitResult) -> dict[str, str]:
    if not proxy.username:
        return {}
    login = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(login.encode()).decode()}


def describe(error: BaseException) -> str:
    return str(error) or type(error).__name__


def public_url(url: str) -> str:
    """A URL as messages may show it: without user and password."""
    try:
        return urlunsplit(_public(urlsplit(url)))
    except ValueError:
        return url
