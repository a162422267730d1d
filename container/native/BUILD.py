"""Native libraries, each from its own source, each its own target, with its true dependencies."""

from container.versions import NIXL_COMMIT, licence, version
from rules.debian import debian_source
from rules.fetch import git_source
from rules.native import autotools, make, meson

package(default_visibility=["//visibility:public"])

debian_source(name="dav1d_src", lock="locks/dav1d.lock", package="dav1d")

debian_source(name="ffmpeg_src", lock="locks/ffmpeg.lock", package="ffmpeg")

debian_source(name="hwloc_src", lock="locks/hwloc.lock", package="hwloc", suite="bookworm")

debian_source(name="libfabric_src", lock="locks/libfabric.lock", package="libfabric")

debian_source(name="ucx_src", lock="locks/ucx.lock", package="ucx", suite="bookworm")

meson(
    name="dav1d",
    src=":dav1d_src",
    flags=["-Denable_tests=false", "-Denable_tools=false"],
    licence=licence("dav1d"),
    prefix="/usr/local",
    version=version("dav1d"),
)

autotools(
    name="hwloc",
    src=":hwloc_src",
    flags=[
        "--disable-cairo",
        "--disable-cuda",
        "--disable-gl",
        "--disable-levelzero",
        "--disable-libxml2",
        "--disable-nvml",
        "--disable-opencl",
        "--disable-rsmi",
    ],
    install_target="install-strip",
    licence=licence("hwloc"),
    prefix="/usr/local",
    version=version("hwloc"),
)

# gcc 14 finds more to warn about than this release knew, and its own -Werror makes that fatal; one
# of its test programs relies on a header that no longer comes along by itself.
autotools(
    name="ucx",
    src=":ucx_src",
    autogen="./autogen.sh",
    before=[
        "test ! -d debian.upstream || mv debian.upstream debian",
        "sed -i 's/-Wall -Werror\"/-Wall\"/' config/m4/compiler.m4",
        "sed -i '1i #include <cstdint>' test/apps/sockaddr/sa_util.h",
    ],
    configure="./contrib/configure-release",
    flags=[
        "--enable-shared",
        "--disable-static",
        "--disable-doxygen-doc",
        "--enable-optimizations",
        "--enable-cma",
        "--enable-devel-headers",
        "--with-verbs",
        "--with-dm",
        "--enable-mt",
    ]
    + select(
        {
            "distro=ngc": ["--with-cuda=/usr/local/cuda", "--with-gdrcopy=/usr/local", "--with-efa"],
            "default": ["--without-cuda", "--without-gdrcopy"],
        }
    ),
    deps=select({"distro=ngc": [":gdrcopy"], "default": []}),
    install_target="install-strip",
    licence=licence("ucx"),
    prefix="/usr/local/ucx",
    version=version("ucx"),
)

autotools(
    name="libfabric",
    src=":libfabric_src",
    autogen="./autogen.sh",
    flags=[
        "--disable-verbs",
        "--disable-psm3",
        "--disable-opx",
        "--disable-usnic",
        "--disable-rstream",
        "--enable-efa",
    ]
    + select(
        {
            "distro=ngc": [
                "--with-cuda=/usr/local/cuda",
                "--enable-cuda-dlopen",
                "--with-gdrcopy",
                "--enable-gdrcopy-dlopen",
            ],
            "default": [],
        }
    ),
    deps=select({"distro=ngc": [":gdrcopy"], "default": []}),
    install_target="install-strip",
    licence=licence("libfabric"),
    prefix="/usr/local/libfabric",
    version=version("libfabric"),
)

# LGPL parts only. Everything that writes media is off, so the image can read video and no more.
autotools(
    name="ffmpeg",
    src=":ffmpeg_src",
    cross_flags=[
        "--enable-cross-compile",
        "--arch=aarch64",
        "--target-os=linux",
        "--cross-prefix=aarch64-linux-gnu-",
        "--pkg-config=pkg-config",
    ],
    deps=[":dav1d"],
    flags=[
        "--disable-gpl",
        "--disable-nonfree",
        "--disable-programs",
        "--disable-doc",
        "--disable-static",
        "--disable-x86asm",
        "--disable-postproc",
        "--disable-network",
        "--disable-encoders",
        "--disable-muxers",
        "--disable-bsfs",
        "--disable-devices",
        "--disable-libdrm",
        "--disable-debug",
        "--enable-libdav1d",
        "--enable-shared",
    ],
    gnu=False,
    licence=licence("ffmpeg"),
    prefix="/usr/local",
    version=version("ffmpeg"),
)

# distro=ngc. No package archive has gdrcopy, so it needs a commit id from someone who can reach its
# repository; until then it fails with a message that says so. Wildcards leave these targets out.
git_source(
    name="gdrcopy_src",
    commit="",
    tags=["manual"],
    urls=["https://github.com/NVIDIA/gdrcopy.git"],
)

make(
    name="gdrcopy",
    src=":gdrcopy_src",
    deps=["//toolchains:cuda13"],
    flags=["CUDA=/usr/local/cuda", "lib"],
    install_target="lib_install",
    licence=licence("gdrcopy"),
    prefix="/usr/local",
    tags=["manual"],
)

git_source(
    name="nixl_src",
    commit=NIXL_COMMIT,
    tags=["manual"],
    urls=["https://github.com/ai-dynamo/nixl.git"],
)

# Plugins are named: by default NIXL builds whatever it happens to find.
meson(
    name="nixl",
    src=":nixl_src",
    deps=[":gdrcopy", ":hwloc", ":libfabric", ":ucx", "//toolchains:cuda13"],
    flags=[
        "-Dcudapath_inc=/usr/local/cuda/include",
        "-Dcudapath_lib=/usr/local/cuda/lib64",
        "-Denable_plugins=UCX,LIBFABRIC,POSIX",
        "-Dlibfabric_path=/usr/local/libfabric",
        "-Ducx_path=/usr/local/ucx",
    ],
    licence=licence("nixl"),
    prefix="/opt/nvidia/nvda_nixl",
    tags=["manual"],
)
