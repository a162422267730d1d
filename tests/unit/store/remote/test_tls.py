"""TLS to real servers: nginx in front of an HTTP cache and of a REAPI server, with a certificate authority of ours."""

from __future__ import annotations

import datetime
import ipaddress
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cache_servers import free_port, listens, server
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hermetic.digest import Digest
from hermetic.proto import reapi_pb2 as pb
from hermetic.store.remote.address import connect, parse
from hermetic.store.remote.protocol import MAIN, RemoteError

NGINX = """
daemon off; worker_processes 1; pid {top}/pid; error_log {top}/error.log; {user}
events {{ worker_connections 64; }}
http {{
  client_max_body_size 0; client_body_temp_path {top}/body; access_log off;
  proxy_temp_path {top}/1; fastcgi_temp_path {top}/2; uwsgi_temp_path {top}/3; scgi_temp_path {top}/4;
  ssl_certificate {top}/server.pem; ssl_certificate_key {top}/server.key;
  ssl_client_certificate {top}/ca.pem; ssl_verify_client on;
  server {{
    listen 127.0.0.1:{https} ssl; root {top}/data;
    location / {{ dav_methods PUT; create_full_put_path on; }}
  }}
  server {{ listen 127.0.0.1:{grpcs} ssl http2; location / {{ grpc_pass grpc://{casd}; }} }}
}}
"""


@dataclass(frozen=True)
class Tls:
    https: int
    grpcs: int
    folder: Path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def write_certificates(top: Path) -> None:
    """ca.pem, and of both sides a certificate it signed; stranger.pem signs nothing here."""
    now = datetime.datetime.now(datetime.UTC)
    authority = ec.generate_private_key(ec.SECP256R1())

    def issue(
        name: str, key: ec.EllipticCurvePrivateKey, issuer: str, signer: ec.EllipticCurvePrivateKey, ca: bool
    ) -> None:
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        builder = x509.CertificateBuilder().subject_name(_name(name)).issuer_name(_name(issuer))
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
            now + datetime.timedelta(days=1)
        )
        builder = builder.add_extension(x509.BasicConstraints(ca, None), True).add_extension(address, False)
        made = builder.sign(signer, hashes.SHA256())
        (top / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (top / f"{name}.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))

    issue("ca", authority, "ca", authority, True)
    for name in ("server", "client"):
        issue(name, ec.generate_private_key(ec.SECP256R1()), "ca", authority, False)
    stranger = ec.generate_private_key(ec.SECP256R1())
    issue("stranger", stranger, "stranger", stranger, True)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory, casd: str) -> Iterator[Tls]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if program is None:
        pytest.skip("no TLS server: apt-get install nginx-light")
    top = tmp_path_factory.mktemp("tls")
    write_certificates(top)
    (top / "data").mkdir()
    https, grpcs = free_port(), free_port()
    user = "user root;" if os.getuid() == 0 else ""
    (top / "conf").write_text(NGINX.format(top=top, https=https, grpcs=grpcs, casd=casd, user=user))
    with server([program, "-c", str(top / "conf")], lambda: listens(https) and listens(grpcs), top / "log"):
        yield Tls(https, grpcs, top)


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_a_server_and_a_client_that_know_each_other(tls: Tls, scheme: str) -> None:
    top, data = tls.folder, pb.ActionResult(stdout_raw=b"x").SerializeToString()
    port, path = (tls.https, f"/{uuid.uuid4().hex}") if scheme == "https" else (tls.grpcs, "")
    base = f"{scheme}://127.0.0.1:{port}{path}"
    key = Digest.of(os.urandom(16))
    good = connect(parse(f"{base}?ca={top}/ca.pem&cert={top}/client.pem&key={top}/client.key", {}))
    assert good.put_result(key, MAIN, data) is None
    assert good.get_result(key, MAIN) == data
    for options in (
        f"ca={top}/stranger.pem&cert={top}/client.pem&key={top}/client.key",  # we do not know the server
        f"ca={top}/ca.pem",  # it does not know us
        f"ca={top}/ca.pem&cert={top}/stranger.pem&key={top}/stranger.key",
        "timeout=2",
    ):
        with pytest.raises(RemoteError):
            connect(parse(f"{base}?{options}", {})).get_result(key, MAIN)
