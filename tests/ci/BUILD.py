"""The main job in minutes: a real image with a native library, a Rust wheel and a GPU kernel, each
built from real sources in sealed sandboxes. What continuous integration builds on every change."""

from rules.basic import genrule, tree
from rules.debian import debian_files, debian_packages, debian_rootfs
from rules.image import image, layer
from rules.python import python_environment
from rules.test import image_check, image_test, py_test

debian_packages(
    name="packages",
    arches=["amd64"],
    lock="locks/packages.lock",
    packages=["base-files", "bash", "coreutils", "libstdc++6", "python3"],
)

debian_rootfs(
    name="rootfs",
    exclude=["usr/share/doc/**", "usr/share/man/**", "usr/share/locale/**"],
    packages=[":packages"],
)

layer(name="base", files=[":rootfs"], visibility=["//tests/ci/rules:__pkg__"])

layer(name="dav1d", files=["//container/native:dav1d"])

python_environment(name="venv", path="/opt/venv", wheels=["//container/wheels:orjson"])

layer(name="python", files=[":venv"], group_writable=["opt/venv"], owners={"opt/venv": "1000:0"})

debian_files(
    name="nats",
    files={"/usr/bin/nats-server": "/usr/sbin/nats-server"},
    package="nats-server",
    packages="//container/stages:service_packages",
)

python_environment(name="uv_env", path="/usr", skeleton=False, wheels=["//container/wheels:uv"])

layer(name="tools", exclude=["usr/lib/**"], files=[":nats", ":uv_env"])

genrule(
    name="kernel",
    at="/opt/kernel",
    cmd="\n".join(
        [
            "nvcc -arch=sm_90 -objtemp -cudart static -o $OUT/add kernel.cu",
            "nvcc -arch=sm_90 -objtemp -cubin -o $OUT/add.cubin kernel.cu",
        ]
    ),
    env={"PATH": "/usr/local/cuda/bin:/usr/bin:/bin"},
    srcs=["kernel.cu"],
    tools=["//toolchains:cuda13"],
)

layer(name="gpu", files=[":kernel"])

tree(
    name="accounts",
    files={
        "/etc/passwd": "root:x:0:0::/root:/bin/bash\ndynamo:x:1000:0::/home/dynamo:/bin/bash\n",
        "/etc/group": "root:x:0:\n",
    },
)

layer(name="users", files=[":accounts"])

image(
    name="image",
    annotations={"org.opencontainers.image.title": "hb-ci"},
    commit_env="COMMIT",
    cmd=["/bin/bash"],
    env={"PATH": "/opt/venv/bin:/usr/bin:/bin", "LD_LIBRARY_PATH": "/usr/local/lib"},
    layers=[":base", ":users", ":dav1d", ":python", ":tools", ":gpu"],
    user="dynamo",
    workdir="/",
)

image_test(
    name="image_test",
    cmd="\n".join(
        [
            'python -c \'import orjson; assert orjson.dumps({"a": 1}) == b"{\\"a\\":1}"\'',
            "python -c 'import ctypes; ctypes.CDLL(\"libdav1d.so.7\").dav1d_version_api'",
            "nats-server --version",
            "uv --version",
            "test -s /opt/kernel/add.cubin",
            "test $(id -u) = 1000",
        ]
    ),
    image=":image",
)

image_check(
    name="image_check",
    checks=[
        {"kind": "elf_arch", "arch": "amd64"},
        {"kind": "needed_resolved", "stubs": ["libcuda.so.1"]},
        {"kind": "passwd", "user": "dynamo", "uid": 1000, "gid": 0},
        {"kind": "group_writable", "prefix": "/opt/venv", "gid": 0},
        {"kind": "user", "value": "dynamo"},
        {"kind": "env_set", "names": ["COMMIT", "PATH"]},
        {"kind": "exists", "path": "/usr/bin/nats-server", "mode": "0755"},
    ],
    image=":image",
)

py_test(name="py_test", srcs=["math_test.py"])
