"""One small real target for every rule of the shelf: built with the locked toolchains, then run and looked at.

``twice`` (make) is a library for ``greet`` (cmake, patched), ``fast`` is a Python extension in C, ``count`` a Rust
program; all of them go into an image, and the image for two architectures into an index.
"""

from rules.basic import configured, patch, tree
from rules.cargo import cargo_binary
from rules.fetch import local_source
from rules.image import image, image_index, layer
from rules.native import cmake, make
from rules.python import python_environment, python_wheel, python_wheels
from rules.test import image_check, image_test

local_source(name="twice_source", srcs=glob(["twice/**"]), strip_prefix="twice")

make(name="twice", prefix="/usr/local", src=":twice_source")

local_source(name="greet_source", srcs=glob(["greet/**"]), strip_prefix="greet")

patch(name="greet_patched", patches=["greet.patch"], src=":greet_source")

cmake(
    name="greet",
    deps=[":twice"],
    flags=["-DGREET_LOUD=ON"],
    prefix="/usr/local",
    src=":greet_patched",
)

python_wheels(name="setuptools", arches=["amd64"], lock="locks/setuptools.lock", requirements=["setuptools==80.9.0"])

local_source(name="fast_source", srcs=glob(["fast/**"]), strip_prefix="fast")

python_wheel(name="fast", build_wheels=[":setuptools"], src=":fast_source")

python_environment(name="venv", path="/opt/venv", wheels=[":fast"])

local_source(name="count_source", srcs=glob(["count/**"]), strip_prefix="count")

cargo_binary(name="count", bins=["count"], features=["upper"], src=":count_source")

layer(name="native", exclude=["usr/local/include/**"], files=[":greet", ":count"])

layer(name="python", files=[":venv"])

image(
    name="image",
    env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LD_LIBRARY_PATH": "/usr/local/lib"},
    layers=["//tests/ci:base", ":native", ":python"],
)

image_test(
    name="image_test",
    cmd="\n".join(
        [
            'test "$(hello you)" = "hello, you, 42!',
            '/usr/src/hb/greet.cpp"',
            'test "$(/opt/venv/bin/fast-sum 1 2 39)" = 42',
            '/opt/venv/bin/python -c "import _fast; print(_fast.__file__)" | grep -q /opt/venv/lib/python3.13/',
            'test "$(count a b c)" = "3 WORDS"',
            "said=$(count 2>&1 || true)",
            'grep -q "panicked at digits/src/lib.rs" <<< "$said"',
            "if grep -q /build/ /usr/local/bin/* /usr/local/lib/*.so; then exit 1; fi",
            "test ! -e /usr/local/lib/libtwice.a",
        ]
    ),
    image=":image",
)

image_check(
    name="image_check",
    checks=[
        {"kind": "elf_arch", "arch": "amd64"},
        {"kind": "needed_resolved"},
        {"kind": "exists", "path": "/usr/local/lib/libgreet.so.1", "mode": "0644"},
        {"kind": "exists_glob", "glob": "/opt/venv/lib/python3.13/site-packages/hb_fast-0.3.dist-info/RECORD"},
        {"kind": "absent", "glob": "/opt/venv/**/*.pyc"},
    ],
    image=":image",
)

# What runs nowhere needs no emulator: the same notes for two architectures.
tree(name="notes", files={"/notes": "read me\n"})

layer(name="notes_layer", files=[":notes"])

image(name="notes_image", layers=[":notes_layer"])

configured(name="notes_arm64", actual=":notes_image", settings={"arch": "arm64"})

image_index(
    name="index", annotations={"org.opencontainers.image.title": "notes"}, images=[":notes_image", ":notes_arm64"]
)
