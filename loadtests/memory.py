"""What the server's processes hold in memory while they are loaded."""

import contextlib
import csv
import math
import statistics
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from measuring.processes import family

INTERVAL = 5  # seconds between two samples
WARM_UP = 0.1  # of a run's samples, left out: caches fill and the heap takes its size
_WORKER = "model_service_worker.py"  # Java's other children are programs that it asks for metrics


class Sample(NamedTuple):
    """One process at one moment. process: "java" or "worker".

    uss: bytes that would be freed if the process ended. Unlike RSS it leaves out pages of libraries, which several
    processes share and which come and go with what else the machine does. rss, pss: beside it, in bytes.
    """

    second: float
    process: str
    pid: int
    uss: int
    rss: int = 0
    pss: int = 0


@contextlib.contextmanager
def sample_memory(java: psutil.Process, path: Path) -> Iterator[list[Sample]]:
    """Sample Java and its workers every INTERVAL seconds until the block ends, into the list and the CSV at `path`."""
    samples: list[Sample] = []
    done = threading.Event()
    started = time.monotonic()

    def keep_sampling() -> None:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(Sample._fields)
            while not done.is_set():
                taken = list(_take(java, round(time.monotonic() - started, 1)))
                samples.extend(taken)
                writer.writerows(taken)
                done.wait(INTERVAL)

    thread = threading.Thread(target=keep_sampling)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


def _take(java: psutil.Process, second: float) -> Iterator[Sample]:
    try:
        processes = family([java])
    except psutil.NoSuchProcess:
        return
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # it ended since it was listed
            if process == java or any(part.endswith(_WORKER) for part in process.cmdline()):
                memory, role = process.memory_full_info(), "java" if process == java else "worker"
                yield Sample(second, role, process.pid, memory.uss, memory.rss, memory.pss)


def growth(samples: Iterable[Sample], process: str) -> tuple[float, float] | None:
    """Return the USS of Java or all workers, as medians over the first tenth after the warm-up and the last tenth.

    None: there are too few samples for tenths.
    """
    held: dict[float, int] = {}
    for sample in samples:
        if sample.process == process:
            held[sample.second] = held.get(sample.second, 0) + sample.uss
    totals = [held[second] for second in sorted(held)]
    totals = totals[math.ceil(WARM_UP * len(totals)) :]
    tenth = len(totals) // 10
    return (statistics.median(totals[:tenth]), statistics.median(totals[-tenth:])) if tenth else None


def ended_processes(samples: Sequence[Sample]) -> int:
    """Return how many processes were there at one sample and not at the last."""
    at_the_end = {sample.pid for sample in samples if sample.second == samples[-1].second}
    return len({sample.pid for sample in samples} - at_the_end)
