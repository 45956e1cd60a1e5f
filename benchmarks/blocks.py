"""Interleaved blocks: every system in turn, many times over, so that what disturbs the machine disturbs all."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.client import Load
from benchmarks.systems import Server, System, probabilities
from measuring.processes import processor_seconds, proportional_bytes
from measuring.summary import percentile


@dataclass
class Measurements:
    """Of one system at one image size: a value a block, and the seconds of every request."""

    cpu_ms: list[float] = field(default_factory=list)
    requests_per_second: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def metrics(self) -> dict[str, object]:
        """Return the values of the blocks, and the latency percentiles of all requests in ms."""
        percentiles = {f"p{share}_ms": 1000 * percentile(self.latencies, share / 100) for share in (50, 95, 99)}
        return {"cpu_ms": self.cpu_ms, "requests_per_second": self.requests_per_second, **percentiles}


def run_block(system: System, images: Sequence[bytes], requests: int, concurrency: int) -> tuple[Load, float]:
    """Send the requests; return what the client measured and the server's CPU milliseconds a request."""
    server = system.server
    server.resume()
    before = processor_seconds(server.roots())
    load = system.load(images, requests, concurrency)
    spent = processor_seconds(server.roots()) - before
    server.pause()
    return load, 1000 * spent / requests


def interleave(
    systems: Mapping[str, Sequence[System]],
    images: Mapping[str, Sequence[bytes]],
    requests: Mapping[str, int],
    blocks: int,
    concurrency: int,
    report: Callable[[str], None],
) -> dict[str, dict[str, Measurements]]:
    """Return size -> system -> its measurements, after one block that is not counted.

    systems, images, requests (of one block): by image size. Each block has an order of its own, the same in every run,
    so that no system always follows the same other.
    """
    order = random.Random(0)
    measured = {size: {system.name: Measurements() for system in systems[size]} for size in systems}
    for number in range(blocks + 1):
        for size in systems:
            for system in order.sample(systems[size], len(systems[size])):
                load, cpu_ms = run_block(system, images[size], requests[size], concurrency)
                if number:
                    row = measured[size][system.name]
                    row.cpu_ms.append(cpu_ms)
                    row.requests_per_second.append(len(load.latencies) / load.seconds)
                    row.latencies += load.latencies
        report(f"  block {number} of {blocks}" if number else "  the block that is not counted")
    return measured


def measure_idle(server: Server, seconds: float) -> dict[str, float]:
    """Return memory (PSS, MB) and processor time (ms a second) of a running server without requests."""
    server.resume()
    before = processor_seconds(server.roots())
    time.sleep(seconds)
    spent = processor_seconds(server.roots()) - before
    memory = proportional_bytes(server.roots())
    server.pause()
    return {"memory_mb": memory / 1e6, "idle_cpu_ms_per_second": 1000 * spent / seconds}


def agreement(systems: Sequence[System], images: Sequence[bytes]) -> dict[str, dict[str, float]]:
    """Return, by system, how far its answers are from the first system's: whether the same model answers.

    "same_labels" is the share of the images, "largest_difference" that of a class's probability.
    """
    found: dict[str, dict[str, float]] = {}
    reference: list[dict[str, float]] = []
    for system in systems:
        system.server.resume()
        answers = [probabilities(system.load([image], 1, 1).answer) for image in images]
        system.server.pause()
        reference = reference or answers
        pairs = list(zip(answers, reference, strict=True))
        same = sum(max(one, key=one.__getitem__) == max(other, key=other.__getitem__) for one, other in pairs)
        found[system.name] = {
            "same_labels": same / len(pairs),
            "largest_difference": max(abs(one[name] - other[name]) for one, other in pairs for name in other),
        }
    return found
