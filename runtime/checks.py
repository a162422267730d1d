"""What every image of the stack must satisfy, as data for image_check."""

STUBS = ["libcuda.so.1", "libnvidia-ml.so.1"]

# Files whose needs are met only where their hardware's own packages are installed: glob → reason.
NEEDED_IGNORE = {
    "*/libucx_perftest_mad.so*": "a measuring tool for InfiniBand management, which is not installed",
    "*/nixl_ep/nixl_ep_cpp.*": "loaded after torch, which brings its libraries into the process",
    "*/nixl_cu1*.libs/nixl/*": "the wheel's second copy of its plugins; it loads the first",
    "*/libplugin_GPUNETIO.so": "needs DOCA, which comes with the network card's own packages",
    "*/torch/lib/libtorch_nvshmem.so": "needs the libraries of the cluster's transports",
    "*/nvidia/nvshmem/lib/*": "transports of clusters that have their own packages",
    "*/nvidia/cu1*/lib/libnvshmem*": "transports of clusters that have their own packages",
}


def parity_checks(cuda, arch):
    """The structural checks of one image: nothing is run, so they hold for any architecture."""
    other = {"12": "13", "13": "12"}[cuda]
    return [
        {"kind": "exists", "path": "/usr/bin/nats-server", "mode": "0755"},
        {"kind": "exists", "path": "/usr/local/bin/etcd/etcd", "mode": "0755"},
        {"kind": "exists", "path": "/usr/local/bin/etcd/etcdctl", "mode": "0755"},
        {"kind": "exists", "path": "/bin/uv", "mode": "0755"},
        {"kind": "exists", "path": "/usr/local/ucx/lib/libucp.so"},
        {"kind": "exists", "path": "/usr/local/libfabric/lib/libfabric.so"},
        {"kind": "exists", "path": "/workspace/LICENSE"},
        {"kind": "exists", "path": "/workspace/ATTRIBUTION.txt"},
        {"kind": "exists", "path": "/opt/dynamo/.launch_screen", "mode": "0755"},
        {"kind": "exists", "path": "/etc/profile.d/00-umask.sh"},
        {"kind": "exists", "path": "/opt/nvidia/nvidia_entrypoint.sh", "mode": "0755"},
        {"kind": "exists_glob", "glob": "/opt/dynamo/wheelhouse/*.whl"},
        {"kind": "passwd", "user": "dynamo", "uid": 1000, "gid": 0, "home": "/home/dynamo", "shell": "/bin/bash"},
        {"kind": "no_user", "user": "ubuntu"},
        {"kind": "group_writable", "prefix": "/workspace", "gid": 0},
        {"kind": "group_writable", "prefix": "/home/dynamo", "gid": 0},
        {"kind": "group_writable", "prefix": "/opt/dynamo/venv", "gid": 0},
        {"kind": "user", "value": "dynamo"},
        {"kind": "entrypoint", "value": ["/opt/nvidia/nvidia_entrypoint.sh"]},
        {"kind": "cmd", "value": []},
        {"kind": "workdir", "value": "/workspace"},
        {
            "kind": "env_set",
            "names": [
                "DYNAMO_HOME",
                "DYNAMO_COMMIT_SHA",
                "HOME",
                "PATH",
                "NIXL_PREFIX",
                "NIXL_LIB_DIR",
                "NIXL_PLUGIN_DIR",
                "LD_LIBRARY_PATH",
                "VIRTUAL_ENV",
            ],
        },
        {"kind": "env", "name": "NVIDIA_DRIVER_CAPABILITIES", "value": "video,compute,utility"},
        {
            "kind": "cuda_major",
            "major": int(cuda),
            "forbid": ["*-cu" + other, "cupy-cuda" + other + "x"],
            "one_of": ["nixl-cu*"],
        },
        {"kind": "elf_arch", "arch": arch},
        {"kind": "needed_resolved", "stubs": STUBS, "ignore": NEEDED_IGNORE},
        {"kind": "source_present", "if": "/usr/local/lib/libavcodec.so.*", "then": "/usr/local/src/ffmpeg/*.tar.*"},
    ]
