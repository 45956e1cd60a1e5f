"""What the server's processes hold in memory while they are loaded."""

import csv
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import psutil

from server.instance import TorchServe

INTERVAL = 5  # seconds between two looks
_WORKER = "model_service_worker.py"  # Java's other children are programs that it asks for metrics


@dataclass(frozen=True)
class Sample:
    """One process at one moment. second: after the start; memory in bytes.

    own: what would be freed if the process ended (USS). Unlike RSS it leaves out libraries' pages, which several
    processes share and which come and go with what else the machine does. proportional: with its share of those (PSS).
    """

    second: float
    process: str  # "java" or "worker"
    pid: int
    resident: int
    own: int
    proportional: int


def _look(java: psutil.Process, second: float) -> Iterator[Sample]:
    for process in _family(java):
        try:
            if process != java and not any(part.endswith(_WORKER) for part in process.cmdline()):
                continue
            memory = process.memory_full_info()
        except psutil.NoSuchProcess:  # it ended since it was listed
            continue
        role = "java" if process == java else "worker"
        yield Sample(round(second, 1), role, process.pid, memory.rss, memory.uss, memory.pss)


def _family(java: psutil.Process) -> list[psutil.Process]:
    try:
        return [java, *java.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@contextmanager
def watched(server: TorchServe, path: Path) -> Iterator[list[Sample]]:
    """Looks every INTERVAL seconds until the block ends; the list fills meanwhile, and so does the CSV at `path`."""
    samples: list[Sample] = []
    done = threading.Event()
    java = server.process
    started = time.monotonic()

    def keep_looking() -> None:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Sample)])
            writer.writeheader()
            while not done.is_set() and java.is_running():
                seen = list(_look(java, time.monotonic() - started))
                samples.extend(seen)
                writer.writerows(asdict(sample) for sample in seen)
                file.flush()
                done.wait(INTERVAL)

    thread = threading.Thread(target=keep_looking)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()
