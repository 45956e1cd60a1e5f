"""Under what a result was measured."""

import datetime
import importlib.metadata
import platform
from pathlib import Path

import psutil
import torch

from handlers.network import file_sha256

_PACKAGES = (
    "torch", "torchvision", "openvino", "pillow", "torchserve", "fastapi", "uvicorn", "litserve", "grpcio",
)  # fmt: skip


def machine(released: Path) -> dict[str, object]:
    """Date, processor, memory, versions of what is compared, and the SHA-256 of the weights."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor_name(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "load_average_at_start": [round(value, 1) for value in psutil.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: version for name in _PACKAGES if (version := _version(name))},
        "weights_sha256": {path.stem: file_sha256(path) for path in sorted(released.glob("*.safetensors"))},
    }


def _processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
