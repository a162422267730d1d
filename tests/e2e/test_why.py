"""Explanations through the launcher: why, affected, diff, the plan and the log, on real builds."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest

pytestmark = pytest.mark.sandbox

CHAIN = """
from rules.basic import tree
from rules.image import image, layer

setting(name="speed", default="slow", values=["slow", "fast"])
platform(name="linux-amd64", os="linux", arch="amd64")
platform(name="linux-arm64", os="linux", arch="arm64")
command(name="a", rootfs=":rootfs", srcs=["a.txt"], cmd="mkdir -p out && cat a.txt > out/a; echo said; echo oops >&2")
command(name="b", rootfs=":rootfs", srcs=["b.txt"], cmd="mkdir -p out && cat b.txt > out/b")
command(name="ab", rootfs=":rootfs", deps=[":a", ":b"], cmd="mkdir -p out && cat a/a b/b > out/ab")
command(name="count", rootfs=":rootfs", srcs=["a.txt"], cmd="mkdir -p out && wc -l < a.txt > out/count || echo 1 > out/count")
command(name="user", rootfs=":rootfs", deps=[":count"], cmd="mkdir -p out && cat count/count > out/user")
command(name="speedy", rootfs=":rootfs", cmd=select({"speed=slow": "mkdir -p out", "speed=fast": "mkdir -p out; true"}))
layer(name="files", files=[":ab"])
layer(name="etc", files=[":motd"])
tree(name="motd", files={"/etc/motd": "hello\\n"})
image(name="image", layers=[":files", ":etc"], env={"A": "1"})
"""


@pytest.fixture
def chain(workspace):
    workspace.write("a.txt", "one\n")
    workspace.write("b.txt", "two\n")
    workspace.write(".gitignore", "hb-out\n.hb\n")
    workspace.build_file(CHAIN)
    return workspace


def git(root: Path, *words: str) -> str:
    names = {"GIT_AUTHOR_NAME": "n", "GIT_AUTHOR_EMAIL": "n@example.org", "GIT_CONFIG_GLOBAL": "/dev/null"}
    names |= {"GIT_COMMITTER_NAME": "n", "GIT_COMMITTER_EMAIL": "n@example.org", "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-C", str(root), "-c", "safe.directory=*", *words]
    return subprocess.run(command, env={**os.environ, **names}, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def repository(chain):
    git(chain.root, "init", "-q", "-b", "main")
    git(chain.root, "add", "-A")
    git(chain.root, "commit", "-q", "-m", "first")
    return chain


def explained(workspace, *words: str) -> dict:
    done = workspace.hb("why", *words, "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def test_why_after_an_edit(chain) -> None:
    chain.hb("build", "//:ab", "//:user")
    first = explained(chain, "//:ab")
    assert [cause["text"] for cause in first["causes"]] == ["no earlier result anywhere"]
    chain.write("b.txt", "three\n")
    chain.hb("build", "//:ab", "//:user")
    text = chain.hb("why", "//:ab").out
    assert "source b.txt edited" in text
    assert "built      //:ab Command  ←  //:b Command" in text
    found = explained(chain, "//:ab")
    assert [(one["text"], one["actions"], one["follow"]) for one in found["causes"]] == [
        ("source b.txt edited", ["//:b Command"], 1)
    ]
    assert found["outcomes"] == {"hit-local": 1, "built": 2}
    assert explained(chain, "//:user")["causes"] == []


def test_why_says_where_a_cascade_stopped(chain) -> None:
    chain.hb("build", "//:user")
    chain.write("a.txt", "another\n")
    chain.hb("build", "//:user")
    found = explained(chain, "//:user")
    assert found["stopped"] == ["//:count Command"]
    assert found["outcomes"] == {"built": 1, "hit-local": 1}


@pytest.mark.slow
def test_why_of_an_older_build_and_of_two(chain) -> None:
    chain.hb("build", "//:ab")
    chain.write("a.txt", "2\n")
    chain.hb("build", "//:ab")
    chain.write("b.txt", "2\n")
    chain.hb("build", "//:ab")
    first, second, third = (json.loads(line)["build_id"] for line in chain.hb("log", "--json").out.splitlines())
    older = explained(chain, "//:ab", "--build", second)
    assert [cause["text"] for cause in older["causes"]] == ["source a.txt edited"]
    both = explained(chain, "//:ab", "--build", third, "--against", first)
    assert sorted(cause["text"] for cause in both["causes"]) == ["source a.txt edited", "source b.txt edited"]


def test_why_a_setting(chain) -> None:
    chain.hb("build", "//:speedy")
    chain.hb("build", "//:speedy", "--set", "speed=fast")
    assert [cause["text"] for cause in explained(chain, "//:speedy")["causes"]] == ["setting speed slow → fast"]


def test_why_of_failures_and_lost_results(chain) -> None:
    chain.build_file(CHAIN + 'command(name="bad", rootfs=":rootfs", cmd="exit 7")\n')
    chain.hb("build", "//:bad")
    chain.hb("build", "//:bad")
    failed = explained(chain, "//:bad")["causes"][0]
    assert failed["kind"] == "failed"
    assert "only successes are kept" in failed["text"]
    chain.hb("build", "//:a")
    subprocess.run(["rm", "-rf", str(chain.store / "ac")], check=True)
    subprocess.run(["rm", "-rf", str(chain.root / ".hb")], check=True)
    chain.hb("build", "//:a")
    assert explained(chain, "//:a")["causes"][0]["kind"] == "evicted"


def test_why_knows_the_quota_that_evicted_a_result(chain) -> None:
    chain.hb("build", "//:a")
    assert chain.hb("cache", "gc", "--max-size", "0").code == 0
    subprocess.run(["rm", "-rf", str(chain.root / ".hb"), str(chain.root / "hb-out")], check=True)
    again = chain.hb("build", "//:a", "--json")
    assert again.summary["outcomes"] == {"evicted": 1}, again.err
    (cause,) = explained(chain, "//:a")["causes"]
    assert cause["text"].startswith("evicted ")
    assert "(store quota 0 GiB), last used " in cause["text"]


def test_why_knows_rule_code(chain) -> None:
    chain.hb("build", "//:a")
    shell = chain.root / "toolchains" / "shell.py"
    shell.write_text(shell.read_text().replace('"-c", self.cmd', '"-e", "-c", self.cmd'))
    chain.hb("build", "//:a")
    (cause,) = explained(chain, "//:a")["causes"]
    assert cause["text"] == "rule code toolchains/shell.py edited"
    assert cause["details"] == ["command of //:a Command: + -e"]


def test_why_of_what_nobody_built(chain) -> None:
    done = chain.hb("why", "//:ab")
    assert done.code == 2
    assert "hb build //:ab" in done.err
    chain.hb("build", "//:ab")
    assert "did you mean '//:ab'" in chain.hb("why", "//:abb").err
    assert "no build 'x'" in chain.hb("why", "//:ab", "--build", "x").err


def test_the_log(chain) -> None:
    chain.hb("build", "//:a")
    chain.hb("build", "//:a")
    rows = [json.loads(line) for line in chain.hb("log", "--json").out.splitlines()]
    assert [row["outcomes"] for row in rows] == [{"built": 1}, {"hit-local": 1}]
    assert rows[0]["command"] == ["build", "//:a"]
    assert "//:a Command" in chain.hb("log", rows[0]["build_id"]).out
    printed = chain.hb("log", "last", "--action", "//:a")  # a hit: the log of the run that made the result
    assert "said\n" in printed.out
    assert "oops\n" in printed.out
    assert chain.hb("log", "nope").code == 2
    assert "did you mean" in chain.hb("log", "last", "--action", "//:aa").err


def test_the_log_of_a_failed_action(chain) -> None:
    chain.build_file(CHAIN + 'command(name="bad", rootfs=":rootfs", cmd="echo last words; exit 7")\n')
    chain.hb("build", "//:bad")
    assert "last words" in chain.hb("log", "last", "--action", "//:bad").out


def test_the_plan(chain) -> None:
    chain.hb("build", "//:ab")
    chain.write("b.txt", "three\n")
    before = sorted(path.name for path in (chain.store / "builds").iterdir())
    done = chain.hb("build", "//:ab", "--dry-run", "--json")
    assert done.code == 0, done.err
    plan = json.loads(done.out.splitlines()[0])["plan"]
    rows = {row["label"]: row for row in plan["steps"]}
    assert {label: row["outcome"] for label, row in rows.items()} == {
        "//:a": "hit-local", "//:b": "would-run", "//:ab": "would-run"
    }  # fmt: skip
    assert rows["//:b"]["why"] == rows["//:ab"]["why"] == ["source b.txt edited"]
    assert not rows["//:b"]["guessed"]
    assert plan["critical_path"] == ["//:b Command", "//:ab Command"]
    assert plan["work_s"] == pytest.approx(rows["//:b"]["predicted_s"] + rows["//:ab"]["predicted_s"], abs=0.01)
    text = chain.hb("build", "//:ab", "--dry-run").err
    assert "would run" in text
    assert "critical path" in text
    assert sorted(path.name for path in (chain.store / "builds").iterdir()) == before


def test_affected_by_key_not_by_file(repository) -> None:
    assert repository.hb("affected", "--since", "main").out == ""
    repository.write("b.txt", "three\n")
    done = repository.hb("affected", "--since", "main")
    assert done.out.split() == ["//:b", "//:ab", "//:files", "//:image"]
    assert "source b.txt edited" in done.err
    assert repository.hb("affected", "--since", "main", "//:a", "//:b").out.split() == ["//:b"]
    row = json.loads(repository.hb("affected", "--since", "HEAD", "//:ab", "--output", "json").out)[0]
    assert row == {"label": "//:ab", "kind": "command", "settings": {}, "new": False, "why": ["source b.txt edited"]}
    assert repository.hb("affected", "--since", "main", "//:b", "--output", "label_kind").out == "command rule //:b\n"


def test_what_matters_not_affects_nothing(repository) -> None:
    build = (repository.root / "BUILD.py").read_text()
    (repository.root / "BUILD.py").write_text("# a comment\n" + build)
    repository.write("notes.txt", "nobody reads this\n")
    os.utime(repository.root / "a.txt", (1, 1))
    assert repository.hb("affected", "--since", "main").out == ""


@pytest.mark.slow
def test_affected_is_exact_behind_a_step_that_made_the_same(repository) -> None:
    repository.hb("build", "//:user")
    repository.write("a.txt", "same number of lines\n")
    assert "//:user" in repository.hb("affected", "--since", "main").out.split()  # who knows what //:count makes
    repository.hb("build", "//:user")
    found = repository.hb("affected", "--since", "main").out.split()
    assert "//:count" in found
    assert "//:user" not in found


@pytest.mark.slow
def test_affected_knows_new_and_gone_targets(repository) -> None:
    text = (repository.root / "BUILD.py").read_text().replace('name="speedy"', 'name="quick"')
    (repository.root / "BUILD.py").write_text(text)
    done = repository.hb("affected", "--since", "main")
    assert done.out.split() == ["//:quick"]
    assert "//:speedy is gone" in done.err


def test_affected_leaves_the_checkout_alone(repository) -> None:
    repository.write("b.txt", "three\n")
    git(repository.root, "add", "a.txt")
    before = git(repository.root, "status", "--porcelain"), (repository.root / ".git/index").read_bytes()
    repository.hb("affected", "--since", "main")
    assert (git(repository.root, "status", "--porcelain"), (repository.root / ".git/index").read_bytes()) == before
    assert git(repository.root, "worktree", "list").count("\n") == 1
    assert not list((repository.store / "work").glob("run-*"))


@pytest.mark.parametrize("revision", ["nope", "--help", "-x", "main^{tree}x", ""])
def test_affected_refuses_what_is_no_revision(repository, revision: str) -> None:
    done = repository.hb("affected", f"--since={revision}")
    assert done.code == 2
    assert "internal error" not in done.err


def test_diff_of_two_builds_and_of_a_revision(repository) -> None:
    repository.hb("build", "//:ab", "//:image")
    first = json.loads(repository.hb("log", "--json").out.splitlines()[-1])["build_id"]
    assert "the same" in repository.hb("diff", "//:ab", "--against", first).out
    repository.write("b.txt", "three\n")
    text = (repository.root / "BUILD.py").read_text().replace('env={"A": "1"}', 'env={"A": "2"}')
    (repository.root / "BUILD.py").write_text(text)
    repository.hb("build", "//:ab", "//:image")
    for other in (first, "main"):
        found = json.loads(repository.hb("diff", "//:ab", "--against", other, "--json").out)
        (part,) = found["parts"]
        assert [(one["path"], one["what"], one["old_size"], one["new_size"]) for one in part["files"]] == [
            ("ab", "edited", 8, 10)
        ]
    image = json.loads(repository.hb("diff", "//:image", "--against", first, "--json").out)["parts"]
    assert [part["part"] for part in image] == ["configuration", "layer //:files"]
    assert image[0]["notes"] == ["config.json: config.Env: A=1 → A=2"] or "A=1 → A=2" in image[0]["notes"][0]
    assert [one["path"] for one in image[1]["files"]] == ["ab"]
    assert "layer //:files" in repository.hb("diff", "//:image", "--against", first).out


@pytest.mark.slow
def test_diff_with_what_nobody_built(repository) -> None:
    repository.hb("build", "//:a")
    repository.write("a.txt", "new\n")
    repository.hb("build", "//:a")
    git(repository.root, "commit", "-q", "-am", "second")
    repository.write("a.txt", "newer\n")
    git(repository.root, "commit", "-q", "-am", "third")
    done = repository.hb("diff", "//:a", "--against", "HEAD")
    assert done.code == 2
    assert "no result of //:a at HEAD" in done.err
    assert repository.hb("diff", "//:a", "--against", "HEAD~2").code == 0


@pytest.mark.slow
def test_against_a_record_from_another_machine(repository, tmp_path: Path) -> None:
    repository.hb("build", "//:ab")
    assert repository.hb("log", "last", "--export", str(tmp_path / "record")).code == 0
    text = (repository.root / "BUILD.py").read_text().replace("cat b.txt >", "cat b.txt b.txt >")
    (repository.root / "BUILD.py").write_text(text)
    laptop = type(repository)(repository.root, tmp_path / "other-store")
    laptop.hb("build", "//:ab")
    (cause,) = explained(laptop, "//:ab", "--against", str(tmp_path / "record"))["causes"]
    assert (cause["text"], cause["through"]) == ("command of //:b Command", "BUILD.py")
    assert cause["details"] == ["+ b.txt"]  # the old command line came with the record
    (tmp_path / "record").write_bytes((tmp_path / "record").read_bytes()[:-20])
    torn = laptop.hb("why", "//:ab", "--against", str(tmp_path / "record"))
    assert torn.code == 2
    assert "damaged" in torn.err


def test_against_what_ci_published(repository, http_cache, tmp_path: Path) -> None:
    remote = ("--remote-cache", f"{http_cache.url}/{uuid.uuid4().hex}")
    home = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    assert repository.hb("build", "//:ab", *remote, env=home).code == 0
    done = repository.hb("log", "last", "--publish", "ci", *remote, env=home)
    assert done.code == 0, done.err
    subprocess.run(["cp", "-a", str(repository.root), str(tmp_path / "laptop")], check=True)
    subprocess.run(["rm", "-rf", str(tmp_path / "laptop/.hb"), str(tmp_path / "laptop/hb-out")], check=True)
    laptop = type(repository)(tmp_path / "laptop", tmp_path / "laptop-store")
    laptop.write("b.txt", "edited on the laptop\n")
    git(laptop.root, "commit", "-q", "-am", "not pushed yet")
    laptop.hb("build", "//:ab")
    found = explained_remote(laptop, home, "//:ab", "--against", "ci", *remote)
    assert [cause["text"] for cause in found["causes"]] == ["source b.txt edited"]
    output = laptop.hb("diff", "//:ab", "--against", "HEAD~1", "--json", *remote, env=home)  # only CI has built that
    assert [one["path"] for one in json.loads(output.out)["parts"][0]["files"]] == ["ab"], output.err
    nobody = laptop.hb("why", "//:ab", "--against", "nightly", *remote, env=home)
    assert nobody.code == 2
    assert "hb log last --publish nightly" in nobody.err
    repository.write("a.txt", "not committed\n")
    refused = repository.hb("log", "last", "--publish", "ci", *remote, env=home)
    assert refused.code == 2
    assert "a.txt" in refused.err


@pytest.mark.slow
def test_why_after_a_remote_hit_knows_the_old_command_line(repository, http_cache, tmp_path: Path) -> None:
    remote = ("--remote-cache", f"{http_cache.url}/{uuid.uuid4().hex}")
    home = {"XDG_CONFIG_HOME": str(tmp_path / "home")}
    assert repository.hb("build", "//:ab", *remote, env=home).code == 0
    laptop = type(repository)(repository.root, tmp_path / "laptop-store")
    subprocess.run(["rm", "-rf", str(laptop.root / ".hb")], check=True)
    hits = laptop.hb("build", "//:ab", "--json", *remote, env=home)
    assert hits.summary["outcomes"] == {"hit-remote": 3}, hits.err
    assert explained(laptop, "//:ab")["causes"] == []
    text = (laptop.root / "BUILD.py").read_text().replace("cat b.txt >", "cat b.txt b.txt >")
    (laptop.root / "BUILD.py").write_text(text)
    laptop.hb("build", "//:ab", *remote, env=home)
    causes = explained(laptop, "//:ab")["causes"]
    assert [(cause["text"], cause["details"]) for cause in causes] == [("command of //:b Command", ["+ b.txt"])]


def test_files_that_no_action_makes(workspace) -> None:
    workspace.write("a.txt", "one\n")
    workspace.build_file('from rules.basic import filegroup\nfilegroup(name="docs", srcs=["a.txt"])\n')
    assert workspace.hb("build", "//:docs").code == 0
    assert "files of the workspace as they are" in workspace.hb("why", "//:docs").out
    assert workspace.hb("diff", "//:docs", "--against", "HEAD").code == 2


def explained_remote(workspace, home: dict[str, str], *words: str) -> dict:
    done = workspace.hb("why", *words, "--json", env=home)
    assert done.code == 0, done.err
    return json.loads(done.out)
