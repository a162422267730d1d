"""An image for people to read: its layers, their sizes, the labels that made them, its configuration."""

from __future__ import annotations

from pathlib import Path

from hermetic.oci.layout import read_layout


def summary(layout: Path) -> str:
    found = read_layout(layout)
    manifest, config = found["manifest"], found["config"]
    lines = [f"{found['descriptor']['digest']}  {config['os']}/{config['architecture']}", ""]
    for layer, step in zip(manifest["layers"], config["history"], strict=False):
        lines.append(f"{layer['size'] / 1e6:10.1f} MB  {layer['digest'][7:19]}  {step['created_by']}")
    total = sum(layer["size"] for layer in manifest["layers"])
    lines += [f"{total / 1e6:10.1f} MB  in {len(manifest['layers'])} layers", ""]
    settings = config["config"]
    for name in ("User", "WorkingDir", "Entrypoint", "Cmd"):
        if name in settings:
            lines.append(f"{name}: {settings[name]}")
    lines += [f"Env: {line}" for line in settings.get("Env", [])]
    return "\n".join(lines)
