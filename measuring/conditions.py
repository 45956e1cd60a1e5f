"""The conditions of a measurement, without which its metrics say nothing."""

import datetime
import importlib.metadata
import platform
from collections.abc import Iterable
from pathlib import Path

import psutil


def machine(packages: Iterable[str]) -> dict[str, object]:
    """Return date, processor, cores, memory, load average, and the versions of Python and of the packages."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "processor": _processor_name(),
        "cores": psutil.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_average_at_start": [round(value, 1) for value in psutil.getloadavg()],
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def _processor_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
