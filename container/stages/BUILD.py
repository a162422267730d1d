"""The layers images are stacked from. One layer is one reason to change."""

from container.versions import AI_DYNAMO
from rules.basic import attribution, pick, source_archive, tree
from rules.debian import debian_files, debian_packages, debian_rootfs
from rules.image import layer
from rules.python import python_environment, wheelhouse

package(default_visibility=["//visibility:public"])

BASE = [
    "base-files",
    "bash",
    "ca-certificates",
    "coreutils",
    "curl",
    "dash",
    "git",
    "ibverbs-providers",
    "ibverbs-utils",
    "jq",
    "libgomp1",
    "libibumad3",
    "libibverbs1",
    "libnuma1",
    "libpython3.13",
    "librdmacm1",
    "libstdc++6",
    "passwd",
    "python3",
    "rdma-core",
]

debian_packages(name="base_packages", lock="locks/base.lock", packages=BASE)

debian_rootfs(
    name="base_rootfs",
    exclude=["usr/share/man/**", "usr/share/locale/**", "usr/share/info/**"],
    packages=[":base_packages"],
)

layer(name="base", files=[":base_rootfs"])

NOLOGIN = "/usr/sbin/nologin"

# (name, uid, gid, home, shell): what Debian's base-passwd has, without any distribution user.
SYSTEM_USERS = [
    ("root", 0, 0, "/root", "/bin/bash"),
    ("daemon", 1, 1, "/usr/sbin", NOLOGIN),
    ("bin", 2, 2, "/bin", NOLOGIN),
    ("sys", 3, 3, "/dev", NOLOGIN),
    ("sync", 4, 65534, "/bin", "/bin/sync"),
    ("man", 6, 12, "/var/cache/man", NOLOGIN),
    ("mail", 8, 8, "/var/mail", NOLOGIN),
    ("www-data", 33, 33, "/var/www", NOLOGIN),
    ("backup", 34, 34, "/var/backups", NOLOGIN),
    ("_apt", 42, 65534, "/nonexistent", NOLOGIN),
    ("dynamo", 1000, 0, "/home/dynamo", "/bin/bash"),
    ("nobody", 65534, 65534, "/nonexistent", NOLOGIN),
]

SYSTEM_GROUPS = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("mail", 8),
    ("man", 12),
    ("kmem", 15),
    ("cdrom", 24),
    ("sudo", 27),
    ("audio", 29),
    ("www-data", 33),
    ("backup", 34),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("plugdev", 46),
    ("staff", 50),
    ("users", 100),
    ("nogroup", 65534),
]

tree(
    name="user_files",
    dirs=["/home/dynamo/.cache", "/opt/dynamo", "/workspace"],
    files={
        "/etc/passwd": "".join(
            [
                name + ":x:" + str(uid) + ":" + str(gid) + "::" + home + ":" + shell + "\n"
                for name, uid, gid, home, shell in SYSTEM_USERS
            ]
        ),
        "/etc/group": "".join([name + ":x:" + str(gid) + ":\n" for name, gid in SYSTEM_GROUPS]),
        "/etc/shadow": "".join([name + ":*:11000:0:99999:7:::\n" for name, uid, gid, home, shell in SYSTEM_USERS]),
        "/etc/profile.d/00-umask.sh": "umask 002\n",
        "/etc/bash.bashrc": "\n".join(
            [
                "umask 002",
                "test -f /opt/dynamo/venv/bin/activate && . /opt/dynamo/venv/bin/activate",
                'case "$-" in *i*) cat /opt/dynamo/.launch_screen ;; esac',
                "",
            ]
        ),
        "/opt/dynamo/.launch_screen": "Dynamo: distributed inference. The environment is /opt/dynamo/venv.\n",
        "/opt/nvidia/nvidia_entrypoint.sh": '#!/bin/bash\numask 002\nexec "${@:-/bin/bash}"\n',
    },
    modes={
        "/etc/shadow": "0640",
        "/opt/dynamo/.launch_screen": "0755",
        "/opt/nvidia/nvidia_entrypoint.sh": "0755",
    },
)

layer(
    name="users",
    files=[":user_files"],
    group_writable=["home/dynamo", "opt/dynamo", "workspace"],
    modes={"opt/dynamo/.launch_screen": "0755"},
    owners={"home/dynamo": "1000:0", "opt/dynamo": "1000:0", "workspace": "1000:0", "etc/shadow": "0:42"},
)

debian_packages(
    name="service_packages",
    closed=False,
    essential=False,
    lock="locks/services.lock",
    packages=["etcd-client", "etcd-server", "nats-server"],
)

debian_files(
    name="nats",
    files={"/usr/bin/nats-server": "/usr/sbin/nats-server"},
    package="nats-server",
    packages=":service_packages",
)

debian_files(
    name="etcd_server",
    files={"/usr/local/bin/etcd/etcd": "/usr/bin/etcd"},
    package="etcd-server",
    packages=":service_packages",
)

debian_files(
    name="etcd_client",
    files={"/usr/local/bin/etcd/etcdctl": "/usr/bin/etcdctl"},
    package="etcd-client",
    packages=":service_packages",
)

python_environment(name="uv_env", path="/usr", skeleton=False, wheels=["//container/wheels:uv"])

layer(
    name="uv",
    files=[":uv_env"],
    include=["usr/bin/uv", "usr/bin/uvx"],
)

layer(name="services", files=[":etcd_client", ":etcd_server", ":nats"])

tree(
    name="ld_conf",
    files={
        "/etc/ld.so.conf.d/libfabric.conf": "/usr/local/libfabric/lib\n",
        "/etc/ld.so.conf.d/ucx.conf": "/usr/local/ucx/lib\n/usr/local/ucx/lib/ucx\n",
    },
)

layer(
    name="transports",
    exclude=["usr/local/**/*.a"],
    files=[":ld_conf", "//container/native:hwloc", "//container/native:libfabric", "//container/native:ucx"],
)

# Corresponding source travels with the LGPL libraries.
source_archive(name="ffmpeg_source", at="/usr/local/src/ffmpeg", src="//container/native:ffmpeg_src")

layer(
    name="media",
    files=[":ffmpeg_source", "//container/native:dav1d", "//container/native:ffmpeg"],
)

WHEELS = select({"cuda=12": ["//container/wheels:cu12"], "cuda=13": ["//container/wheels:cu13"]})

NVIDIA = ["nvidia-*", "triton"]
TORCH = ["torch", "torchgen", "torchvision"]

python_environment(name="venv_nvidia", only=NVIDIA, skeleton=False, wheels=WHEELS)
python_environment(name="venv_torch", only=TORCH, skeleton=False, wheels=WHEELS)
python_environment(
    name="venv_rest",
    wheels=WHEELS + ["//container/wheels:safetensors"],
    replace=["safetensors"],
    without=NVIDIA + TORCH + select({"enable_kvbm=true": [], "default": ["kvbm"]}),
)

VENV_OWNER = {"opt/dynamo": "1000:0"}
VENV_GROUP = ["opt/dynamo/venv"]

layer(name="nvidia", files=[":venv_nvidia"], group_writable=VENV_GROUP, owners=VENV_OWNER)
layer(name="torch", files=[":venv_torch"], group_writable=VENV_GROUP, owners=VENV_OWNER)
layer(name="venv", files=[":venv_rest"], group_writable=VENV_GROUP, owners=VENV_OWNER)

wheelhouse(name="wheelhouse_files", only=["ai-dynamo", "ai-dynamo-runtime", "nixl", "nixl-cu1*"], wheels=WHEELS)

layer(name="wheelhouse", files=[":wheelhouse_files"], group_writable=["opt/dynamo"], owners={"opt/dynamo": "1000:0"})

# NIXL comes as its wheel here; the reference's paths lead into it.
SITE = "/opt/dynamo/venv/lib/python3.13/site-packages"

tree(
    name="nixl_links",
    links=select(
        {
            "cuda=12,arch=amd64": {"/opt/nvidia/nvda_nixl/lib/x86_64-linux-gnu": SITE + "/.nixl_cu12.mesonpy.libs"},
            "cuda=13,arch=amd64": {"/opt/nvidia/nvda_nixl/lib/x86_64-linux-gnu": SITE + "/.nixl_cu13.mesonpy.libs"},
            "cuda=13,arch=arm64": {"/opt/nvidia/nvda_nixl/lib/aarch64-linux-gnu": SITE + "/.nixl_cu13.mesonpy.libs"},
        }
    ),
)

pick(
    name="licence_text",
    src=":venv_rest",
    files={"/workspace/LICENSE": SITE + "/ai_dynamo-" + AI_DYNAMO + ".dist-info/licenses/LICENSE"},
)

attribution(
    name="attribution_text",
    at="/workspace/ATTRIBUTION.txt",
    of=[
        "//container/native:hwloc",
        "//container/native:libfabric",
        "//container/native:ucx",
        "//container/wheels:safetensors",
    ]
    + select({"enable_media_ffmpeg=true": ["//container/native:ffmpeg"], "default": []}),
)

layer(
    name="workspace",
    files=[":attribution_text", ":licence_text", ":nixl_links"],
    group_writable=["workspace"],
    modes={"workspace/*": "0664"},
    owners={"workspace": "1000:0"},
)
