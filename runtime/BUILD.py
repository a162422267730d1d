"""The images people build, by name: //runtime:<framework>-cu<major>-<arch>."""

from rules.basic import configured
from rules.image import image, image_index
from rules.test import image_check, image_test
from runtime.checks import parity_checks

package(default_visibility=["//visibility:public"])

MULTIARCH = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}


SITE = "/opt/dynamo/venv/lib/python3.13/site-packages"

# Where the vendor's wheels keep what NIXL's plugins load; a vendor base image has it in /usr/local/cuda.
CUDA_LIBRARIES = {
    "12": [SITE + "/nvidia/cuda_runtime/lib", SITE + "/nvidia/cufile/lib"],
    "13": [SITE + "/nvidia/cu13/lib"],
}


def library_path(multiarch, cuda):
    nixl = "/opt/nvidia/nvda_nixl/lib/" + multiarch
    own = [nixl, nixl + "/plugins", "/usr/local/ucx/lib", "/usr/local/ucx/lib/ucx", "/usr/local/libfabric/lib"]
    return ":".join(own + ["/usr/local/lib"] + CUDA_LIBRARIES[cuda])


def environment(multiarch, cuda):
    nixl = "/opt/nvidia/nvda_nixl/lib/" + multiarch
    return {
        "PATH": "/opt/dynamo/venv/bin:/usr/local/bin/etcd:/usr/local/ucx/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/home/dynamo",
        "DYNAMO_HOME": "/opt/dynamo",
        "VIRTUAL_ENV": "/opt/dynamo/venv",
        "NVIDIA_VISIBLE_DEVICES": "all",
        "NVIDIA_DRIVER_CAPABILITIES": "video,compute,utility",
        "NIXL_PREFIX": "/opt/nvidia/nvda_nixl",
        "NIXL_LIB_DIR": nixl,
        "NIXL_PLUGIN_DIR": nixl + "/plugins",
        "LD_LIBRARY_PATH": library_path(multiarch, cuda),
    }


image(
    name="none",
    annotations={"org.opencontainers.image.title": "dynamo-none"},
    commit_env="DYNAMO_COMMIT_SHA",
    entrypoint=["/opt/nvidia/nvidia_entrypoint.sh"],
    env=select(
        {
            "arch=" + arch + ",cuda=" + cuda: environment(MULTIARCH[arch], cuda)
            for arch in MULTIARCH
            for cuda in CUDA_LIBRARIES
        }
    ),
    layers=[
        "//container/stages:base",
        "//container/stages:users",
        "//container/stages:services",
        "//container/stages:uv",
        "//container/stages:transports",
    ]
    + select({"enable_media_ffmpeg=true": ["//container/stages:media"], "default": []})
    + [
        "//container/stages:nvidia",
        "//container/stages:torch",
        "//container/stages:venv",
        "//container/stages:wheelhouse",
        "//container/stages:workspace",
    ],
    user="dynamo",
    workdir="/workspace",
)

[
    configured(
        name="none-cu" + cuda + "-" + arch,
        actual=":none",
        settings={"arch": arch, "cuda": cuda, "framework": "none"},
    )
    for cuda, arch in [("13", "amd64"), ("13", "arm64"), ("12", "amd64")]
]

[
    image_check(
        name="none-cu" + cuda + "-" + arch + "_check",
        checks=parity_checks(cuda, arch),
        image=":none-cu" + cuda + "-" + arch,
    )
    for cuda, arch in [("13", "amd64"), ("13", "arm64"), ("12", "amd64")]
]

[
    image_test(
        name="none-cu" + cuda + "-amd64_test",
        cmd="\n".join(
            [
                "python -c 'import nixl, nixl_cu"
                + cuda
                + ", torch, safetensors, dynamo.runtime; print(torch.version.cuda)'",
                "ucx_info -v",
                "/usr/local/libfabric/bin/fi_info --version",
                "nats-server --version",
                "etcd --version",
                "etcdctl version",
                "uv --version",
                'python -c \'import ctypes; ctypes.CDLL("libavcodec.so.61"); ctypes.CDLL("libdav1d.so.7")\'',
            ]
        ),
        image=":none-cu" + cuda + "-amd64",
    )
    for cuda in ["13", "12"]
]
