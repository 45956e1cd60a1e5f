"""Under which conditions a run took place: without them its figures say nothing."""

import importlib.metadata
import os
import platform
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from loadtests import mix
from server.instance import TorchServe

_PACKAGES = ("torchserve", "torch", "locust", "grpcio", "gevent")


def machine() -> dict[str, object]:
    """Cores, memory and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "load_average_at_start": os.getloadavg()[0],
        "mix": {
            "senders": [asdict(sender) for sender in (mix.UPLOAD_FEED, mix.ANALYST, mix.PARTNER_FEED)],
            "pictures": {str(kind): kind.share for kind in mix.KINDS},
            "broken_share": mix.BROKEN_SHARE,
        },
    }


def _processor() -> str:
    with Path("/proc/cpuinfo").open() as lines:
        return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


@dataclass
class ProcessorTime:
    """Seconds of processor time during a run, by who used them."""

    server: float = 0
    load_generator: float = 0
    others: float = 0

    def __str__(self) -> str:
        total = self.server + self.load_generator + self.others or 1
        return (
            f"Of the processor time the server took {self.server / total:.0%}, the load generator "
            f"{self.load_generator / total:.0%}, and {self.others / total:.0%} went to other programs: "
            "the more of that, the less the figures say of the server."
        )


def _server_seconds(server: TorchServe) -> float:
    times = [process.cpu_times() for process in (server.process, *server.process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait - times.guest - times.guest_nice  # Linux counts guests in user


@contextmanager
def processor_time(server: TorchServe) -> Iterator[ProcessorTime]:
    """Counts until the block ends. Programs that were started and ended in it count as the load generator."""
    used = ProcessorTime()
    before = _server_seconds(server), _children_seconds(), _busy_seconds()
    yield used
    used.server = round(_server_seconds(server) - before[0], 1)
    used.load_generator = round(_children_seconds() - before[1], 1)
    used.others = round(max(0, _busy_seconds() - before[2] - used.server - used.load_generator), 1)
