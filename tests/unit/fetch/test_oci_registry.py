"""Images by digest: from layouts, from a real registry, and from registries that misbehave."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from pathlib import Path
from typing import Any

import pytest

from hermetic.errors import FetchError
from hermetic.fetch.collect import take_tree
from hermetic.fetch.dispatch import Options, fetch_batch
from hermetic.fetch.http import Patience
from hermetic.fetch.oci_layout import check_layout
from hermetic.fetch.oci_registry import Reference, pull
from hermetic.fetch.registry_auth import check_realm, login_for
from hermetic.fetch.spec import FetchRequest
from hermetic.fetch.transport import Client, Policy, Refused

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def sha(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Image:
    """Blobs by digest, with their media types; ``digest`` is what is pinned."""

    def __init__(self) -> None:
        self.blobs: dict[str, tuple[bytes, str]] = {}
        self.digest = ""

    def add(self, data: bytes, media_type: str) -> dict[str, Any]:
        self.blobs[sha(data)] = (data, media_type)
        self.digest = sha(data)
        return {"mediaType": media_type, "digest": sha(data), "size": len(data)}

    def add_json(self, content: dict[str, Any], media_type: str) -> dict[str, Any]:
        return self.add(json.dumps(content).encode(), media_type)

    def manifest(self, name: str, **changes: Any) -> dict[str, Any]:
        config = self.add(json.dumps({"architecture": name}).encode(), "application/vnd.oci.image.config.v1+json")
        layer = self.add(f"layer of {name}".encode() * 1000, "application/vnd.oci.image.layer.v1.tar+gzip")
        content = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer], **changes}
        return self.add_json(content, MANIFEST)

    def index(self, *items: dict[str, Any]) -> dict[str, Any]:
        return self.add_json({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(items)}, INDEX)

    def layout(self, folder: Path) -> Path:
        (folder / "blobs/sha256").mkdir(parents=True)
        for digest, (data, _) in self.blobs.items():
            (folder / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(data)
        return folder

    def serve(self, web: Any, **headers: str) -> Any:
        """What a registry answers."""

        def script(seen: Any) -> Any:
            digest = seen.path.rpartition("/")[2]
            if digest not in self.blobs:
                return web.Reply(status=404)
            data, media_type = self.blobs[digest]
            return web.Reply(data, 200, {"Content-Type": media_type, **headers})

        return script


@pytest.fixture
def image() -> Image:
    made = Image()
    made.manifest("amd64")
    return made


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(Policy(timeout=5.0), {"HOME": str(tmp_path / "home")})


NOW = Patience(sleep=lambda _: None)


def taken(folder: Path, pinned: str, store: Any, platform: str = "") -> set[str]:
    """Check a layout as the parent does; the blobs it has."""
    root = take_tree(folder.parent, folder, store)
    check_layout(root, pinned, store, platform)
    return {f"sha256:{path.rpartition('/')[2]}" for path in store.listing(root) if path.startswith("blobs/sha256/")}


def test_from_a_layout(tmp_path: Path, image: Image, client: Client, store: Any) -> None:
    source = image.layout(tmp_path / "layout")
    pull(client, [f"oci:{source}"], {"digest": image.digest}, tmp_path / "out", NOW)
    assert taken(tmp_path / "out", image.digest, store) == set(image.blobs)
    assert json.loads((tmp_path / "out/oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}


def test_an_index_whole_and_by_platform(tmp_path: Path, client: Client, store: Any) -> None:
    image = Image()
    amd = image.manifest("amd64") | {"platform": {"os": "linux", "architecture": "amd64"}}
    arm = image.manifest("arm64") | {"platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}}
    image.index(amd, arm)
    source = str(image.layout(tmp_path / "layout"))
    pull(client, [source], {"digest": image.digest}, tmp_path / "all", NOW)
    assert taken(tmp_path / "all", image.digest, store) == set(image.blobs)
    for platform in ("linux/arm64", "linux/arm64/v8"):
        folder = tmp_path / platform.replace("/", "-")
        pull(client, [source], {"digest": image.digest, "platform": platform}, folder, NOW)
        found = taken(folder, image.digest, store, platform)
        assert arm["digest"] in found
        assert amd["digest"] not in found
        top = json.loads((folder / "index.json").read_text())["manifests"]
        assert [item["digest"] for item in top] == [arm["digest"]]
    pull(client, [source], {"digest": image.digest, "arch": "amd64"}, tmp_path / "arch", NOW)
    assert amd["digest"] in taken(tmp_path / "arch", image.digest, store, "linux/amd64")
    pull(client, [source], {"digest": arm["digest"], "arch": "amd64"}, tmp_path / "one", NOW)
    assert arm["digest"] in taken(tmp_path / "one", arm["digest"], store, "linux/amd64"), "a manifest is what it is"
    with pytest.raises(FetchError, match="it has linux/amd64, linux/arm64/v8"):
        pull(client, [source], {"digest": image.digest, "platform": "linux/riscv64"}, tmp_path / "none", NOW)


def test_a_layout_with_a_link_for_a_blob(tmp_path: Path, image: Image, client: Client) -> None:
    source = image.layout(tmp_path / "layout")
    blob = source / "blobs/sha256" / image.digest.removeprefix("sha256:")
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FetchError, match="has no blob"):
        pull(client, [str(source)], {"digest": image.digest}, tmp_path / "out", NOW)


def bearer(web: Any, image: Image, realm: str, token: str = "t0k") -> Any:
    """A registry that wants a token from ``realm``."""
    serve = image.serve(web)

    def script(seen: Any) -> Any:
        if seen.headers.get("authorization") == f"Bearer {token}":
            return serve(seen)
        challenge = f'Bearer realm="{realm}",service="reg",scope="repository:a/b:pull"'
        return web.Reply(status=401, headers={"WWW-Authenticate": challenge})

    return script


def test_a_token_is_bought_with_the_users_login(
    tmp_path: Path, web: Any, image: Image, client: Client, store: Any
) -> None:
    with web.Server(lambda _: web.Reply(status=500)) as server:
        registry = f"127.0.0.1:{server.port}"
        serve = bearer(web, image, f"{server.url}/token")

        def script(seen: Any) -> Any:
            return web.Reply(b'{"token": "t0k"}') if seen.path.startswith("/token") else serve(seen)

        server.script = script
        auth = tmp_path / "home/.docker/config.json"
        auth.parent.mkdir(parents=True)
        login = base64.b64encode(b"me:secret").decode()
        auth.write_text(json.dumps({"auths": {registry: {"auth": login}}}))
        pull(client, [f"{registry}/a/b"], {"digest": image.digest}, tmp_path / "out", NOW)
        assert taken(tmp_path / "out", image.digest, store) == set(image.blobs)
        asked = [seen for seen in server.seen if seen.path.startswith("/token")]
        assert len(asked) == 1, "a token is used again"
        assert asked[0].headers["authorization"] == f"Basic {login}"
        assert "service=reg" in asked[0].path
        assert "scope=repository%3Aa%2Fb%3Apull" in asked[0].path


def test_blobs_on_another_host_do_not_get_the_token(
    tmp_path: Path, web: Any, image: Image, client: Client, store: Any
) -> None:
    """As registries do that keep blobs in an object store (CVE-2020-15157's rule)."""
    with web.Server(image.serve(web)) as storage, web.Server(lambda _: web.Reply(status=500)) as server:
        serve = bearer(web, image, f"{server.url}/token")

        def script(seen: Any) -> Any:
            if seen.path.startswith("/token"):
                return web.Reply(b'{"access_token": "t0k"}')
            if "/blobs/" in seen.path and "authorization" in seen.headers:
                away = f"http://localhost:{storage.port}/{seen.path.rpartition('/')[2]}"
                return web.Reply(status=307, headers={"Location": away})
            return serve(seen)

        server.script = script
        pull(client, [f"127.0.0.1:{server.port}/a/b"], {"digest": image.digest}, tmp_path / "out", NOW)
        assert taken(tmp_path / "out", image.digest, store) == set(image.blobs)
        assert storage.seen
        assert all("authorization" not in seen.headers for seen in storage.seen)


@pytest.mark.parametrize(
    ("realm", "base", "phrase"),
    [
        ("https://auth.example.org/token", "https://r.example.org", None),
        ("http://127.0.0.1:5000/token", "http://127.0.0.1:5000", None),
        ("http://auth.example.org/token", "https://r.example.org", "without https"),
        ("http://r.example.org/token", "https://r.example.org", "without https"),
        ("https://169.254.169.254/latest", "https://r.example.org", "private address"),
        ("https://10.0.0.1/token", "https://r.example.org", "private address"),
        ("https://[::1]/token", "https://r.example.org", "private address"),
        ("https://localhost/token", "https://r.example.org", "private address"),
        ("file:///etc/passwd", "https://r.example.org", "impossible token server"),
        ("https://me:pw@auth.example.org/", "https://r.example.org", "impossible token server"),
        ("", "https://r.example.org", "impossible token server"),
    ],
)
def test_token_servers(realm: str, base: str, phrase: str | None) -> None:
    if phrase is None:
        check_realm(realm, base)
        return
    with pytest.raises(Refused, match=phrase):
        check_realm(realm, base)


@pytest.mark.parametrize(
    ("script", "phrase"),
    [
        (lambda web, _: web.Reply(status=404), "answers 404"),
        (lambda web, _: web.Reply(status=401), "authentication of an unknown kind"),
        (lambda web, _: web.Reply(status=401, headers={"WWW-Authenticate": "Basic"}), "your registry auth file"),
        (lambda web, _: web.Reply(status=500), "asked 4 times"),
        (lambda web, _: web.Reply(b"{}", 200, {"Content-Type": MANIFEST}), "gives sha256:"),
        (lambda web, _: web.Reply(bytes(5 << 20), 200, {"Content-Type": MANIFEST}), "more than the 4194304 bytes"),
        (
            lambda web, image: web.Reply(image.blobs[image.digest][0], 200, {"Content-Type": INDEX}),
            "was announced as",
        ),
    ],
)
def test_manifests_that_are_refused(
    tmp_path: Path, web: Any, image: Image, client: Client, script: Any, phrase: str
) -> None:
    with web.Server(lambda _: script(web, image)) as server, pytest.raises(FetchError) as caught:
        pull(client, [f"127.0.0.1:{server.port}/a"], {"digest": image.digest}, tmp_path / "out", NOW)
    assert phrase in str(caught.value)
    assert f"127.0.0.1:{server.port}/a" in str(caught.value)


def changed(image: Image, **changes: Any) -> Image:
    image.manifest("amd64", **changes)
    return image


DESCRIPTOR = {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 1}


@pytest.mark.parametrize(
    ("changes", "phrase"),
    [
        ({"schemaVersion": 1}, "schemaVersion 2"),
        ({"mediaType": INDEX}, "was announced as"),
        ({"manifests": []}, "neither clearly a manifest nor clearly an index"),
        ({"layers": {}}, "no list of layers"),
        ({"config": None}, "not a descriptor"),
        ({"layers": [{**DESCRIPTOR, "digest": "sha256:" + "A" * 64}]}, "not a SHA-256"),
        ({"layers": [{**DESCRIPTOR, "digest": "sha256:" + "0" * 63}]}, "not a SHA-256"),
        ({"layers": [{**DESCRIPTOR, "digest": "sha512:" + "0" * 128}]}, "not a sha256 digest"),
        ({"layers": [{**DESCRIPTOR, "digest": "sha256:../../../etc/passwd"}]}, "not a SHA-256"),
        ({"layers": [{**DESCRIPTOR, "size": -1}]}, "not a size"),
        ({"layers": [{**DESCRIPTOR, "size": 1 << 63}]}, "not a size"),
        ({"layers": [{**DESCRIPTOR, "size": "1"}]}, "not a size"),
        ({"layers": [{**DESCRIPTOR, "size": True}]}, "not a size"),
        ({"layers": [{**DESCRIPTOR, "urls": ["https://x.example.org/l"]}]}, "foreign layer"),
        ({"layers": [DESCRIPTOR]}, "answers 404"),
    ],
)
def test_manifests_with_bad_content(
    tmp_path: Path, web: Any, client: Client, changes: dict[str, Any], phrase: str
) -> None:
    image = changed(Image(), **changes)
    with web.Server(image.serve(web)) as server, pytest.raises(FetchError, match=phrase):
        pull(client, [f"127.0.0.1:{server.port}/a"], {"digest": image.digest}, tmp_path / "out", NOW)


@pytest.mark.parametrize(("off", "phrase"), [(-1, "more than the"), (1, "sends 14000 of the 14001")])
def test_a_size_that_is_off_by_one(tmp_path: Path, web: Any, client: Client, off: int, phrase: str) -> None:
    image = Image()
    layer = image.add(b"layer of amd64" * 1000, "application/vnd.oci.image.layer.v1.tar")
    image.manifest("amd64", layers=[{**layer, "size": layer["size"] + off}])
    with web.Server(image.serve(web)) as server, pytest.raises(FetchError, match=phrase):
        pull(client, [f"127.0.0.1:{server.port}/a"], {"digest": image.digest}, tmp_path / "out", NOW)


def test_indexes_nested_too_deep(tmp_path: Path, web: Any, client: Client) -> None:
    image = Image()
    item = image.manifest("amd64")
    for _ in range(7):
        item = image.index(item)
    with web.Server(image.serve(web)) as server, pytest.raises(FetchError, match="nested more than"):
        pull(client, [f"127.0.0.1:{server.port}/a"], {"digest": image.digest}, tmp_path / "out", NOW)


@pytest.mark.parametrize(
    "text", ["a/b:latest", "a/b@sha256:" + "1" * 64, "a", "A/B", "https://a/b", "a/../b", "-a/b c"]
)
def test_references_that_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        Reference.parse(text, "sha256:" + "0" * 64)


def test_only_this_machine_is_spoken_to_in_the_clear() -> None:
    pinned = "sha256:" + "0" * 64
    for text, base in [
        ("127.0.0.1:5000/a", "http://127.0.0.1:5000"),
        ("localhost:5000/a", "http://localhost:5000"),
        ("r.example.org/a", "https://r.example.org"),
        ("192.168.1.1:5000/a", "https://192.168.1.1:5000"),
    ]:
        assert Reference.parse(f"{text}/b@{pinned}", pinned).base == base


def test_the_most_specific_login_wins(tmp_path: Path) -> None:
    def entry(text: str) -> dict[str, str]:
        return {"auth": base64.b64encode(text.encode()).decode()}

    auth = tmp_path / "auth.json"
    auth.write_text(
        json.dumps({"auths": {"r.example.org": entry("all:1"), "r.example.org/team": entry("team:2"), "x": {}}})
    )
    environ = {"REGISTRY_AUTH_FILE": str(auth), "HOME": str(tmp_path)}
    assert login_for("r.example.org", "team/app", environ).user == "team"
    assert login_for("r.example.org", "other", environ).user == "all"
    assert not login_for("s.example.org", "team/app", environ)


@pytest.mark.parametrize(
    ("damage", "phrase"),
    [
        (lambda folder, blob: (folder / "blobs/sha256" / blob).write_bytes(b"evil"), "is not what its name says"),
        (lambda folder, blob: (folder / "blobs/sha256" / blob).unlink(), "lacks"),
        (lambda folder, _: (folder / "oci-layout").unlink(), "oci-layout is missing"),
        (
            lambda folder, _: (folder / "blobs/sha256" / hashlib.sha256(b"x").hexdigest()).write_bytes(b"x"),
            "nothing refers to",
        ),
        (lambda folder, _: (folder / "index.json").write_text("{}"), "schemaVersion"),
    ],
)
def test_the_parent_checks_what_the_worker_gives(
    tmp_path: Path, image: Image, client: Client, store: Any, damage: Any, phrase: str
) -> None:
    pull(client, [str(image.layout(tmp_path / "l"))], {"digest": image.digest}, tmp_path / "out", NOW)
    layer = next(iter(image.blobs)).removeprefix("sha256:")
    damage(tmp_path / "out", layer)
    with pytest.raises(FetchError, match=phrase):
        taken(tmp_path / "out", image.digest, store)


def test_another_image_than_the_pinned_one(tmp_path: Path, image: Image, client: Client, store: Any) -> None:
    pull(client, [str(image.layout(tmp_path / "l"))], {"digest": image.digest}, tmp_path / "out", NOW)
    with pytest.raises(FetchError, match="expected sha256:0000"):
        taken(tmp_path / "out", "sha256:" + "0" * 64, store)


def push(registry: str, repository: str, image: Image) -> None:
    """The least a push needs; blobs first, manifests after what they refer to."""
    connection = http.client.HTTPConnection(registry)
    for digest, (data, media_type) in image.blobs.items():
        if media_type in (MANIFEST, INDEX):
            path = f"/v2/{repository}/manifests/{digest}"
        else:
            connection.request("POST", f"/v2/{repository}/blobs/uploads/")
            answer = connection.getresponse()
            answer.read()
            location = answer.headers["Location"]
            path = location[location.index("/v2/") :] + f"&digest={digest}"
        connection.request("PUT", path, data, {"Content-Type": media_type})
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        answer.read()
    connection.close()


@pytest.mark.sandbox
def test_a_real_registry_through_a_boxed_worker(tmp_path: Path, store: Any, registry: str) -> None:
    image = Image()
    amd = image.manifest("amd64") | {"platform": {"os": "linux", "architecture": "amd64"}}
    image.index(amd, image.manifest("arm64") | {"platform": {"os": "linux", "architecture": "arm64"}})
    push(registry, "team/app", image)
    wrong = f"{registry}/team/other"
    request = FetchRequest("//a", {"digest": image.digest}, {"refs": [wrong, f"{registry}/team/app@{image.digest}"]})
    asked: list[Any] = []
    (outcome,) = fetch_batch("oci", [request], tmp_path / "work", store, Options(progress=asked.append))
    assert not isinstance(outcome, FetchError), outcome
    listing = store.listing(outcome.digest)
    assert {f"sha256:{path[13:]}" for path in listing if path.startswith("blobs/sha256/")} == set(image.blobs)
    assert asked
    missing = FetchRequest("//b", {"digest": "sha256:" + "0" * 64}, {"refs": [f"{registry}/team/app"]})
    (outcome,) = fetch_batch("oci", [missing], tmp_path / "work2", store)
    assert isinstance(outcome, FetchError)
    assert "answers 404" in outcome.message
