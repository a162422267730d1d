"""Python distributions: locked wheels per CUDA major, and extensions built from source."""

from container.versions import AI_DYNAMO, NIXL, TORCH, UV, licence, version
from rules.cargo import cargo_crates, maturin_wheel
from rules.python import python_sdist, python_wheels

package(default_visibility=["//visibility:public"])

# The reference's requirements. scipy is raised (its pin has no wheel for this Python); what the
# reference takes from git, and what only development needs (type checkers, stubs), is left out.
REQUIREMENTS = [
    "PyYAML==6.0.3",
    "accelerate",
    "aiofiles",
    "av==15.0.0",
    "fastapi==0.120.1",
    "ftfy==6.3.1",
    "genai-perf==0.0.15",
    "grpcio-tools<=1.76.0",
    "httpx==0.28.1",
    "kr8s==0.20.13",
    "kubernetes==32.0.1",
    "kubernetes_asyncio<=32.1.1",
    "matplotlib==3.10.7",
    "msgpack==1.1.2",
    "msgspec==0.19.0",
    "nvidia-ml-py<=13.580.65",
    "opentelemetry-api<=1.38.0",
    "opentelemetry-exporter-otlp<=1.38.0",
    "opentelemetry-sdk<=1.38.0",
    "pmdarima==2.1.1",
    "prometheus-api-client==0.6.0",
    "prometheus_client==0.23.1",
    "prophet==1.2.1",
    "pydantic-settings<2.13.0",
    "scikit-learn==1.7.2",
    "scipy<1.15",
    "sentencepiece==0.2.1",
    "sniffio==1.3.1",
    "tensorboardX==2.6.2.2",
    "uvicorn==0.38.0",
]

DYNAMO = ["ai-dynamo==" + AI_DYNAMO, "ai-dynamo-runtime==" + AI_DYNAMO]

# nixl's meta distribution asks for the CUDA 12 build whatever the image's CUDA is: the overrides
# are what keeps one CUDA major per image.
python_wheels(
    name="cu13",
    lock="locks/cu13.lock",
    overrides=["nixl-cu12; python_version < '3'"],
    requirements=DYNAMO
    + ["kvbm==" + AI_DYNAMO, "nixl==" + NIXL, "nixl-cu13==" + NIXL, "torch==" + TORCH["13"]]
    + REQUIREMENTS,
)

python_wheels(
    name="cu12",
    arches=["amd64"],
    lock="locks/cu12.lock",
    overrides=["nixl-cu13; python_version < '3'"],
    requirements=DYNAMO + ["nixl==" + NIXL, "nixl-cu12==" + NIXL, "torch==" + TORCH["12"]] + REQUIREMENTS,
)

python_wheels(name="uv", lock="locks/uv.lock", requirements=["uv==" + UV])

# A real Rust extension, used in the image instead of the registry's wheel.
python_sdist(name="safetensors_src", lock="locks/safetensors.lock", requirement="safetensors==0.7.0")

cargo_crates(name="safetensors_crates", lock="locks/safetensors-crates.lock", sdist="safetensors==0.7.0")

maturin_wheel(
    name="safetensors",
    src=":safetensors_src",
    abi3=True,
    crates=":safetensors_crates",
    licence=licence("safetensors"),
    version=version("safetensors"),
)

# Vendors its crates itself; small enough for every continuous-integration run.
python_sdist(name="orjson_src", lock="locks/orjson.lock", requirement="orjson==3.11.5")

maturin_wheel(
    name="orjson",
    src=":orjson_src",
    compatibility="manylinux_2_39",
    licence=licence("orjson"),
    version=version("orjson"),
)
