"""How build tools are told of the compile cache: variables for ``ctx.run(launchers=…)``.

They hold what the action gets only when there is one, so none of it is in a key. A build that takes a
compiler's name from PATH meets the cache there and writes that name, not ours, into what it makes; cmake and
cargo, which write down where a compiler lies, have words of their own for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from hermetic.api import COMPILE_CACHE

_LAUNCH = f"{COMPILE_CACHE}/bin/launch"

BY_PATH: Mapping[str, str] = {"PATH": f"{COMPILE_CACHE}/wrap:%"}
CMAKE: Mapping[str, str] = {f"CMAKE_{language}_COMPILER_LAUNCHER": _LAUNCH for language in ("C", "CXX", "CUDA")}
CARGO: Mapping[str, str] = {"RUSTC_WRAPPER": _LAUNCH, **BY_PATH}
