"""Build a wheel with the project's own PEP 517 backend: build_wheel.py SOURCE OUTDIR.

Runs in a sealed sandbox: the backend's requirements are below /hb/backend, there is no network,
and what the backend would want to fetch is an error of the backend.
"""

import importlib
import os
import sys
import tomllib
from pathlib import Path


def main() -> None:
    source, out = Path(sys.argv[1]), Path(sys.argv[2])
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    sys.path.insert(0, f"/hb/backend/lib/python{version}/site-packages")
    os.environ["PATH"] = f"/hb/backend/bin:{os.environ['PATH']}"
    # Backends start helper interpreters: they need the same packages.
    os.environ["PYTHONPATH"] = f"/hb/backend/lib/python{version}/site-packages"
    os.chdir(source)
    project = Path("pyproject.toml")
    table = tomllib.loads(project.read_text(encoding="utf-8")) if project.exists() else {}
    system = table.get("build-system", {})
    for entry in reversed(system.get("backend-path", [])):
        sys.path.insert(0, str(source / entry))
    name, _, attribute = system.get("build-backend", "setuptools.build_meta:__legacy__").partition(":")
    backend = importlib.import_module(name)
    for part in filter(None, attribute.split(".")):
        backend = getattr(backend, part)
    out.mkdir(exist_ok=True)
    print("built", backend.build_wheel(str(out)))


main()
