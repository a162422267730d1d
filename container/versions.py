"""The one table of versions. Every pin of the stack is made from here or from a lock beside it.

Facts of the reference stack are kept next to what this distribution can have, so that the
difference is a line to read and not a surprise.
"""

PYTHON = "3.13"
CUDA = {"12": "12.8", "13": "13.0"}

# component: (version in distro=debian, version of the reference stack, SPDX licence)
COMPONENTS = {
    "ucx": ("1.13.1", "1.20.0", "BSD-3-Clause"),
    "libfabric": ("2.1.0", "2.3.0", "BSD-2-Clause OR GPL-2.0-only"),
    "hwloc": ("2.9.0", "2.12.2", "BSD-3-Clause"),
    "ffmpeg": ("7.1.5", "7.1", "LGPL-2.1-or-later"),
    "dav1d": ("1.5.1", "", "BSD-2-Clause"),
    "nixl": ("1.0.1", "0.9.0", "Apache-2.0"),
    "gdrcopy": ("", "2.5.1", "MIT"),
    "nats-server": ("2.10.27", "2.10.28", "Apache-2.0"),
    "etcd": ("3.5.16", "3.5.21", "Apache-2.0"),
    "safetensors": ("0.7.0", "", "Apache-2.0"),
    "orjson": ("3.11.5", "", "MPL-2.0 AND (Apache-2.0 OR MIT)"),
}

AI_DYNAMO = "1.4.2"
NIXL = "1.0.1"
TORCH = {"12": "2.9.1", "13": "2.11.0"}
UV = "0.13.8"
MATURIN = "1.16.0"
NVCC = "13.0.88"
CUDART = "13.0.96"
CCCL = "13.0.85"

# Git references of distro=ngc; commits are pinned where they are used.
GDRCOPY_TAG = "v2.5.1"
UCX_TAG = "v1.20.0"
NIXL_COMMIT = "2d475e4ae5bf12f5cfd592631076b089e9c2d983"


def version(component):
    """The version this distribution builds or installs."""
    return COMPONENTS[component][0]


def licence(component):
    return COMPONENTS[component][2]
