"""Every row of images.json: a sound OCI layout with one thing wrong, and the words that must name it.

The sound layout has an index of two images, for amd64 (documents ``manifest`` and ``config``, layers 0
and 1) and for arm64 (layer 0 alone). A row changes one place; what stands above it is sealed again, with true
digests and sizes, so that nothing but the change is wrong:

- ``members``: tar members that layer 1 has besides (name, type, text, target, mode, xattr).
- ``raw``: layer (0 or 1) → changes of the tar's bytes before its diff id is taken; ``packed``: changes of the
  compressed bytes before their digest is taken; each ``[how, value]``, see ``changed``. ``compress``: of layer 1.
- ``set``: [document, path, value] before that document is sealed; ``drop``: [document, path];
  ``copy``: [document, from, to]. Documents are config, manifest and index; a path's ``-`` appends.
- ``text``: document → changes of its JSON text, as above.
- ``after``: what happens to the finished files: [what, name, value]; ``manifest``, ``config``, ``layer0``… are blobs.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import tarfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hermetic.oci.validate import validate_layout

ROWS = json.loads(Path(__file__).with_name("images.json").read_text())
TYPES = {
    "file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE,
    "chr": tarfile.CHRTYPE, "blk": tarfile.BLKTYPE, "fifo": tarfile.FIFOTYPE,
}  # fmt: skip
OCI = "application/vnd.oci.image"
BASE = [
    {"name": "etc", "type": "dir"},
    {"name": "etc/motd", "text": "hello\n"},
    {"name": "lib", "type": "symlink", "target": "usr/lib"},
    {"name": "usr/lib", "type": "dir"},
    {"name": "usr/lib/x.so", "text": "ELF"},
    {"name": "usr/lib/y.so", "type": "hardlink", "target": "usr/lib/x.so"},
]
TOP = [{"name": "app/run", "text": "#!/bin/sh\n", "mode": 0o755}, {"name": "etc/.wh.motd"}]
COMPRESS = {
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "none": lambda data: data,
}


def make_tar(members: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member in members:
            info = tarfile.TarInfo(member["name"])
            info.type = TYPES[member.get("type", "file")]
            info.linkname, info.mode = member.get("target", ""), member.get("mode", 0o644)
            info.pax_headers = {f"SCHILY.xattr.{name}": value for name, value in member.get("xattr", {}).items()}
            content = member.get("text", "").encode() or bytes(member.get("zeros", 0))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def changed(data: bytes, steps: list[list[Any]]) -> bytes:
    for how, value in steps:
        if how == "cut":
            data = data[:-value]
        elif how == "append_hex":
            data += bytes.fromhex(value)
        elif how == "whole":
            data = value.encode("latin-1")
        elif how == "replace":
            old, new = (part.encode("latin-1") for part in value)
            assert old in data
            data = data.replace(old, new, 1)
        else:
            assert how == "grow"  # spaces at the end
            data += b" " * value
    return data


def edit(document: Any, path: str) -> tuple[Any, Any]:
    """The container and key that ``path`` names in it."""
    *folders, last = path.split("/")
    for name in folders:
        document = document[int(name) if isinstance(document, list) else name]
    if isinstance(document, list):
        if last == "-":
            document.append(None)
        return document, (len(document) - 1 if last == "-" else int(last))
    return document, last


class Builder:
    """Writes the layout of a row."""

    def __init__(self, row: dict[str, Any], path: Path) -> None:
        self.row, self.path = row, path
        self.names: dict[str, str] = {}
        (path / "blobs/sha256").mkdir(parents=True)

    def build(self) -> Path:
        packing = self.row.get("compress", "zstd")
        layers = [self.layer(0, BASE, "gzip"), self.layer(1, [*TOP, *self.row.get("members", [])], packing)]
        index = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.index.v1+json",
            "manifests": [self.image("amd64", layers, ""), self.image("arm64", layers[:1], "other ")],
        }
        (self.path / "index.json").write_bytes(self.document("index", index))
        (self.path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        for step in self.row.get("after", []):
            self.after(*step)
        return self.path

    def layer(self, number: int, members: list[dict[str, Any]], packing: str) -> tuple[dict[str, Any], str]:
        raw = changed(make_tar(members), self.row.get("raw", {}).get(str(number), []))
        packed = changed(COMPRESS[packing](raw), self.row.get("packed", {}).get(str(number), []))
        suffix = "" if packing == "none" else f"+{packing}"
        return self.blob(f"layer{number}", packed, f"{OCI}.layer.v1.tar{suffix}"), f"sha256:{sha256(raw).hexdigest()}"

    def image(self, arch: str, layers: list[tuple[dict[str, Any], str]], prefix: str) -> dict[str, Any]:
        config = {
            "architecture": arch,
            "os": "linux",
            "created": "1980-01-01T00:00:00Z",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/app/run"], "User": "1000:0", "ExposedPorts": {"80/tcp": {}}},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]},
            "history": [{"created_by": "hb //x", "created": "1980-01-01T00:00:00Z"} for _ in layers],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": self.blob(f"{prefix}config", self.document(f"{prefix}config", config), f"{OCI}.config.v1+json"),
            "layers": [copy.deepcopy(descriptor) for descriptor, _ in layers],
            "annotations": {"org.opencontainers.image.title": "x"},
        }
        entry = self.blob(f"{prefix}manifest", self.document(f"{prefix}manifest", manifest), f"{OCI}.manifest.v1+json")
        return {**entry, "platform": {"architecture": arch, "os": "linux"}}

    def document(self, name: str, value: Any) -> bytes:
        for where, path, new in self.row.get("set", []):
            if where == name:
                container, key = edit(value, path)
                container[key] = new
        for where, source, path in self.row.get("copy", []):
            if where == name:
                found, key = edit(value, source)
                container, place = edit(value, path)
                container[place] = copy.deepcopy(found[key])
        for where, path in self.row.get("drop", []):
            if where == name:
                container, key = edit(value, path)
                del container[key]
        return changed(json.dumps(value).encode(), self.row.get("text", {}).get(name, []))

    def blob(self, name: str, data: bytes, media_type: str) -> dict[str, Any]:
        digest = sha256(data).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(data)
        self.names[name] = digest
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}

    def after(self, what: str, name: str, value: Any = None) -> None:
        place = self.path / (f"blobs/sha256/{self.names[name]}" if name in self.names else name)
        if what == "delete":
            place.unlink()
        elif what == "change":
            place.write_bytes(changed(place.read_bytes(), value))
        elif what == "add":
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(value)
        elif what == "fifo":
            place.unlink()
            os.mkfifo(place)
        elif what == "folder":
            place.unlink()
            place.mkdir()
        elif what == "same":  # two files trade contents
            place.write_bytes((self.path / "blobs/sha256" / self.names[value]).read_bytes())
        else:
            assert what == "link"  # the same content behind a link
            aside = self.path.parent / "aside"
            place.rename(aside)
            place.symlink_to(aside)


@pytest.mark.parametrize("packing", COMPRESS)
def test_the_sound_layout_has_no_findings(tmp_path: Path, packing: str) -> None:
    assert validate_layout(Builder({"compress": packing}, tmp_path / "layout").build()) == []


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_row(row: dict[str, Any], tmp_path: Path) -> None:
    found = [str(finding) for finding in validate_layout(Builder(row, tmp_path / "layout").build())]
    if row["phrase"] is None:
        assert found == []
    else:
        assert any(row["phrase"] in line for line in found), found
        assert len(found) <= row.get("findings", 1), "one thing is wrong, and the rest is not to be blamed"


def test_rows_are_worth_keeping() -> None:
    assert len({row["id"] for row in ROWS}) == len(ROWS)
    assert len([row for row in ROWS if row["phrase"]]) >= 60
    for row in ROWS:
        assert row["teaches"], f"{row['id']} does not say what taught it"
        assert row["phrase"] is None or len(row["phrase"]) > 5


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
@given(data=st.data())
def test_no_changed_blob_goes_unnoticed(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any blob with any byte changed, lost or added is found; a changed document never ends in a traceback."""
    builder = Builder({}, tmp_path_factory.mktemp("image") / "layout")
    layout = builder.build()
    name = data.draw(st.sampled_from([*builder.names.values(), "index.json", "oci-layout"]))
    place = layout / (name if "." in name or "-" in name else f"blobs/sha256/{name}")
    content = bytearray(place.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    with_what = data.draw(st.binary(max_size=3))
    before = bytes(content)
    content[at : at + data.draw(st.integers(0, 3))] = with_what
    place.write_bytes(content)
    found = validate_layout(layout)
    if place.parent.name == "sha256" and bytes(content) != before:
        assert found
