"""The policies that ``hb cache policy`` prints, on servers that evaluate them: each role does its work, and whatever else
is tried is refused by the server. The rule for the bucket itself, whose keys no server here knows, is put in force as
the reference states it, in front of one."""

from __future__ import annotations

import json
import os
import re
import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from botocore.exceptions import ClientError
from cache_servers import BUCKET, Credentials, S3Server, running_versitygw
from fault_proxy import fault_proxy
from hypothesis import given
from hypothesis import strategies as st
from remote_machines import Machine, contents, make, share_clients

from hermetic.cli.main import run
from hermetic.errors import CommandLineError
from hermetic.store.remote.address import Mode, parse
from hermetic.store.remote.bucket import Bucket
from hermetic.store.remote.collect import Collected, Collector, Limits
from hermetic.store.remote.flow import PART
from hermetic.store.remote.protocol import RemoteError, Traffic
from hermetic.store.remote.roles import Role, grant, role_policy

ROOT = Path(__file__).parents[4]
GUIDE = ROOT / "docs/guide/cache.md"
CASES = json.loads((ROOT / "tests/cases/bucket_roles.json").read_text())
EVERYTHING = Limits(keep=-60, grace=-60)  # also what is from now
REFUSED = ("AccessDenied", "403", "NotImplemented")  # the last: by a server that does it for nobody
MANY = 34 << 20  # bytes, half of them random: an object in parts
QUICK = ("laptop", "ci", "pr1", "gc")  # the others differ from these in little


@dataclass
class Site:
    """A prefix in a bucket, and users with the roles. ``way``: to the server, when not straight."""

    server: S3Server
    policy: Callable[..., dict[str, Any]]
    set_env: Callable[[str, str], None]
    way: str = ""
    prefix: str = field(default_factory=lambda: f"{uuid.uuid4().hex[:8]}/builds")
    users: dict[str, Credentials] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"s3://{BUCKET}/{self.prefix}?endpoint={self.way or self.server.endpoint}"

    def user(self, role: str) -> Credentials:
        if role not in self.users:
            self.users[role] = self.server.user(self.policy(self.url, *CASES["roles"][role].split()))
        return self.users[role]

    def act(self, role: str) -> str:
        """From now on hb has the credentials of this role; the URL for it."""
        access, secret = self.user(role)
        self.set_env("AWS_ACCESS_KEY_ID", access)
        self.set_env("AWS_SECRET_ACCESS_KEY", secret)
        return self.url

    def names(self, kind: str = "") -> list[str]:
        """What is below the prefix, as the server's owner sees it."""
        found = self.server.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{self.prefix}/hb/{kind}")
        return [one["Key"].removeprefix(f"{self.prefix}/hb/") for one in found.get("Contents", ())]


@pytest.fixture
def policy(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    """What hb cache policy prints."""

    def printed(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        assert run("cache", ["policy", *words]) == 0
        made: dict[str, Any] = json.loads(capsys.readouterr().out)
        return made

    return printed


@pytest.fixture(params=["seaweedfs", "versitygw"])
def site(request: pytest.FixtureRequest, policy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    share_clients(monkeypatch)
    if request.param == "seaweedfs":
        yield Site(request.getfixturevalue("s3_server"), policy, monkeypatch.setenv)
    else:
        with running_versitygw(tmp_path / "v") as server:
            yield Site(server, policy, monkeypatch.setenv)


# --- what each role does --------------------------------------------------------------------------


def written(machine: Machine, *sizes: int):
    made = make(machine.disk, *sizes)
    machine.open().put_result(made.key, made.result)
    said = machine.end()
    assert len(said) == 1 and "1 written" in said[0], said
    return made


def finds(machine: Machine, made) -> bool:
    """Whether the result and all its files are to be had; nothing may have gone wrong either way."""
    store = machine.open()
    found = store.get_remote(made.key) is not None
    assert not found or contents(store, made) == made.files
    said = machine.end()
    assert len(said) <= 1, said
    return found


def collected(site: Site) -> Collected:
    bucket = Bucket(parse(site.act("gc")), Traffic())
    try:
        return Collector(bucket, EVERYTHING).run()
    finally:
        bucket.close()


def work(site: Site, machine: Callable[..., Machine]) -> None:
    """A day of a team: everybody does what their role is for, with the credentials of the role."""
    main = written(machine(site.act("ci")), 100, 40_000, MANY)
    for role in ("laptop", "release"):
        assert finds(machine(site.act(role), mode=Mode.READ), main)
    assert not site.names("leases/")[2:], "only ci has written so far"
    assert finds(machine(site.act("lease"), mode=Mode.READ, lease=True), main)
    assert len(site.names("leases/main/")) == 3, "the laptop says what it used"

    own = written(machine(site.act("pr1"), zones=("pr-1", "main")), 100, 40_000)
    assert finds(machine(site.act("pr1"), zones=("pr-1", "main")), main)
    assert finds(machine(site.act("pr1"), zones=("pr-1", "main")), own)
    assert not finds(machine(site.act("prs"), zones=("pr-2", "main")), own), "another zone"
    assert not finds(machine(site.act("laptop"), mode=Mode.READ), own)

    other = machine(site.act("ci"))
    again = make(other.disk, 100)
    other.open().put_result(main.key, again.result)
    assert "not reproducible" in other.end()[1]
    assert len(site.names("conflict/main/")) == 1

    long = machine(site.act("ci"))
    made = make(long.disk, 100)
    leases = len(site.names("leases/main/"))
    long.open().put_result(made.key, made.result)
    for _ in range(3000):  # it is written behind the build
        if len(site.names("leases/main/")) > leases:
            break
        time.sleep(0.01)
    assert collected(site).waiting > 0
    after = written(machine(site.act("ci")), 50_000)  # reads what is condemned
    site.act("ci")
    long.end()
    assert collected(site).waiting == 0
    assert not site.names("ac/") and not site.names("cas/")
    assert not finds(machine(site.act("laptop"), mode=Mode.READ), after)


# --- and nothing else -----------------------------------------------------------------------------


@dataclass
class Attempts:
    """Requests of a role without hb between. Each is refused, or does what it says."""

    s3: Any
    owner: Any
    prefix: str
    made: set[str] = field(default_factory=set)

    def go(self, do: str, at: str) -> bool:
        name = os.path.normpath(f"{self.prefix}/{at}") + ("/" if at.endswith("/") else "") if at else f"{self.prefix}/"
        try:
            getattr(self, "do_" + do.replace("-", "_"))(name.removeprefix("./"))
        except ClientError as error:
            assert error.response["Error"]["Code"] in REFUSED, f"{do} {at}: {error}"
            return False
        return True

    def there(self, name: str) -> dict[str, str]:
        if name not in self.made:
            self.owner.put_object(Bucket=BUCKET, Key=name, Body=b"there")
            self.made.add(name)
        return {"Bucket": BUCKET, "Key": name}

    def do_get(self, name: str) -> None:
        assert self.s3.get_object(**self.there(name))["Body"].read() == b"there"

    def do_range(self, name: str) -> None:
        assert self.s3.get_object(**self.there(name), Range="bytes=1-2")["Body"].read() == b"he"

    def do_head(self, name: str) -> None:
        self.s3.head_object(**self.there(name))

    def do_missing(self, name: str) -> None:
        """Who may know what is there is told that something is not."""
        for call in (self.s3.get_object, self.s3.head_object):
            try:
                call(Bucket=BUCKET, Key=name + "-not")
            except ClientError as error:
                if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
                    raise

    def do_list(self, name: str) -> None:
        self.s3.list_objects_v2(Bucket=BUCKET, Prefix=name)

    def do_list_v1(self, name: str) -> None:
        self.s3.list_objects(Bucket=BUCKET, Prefix=name)

    def do_list_versions(self, name: str) -> None:
        self.s3.list_object_versions(Bucket=BUCKET, Prefix=name)

    def do_list_uploads(self, name: str) -> None:
        self.s3.list_multipart_uploads(Bucket=BUCKET, Prefix=name)

    def do_put(self, name: str) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=f"{name}{uuid.uuid4().hex}", Body=b"new", IfNoneMatch="*")

    def do_parts(self, name: str) -> None:
        where = {"Bucket": BUCKET, "Key": f"{name}{uuid.uuid4().hex}"}
        where["UploadId"] = self.s3.create_multipart_upload(**where)["UploadId"]
        part = self.s3.upload_part(**where, PartNumber=1, Body=b"new")
        parts = {"Parts": [{"ETag": part["ETag"], "PartNumber": 1}]}
        self.s3.complete_multipart_upload(**where, MultipartUpload=parts, IfNoneMatch="*")

    def do_abort(self, name: str) -> None:
        where = {"Bucket": BUCKET, "Key": name}
        upload = self.owner.create_multipart_upload(**where)["UploadId"]
        self.s3.abort_multipart_upload(**where, UploadId=upload)

    def do_copy(self, name: str) -> None:
        source = self.there(f"{self.prefix}/hb/cas/main/00/source")
        self.s3.copy_object(Bucket=BUCKET, Key=f"{name}{uuid.uuid4().hex}", CopySource=source)

    def do_delete(self, name: str) -> None:
        self.s3.delete_object(**self.there(name))
        self.made.remove(name)

    def do_delete_many(self, name: str) -> None:
        where = self.there(name)
        reply = self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": where["Key"]}]})
        for one in reply.get("Errors", ()):
            raise ClientError({"Error": one}, "DeleteObjects")
        self.made.remove(name)

    def do_acl(self, name: str) -> None:
        self.s3.put_object_acl(**self.there(name), ACL="public-read")

    def do_read_acl(self, name: str) -> None:
        self.s3.get_object_acl(**self.there(name))

    def do_tag(self, name: str) -> None:
        self.s3.put_object_tagging(**self.there(name), Tagging={"TagSet": [{"Key": "k", "Value": "v"}]})

    def do_retain(self, name: str) -> None:
        self.s3.put_object_legal_hold(**self.there(name), LegalHold={"Status": "ON"})

    def do_bucket_policy(self, name: str) -> None:
        self.s3.get_bucket_policy(Bucket=BUCKET)

    def do_bucket_policy_delete(self, name: str) -> None:
        self.s3.delete_bucket_policy(Bucket=BUCKET)

    def do_bucket_lifecycle(self, name: str) -> None:
        rule = {"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
        self.s3.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": [rule]})

    def do_bucket_delete(self, name: str) -> None:
        self.s3.delete_bucket(Bucket=BUCKET)

    def do_bucket_create(self, name: str) -> None:
        self.s3.create_bucket(Bucket=f"b{uuid.uuid4().hex}")


@pytest.mark.parametrize(
    "role", [pytest.param(role, marks=() if role in QUICK else pytest.mark.slow) for role in CASES["roles"]]
)
def test_a_role_can_do_what_the_table_says(site: Site, role: str) -> None:
    attempts = Attempts(site.server.client(site.user(role), tries=1), site.server.client(), site.prefix)
    may = {(do, at): role in who.split() for do, at, who in CASES["table"]}
    assert {case: attempts.go(*case) for case in may} == may


def test_a_refusal_says_which_permission_is_missing_and_where(site: Site) -> None:
    bucket = Bucket(parse(site.act("laptop")), Traffic())
    result, lease = bucket.place("ac/main/00/a"), bucket.place("leases/main/a/used")
    refused: list[tuple[str, Callable[[], object]]] = [
        ("s3:PutObject on hb/ac/main/*", lambda: bucket.create(result, b"new")),
        ("s3:PutObject on hb/ac/main/*", lambda: bucket.create_from(result, iter([bytes(PART)] * 2), 2 * PART)),
        ("s3:DeleteObject on hb/ac/main/*", lambda: bucket.delete([result])),
        ("s3:GetObject on hb/leases/main/*", lambda: bucket.read(lease)),
        ("s3:GetObject on hb/leases/main/*", lambda: bucket.exists(lease)),
        ("s3:ListBucket on hb/leases/*", lambda: list(bucket.listing(bucket.place("leases/")))),
    ]
    for words, attempt in refused:
        with pytest.raises(RemoteError, match=re.escape(words)) as caught:
            attempt()
        assert "hb cache policy s3://" in str(caught.value.hint)
    bucket.close()


# --- the bucket's own policy ----------------------------------------------------------------------


def operation(handler: BaseHTTPRequestHandler) -> tuple[str, bool]:
    """What a request is to S3, and whether an object is there when it is done."""
    query = parse_qs(urlsplit(handler.path).query, keep_blank_values=True)
    if handler.command == "PUT":
        return ("UploadPart", False) if "partNumber" in query else ("PutObject", True)
    if handler.command == "POST" and "uploads" in query:
        return "CreateMultipartUpload", False
    return ("CompleteMultipartUpload", True) if handler.command == "POST" and "uploadId" in query else ("", False)


def enforcer(policy: dict[str, Any], seen: list[str]) -> Callable[[BaseHTTPRequestHandler], str]:
    """A bucket's policy as the reference defines it, for the two condition keys in it."""

    def holds(operator: str, key: str, value: str, context: dict[str, str]) -> bool:
        if operator == "Null":
            return (key not in context) == (value == "true")
        assert operator == "Bool"
        return context.get(key) == value

    def gate(handler: BaseHTTPRequestHandler) -> str:
        name, creates = operation(handler)
        if not name:
            return ""
        seen.append(name)
        context = {"s3:ObjectCreationOperation": str(creates).lower()}
        if "If-None-Match" in handler.headers:
            context["s3:if-none-match"] = handler.headers["If-None-Match"]
        place = "arn:aws:s3:::" + unquote(urlsplit(handler.path).path).lstrip("/")
        for one in policy["Statement"]:
            assert (one["Effect"], one["Principal"], one["Action"]) == ("Deny", "*", "s3:PutObject")
            tests = [(operator, key, value) for operator, of in one["Condition"].items() for key, value in of.items()]
            if fnmatchcase(place, one["Resource"]) and all(holds(*test, context) for test in tests):
                return "AccessDenied"
        return ""

    return gate


def test_each_role_can_do_its_work_and_nobody_overwrites(site: Site, machine: Callable[..., Machine]) -> None:
    seen: list[str] = []
    with fault_proxy(site.server.endpoint) as proxy:
        site.way = proxy.url
        proxy.gate = enforcer(site.policy(site.url), seen)
        work(site, machine)
        assert {"PutObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"} <= set(seen)
        ci = S3Server(proxy.url).client(site.user("ci"), tries=1)
        where = {"Bucket": BUCKET, "Key": f"{site.prefix}/hb/cas/main/00/x"}
        ci.put_object(**where, Body=b"first", IfNoneMatch="*")
        for code, condition in (("PreconditionFailed", {"IfNoneMatch": "*"}), ("AccessDenied", {})):
            with pytest.raises(ClientError) as caught:
                ci.put_object(**where, Body=b"second", **condition)
            assert caught.value.response["Error"]["Code"] == code
        assert ci.get_object(**where)["Body"].read() == b"first"


def test_a_server_that_does_not_know_the_buckets_policy_is_no_worse(site: Site) -> None:
    """It takes it without effect, or says so and nothing is in force; writers are not shut out by it."""
    owner = site.server.client()
    attempts = Attempts(site.server.client(site.user("ci"), tries=1), owner, site.prefix)
    try:
        owner.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(site.policy(site.url)))
    except ClientError as error:
        assert error.response["Error"]["Code"] == "MalformedPolicy"
        return
    try:
        assert attempts.go("put", "hb/cas/main/00/a") and attempts.go("parts", "hb/cas/main/00/a")
    finally:
        owner.delete_bucket_policy(Bucket=BUCKET)


# --- asking the bucket ----------------------------------------------------------------------------

CHECKS = [  # whose credentials, the role they should have, some of what is found
    ("pr1", "pr1", set()),
    ("prs", "pr1", {"too much read hb/ac/pr-…", "too much write hb/cas/pr-1…", "too much list hb/ac/pr-…"}),
    (
        "gc",
        "ci",
        {"too much delete hb/cas/main", "too much read hb/ac/…", "too much list hb/…", "lacking write hb/ac/main"},
    ),
    ("ci", "ci", set()),
    ("prs", "prs", set()),
    ("gc", "gc", set()),
    ("prc", "prc", set()),
    ("laptop", "release", set()),
    ("laptop", "ci", {"lacking write hb/ac/main", "lacking read hb/condemned", "lacking list hb/condemned"}),
    ("ci", "laptop", {"too much write hb/cas/main", "too much list hb/condemned"}),
    ("pr1", "prs", {"lacking write hb/ac/pr-…", "lacking read hb/cas/pr-…"}),
    ("prc", "pr1", {"too much write sccache/pr-1/amd64", "too much list sccache/amd64"}),
]


@pytest.mark.parametrize(
    ("has", "should", "found"), [*CHECKS[:3], *(pytest.param(*one, marks=pytest.mark.slow) for one in CHECKS[3:])]
)
def test_a_check_finds_what_differs_and_leaves_nothing(
    site: Site, capsys: pytest.CaptureFixture[str], has: str, should: str, found: set[str]
) -> None:
    with fault_proxy(site.server.endpoint) as proxy:
        site.way = proxy.url
        proxy.gate = enforcer(site.policy(site.url), [])
        code = run("cache", ["policy", site.act(has), *CASES["roles"][should].split(), "--check"])
    said = {line.replace("\t", " ") for line in capsys.readouterr().out.splitlines()}
    assert found <= said
    assert bool(found) == bool(said) == bool(code)
    assert not site.names()


def test_a_check_finds_that_a_bucket_has_no_policy(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("cache", ["policy", site.act("pr1"), *CASES["roles"]["pr1"].split(), "--check"]) == 1
    said = capsys.readouterr()
    kinds = ("ac", "cas", "conflict", "leases")
    assert said.out.splitlines() == [f"too much\toverwrite\thb/{kind}/pr-1" for kind in kinds]
    assert "the bucket's own policy" in said.err
    assert not site.names()


# --- the guide ------------------------------------------------------------------------------------


def test_the_guide_shows_what_is_printed(policy) -> None:
    shown = re.findall(r"```sh\nhb cache policy ([^\n]*)\n```\n+```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert len(shown) == 2
    for words, made in shown:
        assert json.loads(made) == policy(*shlex.split(words))


# --- the text of policies -------------------------------------------------------------------------

ZONES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True).filter(lambda zone: ".." not in zone)


def reach(policy: dict[str, Any], action: str, name: str) -> bool:
    """Whether a policy allows an action on an object. Patterns are IAM's: a star also matches slashes."""
    return any(
        action in one["Action"] and any(fnmatchcase(f"arn:aws:s3:::b/{name}", pattern) for pattern in one["Resource"])
        for one in policy["Statement"]
        if isinstance(one["Action"], list)
    )


@given(ZONES.filter(lambda zone: zone != "main"), ZONES, st.sampled_from(["", "p", "p/hb", "main"]))
def test_no_zone_reaches_into_another(own: str, other: str, prefix: str) -> None:
    made = role_policy(parse(f"s3://b/{prefix}"), grant(Role.PULL_REQUEST, own, compiled=True))
    start = f"{prefix}/" if prefix else ""
    for kind in ("ac", "cas", "conflict", "leases"):
        name = f"{start}hb/{kind}/{other}/00/abc"
        assert reach(made, "s3:PutObject", name) == (other == own)
        readable = kind in ("ac", "cas") and other in (own, "main")
        assert reach(made, "s3:GetObject", name) == readable
    for arch in ("amd64", "arm64"):
        assert not reach(made, "s3:PutObject", f"{start}sccache/{arch}/a/b/c/abc")
    assert not reach(made, "s3:DeleteObject", f"{start}hb/ac/{own}/00/abc")


@pytest.mark.parametrize(
    "words",
    [
        "http://h/x --role ci", "s3://b/p* --role ci", "s3://b/p?x", "s3://b/${aws:username} --role ci", "s3://b/* ",
        "s3://b --role pull-request", "s3://b --role pull-request --zone main", "s3://b --role pull-request --zone m*",
        "s3://b --role pull-request --zone *", "s3://b --role pull-request --zone p*r", "s3://b --role root",
        "s3://b --role pull-request --zone a/b", "s3://b --role ci --zone pr-1", "s3://b?zone=pr-1 --role ci", "s3://b --role ci --lease",
        "s3://b --role release --with-compile-cache", "s3://b --zone pr-1", "s3://b --lease", "s3://b --check",
    ],
)  # fmt: skip
def test_what_would_be_a_hole_is_refused(words: str) -> None:
    with pytest.raises(CommandLineError):
        from hermetic.cli.policies import main

        main(words.split())


def test_a_zone_may_be_said_in_the_url(policy) -> None:
    assert policy("s3://b?zone=pr-1", "--role", "pull-request") == policy(
        *["s3://b", "--role", "pull-request", "--zone", "pr-1"]
    )


def test_regions_of_their_own_have_names_of_their_own(policy) -> None:
    for region, partition in (("eu-central-1", "aws"), ("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov")):
        made = policy(f"s3://b/p?region={region}", "--role", "ci")
        assert {one.split(":")[1] for one in made["Statement"][1]["Resource"]} == {partition}
