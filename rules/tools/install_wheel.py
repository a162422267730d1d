"""Install one wheel into an environment, without running it: install_wheel.py WHEEL PATH VERSION.

WHEEL is a .whl file, or a directory holding exactly one. Files go to /build/out below the
environment's absolute PATH. No bytecode is written, RECORD is sorted, scripts start with the
environment's interpreter. Needs the ``installer`` library of the root's interpreter.
"""

import os
import sys
from pathlib import Path

from installer import install
from installer.destinations import SchemeDictionaryDestination
from installer.sources import WheelFile


def main() -> None:
    wheel, prefix, version = sys.argv[1:4]
    out = "/build/out"
    site = f"{prefix}/lib/python{version}/site-packages"
    path = Path(wheel)
    if path.is_dir():
        (path,) = path.glob("*.whl")
    destination = SchemeDictionaryDestination(
        {"purelib": site, "platlib": site, "headers": f"{prefix}/include", "scripts": f"{prefix}/bin", "data": prefix},
        interpreter=f"{prefix}/bin/python",
        script_kind="posix",
        bytecode_optimization_levels=(),
        destdir=out,
    )
    with WheelFile.open(path) as source:
        install(source, destination, {"INSTALLER": b"hb\n"})
        record = Path(f"{out}{site}") / source.dist_info_dir / "RECORD"
    lines = record.read_text(encoding="utf-8").splitlines()
    record.write_text("".join(f"{line}\n" for line in sorted(lines)), encoding="utf-8")
    make_plain(out)


def make_plain(top: str) -> None:
    """Modes that depend on the umask or the wheel's zip headers become 0644 and 0755."""
    for folder, names, files in os.walk(top):
        for name in names:
            os.chmod(os.path.join(folder, name), 0o755)
        for name in files:
            path = os.path.join(folder, name)
            os.chmod(path, 0o755 if os.stat(path).st_mode & 0o100 else 0o644)


main()
