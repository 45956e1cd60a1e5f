"""How far one worker fills a GPU: batch sizes 1 to 256 in process, and the share of the device that is used."""

import subprocess
import time
from collections.abc import Callable
from unittest import mock

import torch

from benchmarks.peers.backend import Backend

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS = 2.0  # of each measurement: nvidia-smi averages over a sixth of a second to one
_QUERY = [
    "nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits",
    "--loop-ms=200", "--id=0",
]  # fmt: skip


def read_samples(text: str) -> tuple[float, float]:
    """The mean share of time (0..1) in which the device computed, and the most MiB in use, of nvidia-smi's lines.

    Raises ValueError where there is no line.
    """
    samples = [tuple(float(value) for value in line.split(",")) for line in text.splitlines() if line.strip()]
    if not samples:
        raise ValueError("nvidia-smi reported nothing")
    busy, used = zip(*samples, strict=True)
    return sum(busy) / len(busy) / 100, max(used)


def repeat(work: Callable[[], object], pictures: int, seconds: float) -> dict[str, float]:
    """Does the work over and over; returns pictures a second and what nvidia-smi saw of the device meanwhile."""
    work()
    with subprocess.Popen(_QUERY, stdout=subprocess.PIPE, text=True) as sampler:
        start, done = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            work()
            done += pictures
        took = time.perf_counter() - start
        sampler.terminate()
        busy, used = read_samples(sampler.stdout.read())
    return {"pictures_per_second": done / took, "device_used": busy, "device_mib": used}


def batch_sizes(backend: Backend, pictures: list[bytes], seconds: float = SECONDS) -> dict[int, dict[str, dict]]:
    """Batch size -> "whole" (from file to answer) and "inference" (the network alone) -> what `repeat` measured.

    Stops, without an error, at the first batch that does not fit the device's memory.
    """
    found: dict[int, dict[str, dict]] = {}
    for size in BATCH_SIZES:
        batch = [pictures[item % len(pictures)] for item in range(size)]
        try:
            with mock.patch.object(backend.handler, "infer", wraps=backend.handler.infer) as spied:
                backend.answer(batch)
            prepared = spied.call_args.args[0]
            found[size] = {
                "whole": repeat(lambda batch=batch: backend.answer(batch), size, seconds),
                "inference": repeat(lambda prepared=prepared: backend.handler.infer(prepared), size, seconds),
            }
        except torch.cuda.OutOfMemoryError:
            break
    return found
