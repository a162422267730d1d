"""What changed in what was made: files of trees, layers of images. Read from the CAS; nothing is unpacked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hermetic import tree
from hermetic.action import Kind
from hermetic.audit.treediff import Difference, tree_differences
from hermetic.audit.words import clip, json_changes
from hermetic.digest import Digest
from hermetic.oci.image import read_json
from hermetic.store.operation import Resolved
from hermetic.tree import EMPTY_TREE, Directory, File, Load, Subdir

SHOWN = 40  # files of one part


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of an output: the whole tree, or a layer. ``notes``: what differs beside files. Sizes are
    bytes: of the blob, or of the compressed layer; 0 where there is none."""

    title: str
    old_size: int
    new_size: int
    files: Sequence[Difference] = ()
    notes: Sequence[str] = ()


def output_differences(old: Resolved, new: Resolved, layout: str, load: Load) -> list[Part]:
    """The parts that differ; none when the outputs are equal. Raises MissingBlob."""
    if old == new:
        return []
    if old.kind is not new.kind:
        return [Part("", old.digest.size, new.digest.size, notes=[f"a {old.kind} → a {new.kind}"])]
    if new.kind is Kind.BLOB:
        notes = ["content differs"] if old.digest != new.digest else []
        notes += ["made executable" if new.executable else "no longer executable"] * (old.executable != new.executable)
        return [Part("", old.digest.size, new.digest.size, notes=notes)]
    if layout == "image":
        return _image(old.digest, new.digest, "", load)
    if layout == "index":
        return _index(old.digest, new.digest, load)
    return [_tree("", old.digest, new.digest, load)]


def _tree(title: str, old: Digest, new: Digest, load: Load) -> Part:
    files = list(tree_differences(old, new, load))
    return Part(title, sum(one.old_size or 0 for one in files), sum(one.new_size or 0 for one in files), files)


def _index(old: Digest, new: Digest, load: Load) -> list[Part]:
    before, after = (_by_platform(root, load) for root in (old, new))
    parts: list[Part] = []
    for name in dict.fromkeys((*before, *after)):
        if name not in before or name not in after:
            parts.append(Part(f"image {name}", 0, 0, notes=["added" if name in after else "removed"]))
        elif before[name] != after[name]:
            parts += _image(before[name], after[name], f"{name}: ", load)
    return parts


def _by_platform(root: Digest, load: Load) -> dict[str, Digest]:
    found = {}
    for _, node in _children(root, "images", load):
        where = read_json(node.digest, "platform.json", load)[0]
        found[f"{where['os']}/{where['architecture']}"] = node.digest
    return found


def _image(old: Digest, new: Digest, prefix: str, load: Load) -> list[Part]:
    parts = []
    notes = [
        f"{name.removesuffix('.json')}: {line}"
        for name in ("config.json", "manifest.json")
        for line in _json_notes(old, new, name, load)
    ]
    if notes:
        parts.append(Part(f"{prefix}configuration", 0, 0, notes=notes))
    before, after = (_layers(root, load) for root in (old, new))
    for name in dict.fromkeys((*before, *after)):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        part = _tree(f"{prefix}layer {name}", was[1] if was else EMPTY_TREE, now[1] if now else EMPTY_TREE, load)
        note = [] if was and now else ["added" if now else "removed"]
        if was and now and was[1] == now[1]:
            note = ["the same files, packed differently"]
        parts.append(Part(part.title, was[0]["size"] if was else 0, now[0]["size"] if now else 0, part.files, note))
    if not notes and list(before) != list(after) and set(before) == set(after):
        parts.append(Part(f"{prefix}layers", 0, 0, notes=["in another order"]))
    return parts


def _json_notes(old: Digest, new: Digest, name: str, load: Load) -> list[str]:
    """What differs in an image's JSON, without what only says that layers differ."""
    texts = [read_json(root, name, load)[0] for root in (old, new)]
    shown = [json.dumps({key: value for key, value in one.items() if key not in _OF_LAYERS[name]}) for one in texts]
    return json_changes(*shown)


_OF_LAYERS = {"config.json": ("rootfs", "history"), "manifest.json": ("layers", "config")}


def _layers(root: Digest, load: Load) -> dict[str, tuple[Mapping[str, Any], Digest]]:
    """Layer → (descriptor, its files). A layer is known by the target that made it."""
    found: dict[str, tuple[Mapping[str, Any], Digest]] = {}
    for number, node in _children(root, "layers", load):
        entries = Directory.decode(load(node.digest)).entries
        descriptor, files = entries.get("descriptor"), entries.get("tree")
        if isinstance(descriptor, File) and isinstance(files, Subdir):
            data = read_json(node.digest, "descriptor", load)[0]
            name = str(data.get("created_by", "")).removeprefix("hb ") or number
            found[name if name not in found else f"{name} ({number})"] = (data, files.digest)
    return found


def _children(root: Digest, path: str, load: Load) -> Iterator[tuple[str, Subdir]]:
    top = tree.lookup(root, path, load)
    for name, node in sorted(Directory.decode(load(top.digest)).entries.items()) if isinstance(top, Subdir) else ():
        if isinstance(node, Subdir):
            yield name, node


# --- text ---------------------------------------------------------------------------------------


def lines_of(parts: Sequence[Part], everything: bool = False) -> Iterator[str]:
    for part in parts:
        yield f"{part.title or 'output'}: {_sizes(part.old_size, part.new_size)}{_counts(part.files)}"
        yield from (f"  {clip(note)}" for note in part.notes)
        shown = part.files if everything else part.files[:SHOWN]
        for one in shown:
            yield f"  {_MARKS.get(one.what, '~')} {clip(one.path)}{_about(one)}"
        if len(part.files) > len(shown):
            yield f"  and {len(part.files) - len(shown)} more files (--all shows them)"


_MARKS = {"added": "+", "removed": "-"}


def _about(one: Difference) -> str:
    size = f"  {_sizes(one.old_size, one.new_size)}" if one.old_size is not None or one.new_size is not None else ""
    what = "" if one.what in ("added", "removed", "edited") else f"  {one.what}"
    return f"{size}{what}{f' {clip(one.detail)}' if one.detail else ''}"


def _sizes(old: int | None, new: int | None) -> str:
    if old is None or new is None:
        return human(old if new is None else new)
    return (
        human(new)
        if old == new
        else f"{human(old)} → {human(new)} ({'+' if new > old else '-'}{human(abs(new - old))})"
    )


def _counts(files: Sequence[Difference]) -> str:
    if not files:
        return ""
    words = {"added": 0, "removed": 0, "changed": 0}
    for one in files:
        words[one.what if one.what in words else "changed"] += 1
    return ", " + ", ".join(f"{count} {word}" for word, count in words.items() if count)


def human(size: int | None) -> str:
    """``1.5 MB``."""
    number = float(size or 0)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError


def json_of(parts: Sequence[Part]) -> list[dict[str, Any]]:
    return [
        {
            "part": part.title,
            "old_size": part.old_size,
            "new_size": part.new_size,
            "notes": list(part.notes),
            "files": [
                {
                    "path": one.path,
                    "what": one.what,
                    "old_size": one.old_size,
                    "new_size": one.new_size,
                    "detail": one.detail,
                }
                for one in part.files
            ],
        }
        for part in parts
    ]
