"""hb-out/: what is shown where, and that nothing is ever written through a link into the store."""

from __future__ import annotations

from pathlib import Path

import pytest

from hermetic.action import Kind, TargetNode
from hermetic.digest import Digest
from hermetic.errors import ActionError, LabelError, Location
from hermetic.execution.publish import publish
from hermetic.store.disk import DiskStore
from hermetic.store.operation import Resolved
from hermetic.store.stage import DiskStage
from hermetic.tree import File, build


def target(label: str, layout: str = "tree") -> TargetNode:
    return TargetNode(label, label, "", Location("", 0), (), (), (), (), layout)


@pytest.fixture
def show(tmp_path: Path, store: DiskStore, stage: DiskStage):
    def publish_text(label: str, text: str) -> Path:
        digest = build({"f": File(store.put(text.encode()))}, store.put)
        resolved = Resolved(Kind.TREE, digest)
        return publish(target(label), resolved, tmp_path / "hb-out", store, stage, tmp_path)[1]

    return publish_text


def test_a_tree_is_a_link_that_is_replaced(show, tmp_path: Path) -> None:
    assert show("//a/b:c", "one") == tmp_path / "hb-out/a/b/c"
    assert (show("//a/b:c", "two") / "f").read_text() == "two"
    assert [one.name for one in (tmp_path / "hb-out/a/b").iterdir()] == ["c"]


def test_a_blob_is_a_link_to_the_store(tmp_path: Path, store: DiskStore, stage: DiskStage) -> None:
    resolved = Resolved(Kind.BLOB, store.put(b"x"), executable=True)
    digest, path = publish(target("//:x", "blob"), resolved, tmp_path / "out", store, stage, tmp_path)
    assert digest == Digest.of(b"x").oci
    assert path.stat().st_mode & 0o777 == 0o555


def test_a_target_and_a_package_of_one_name(show, tmp_path: Path) -> None:
    """hb-out/a is a link into the store: hb-out/a/b must not be written through it."""
    first = show("//:a", "target")
    staged = first.resolve()
    package = show("//a:b", "package")
    assert sorted(one.name for one in staged.iterdir()) == ["f"]
    assert (package / "f").read_text() == "package"
    assert (show("//:a", "target") / "f").read_text() == "target"  # under a name no label has
    assert (package / "f").read_text() == "package"


@pytest.mark.parametrize("way", ["hb-out", "hb-out/a", "hb-out/a/b"])
def test_a_file_on_the_way_is_named(show, tmp_path: Path, way: str) -> None:
    (tmp_path / way).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / way).write_text("dear")
    with pytest.raises(ActionError, match=f"{way} is a file hb did not make") as caught:
        show("//a/b:c", "x")
    assert "move it away" in str(caught.value)
    assert (tmp_path / way).read_text() == "dear"


def test_what_hb_did_not_make_is_not_replaced(show, tmp_path: Path) -> None:
    (tmp_path / "hb-out").mkdir()
    (tmp_path / "hb-out/mine").write_text("dear")
    with pytest.raises(ActionError, match="did not make"):
        show("//:mine", "x")
    assert (tmp_path / "hb-out/mine").read_text() == "dear"


@pytest.mark.parametrize("label", ["//../..:x", "//a:../../../x", "///etc:x"])
def test_no_label_leads_out_of_the_folder(show, tmp_path: Path, label: str) -> None:
    with pytest.raises(LabelError):
        show(label, "x")
