"""Interleaved blocks: every contender in turn, many times over, so that what disturbs the machine disturbs all."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks import processes
from benchmarks.load import Load
from benchmarks.peers.base import Conditions, Contender, PeerError, Server

STARTING_AT_ONCE = 3  # while one waits for the disk or for a worker, another computes
LEAST_FREE_BYTES = 1_500_000_000  # what a server under test may take when it starts


@dataclass
class Measured:
    """Of one contender at one size: a value a block, and the seconds of every request."""

    cpu_ms: list[float] = field(default_factory=list)
    requests_per_second: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)

    def add(self, load: Load, cpu_ms: float) -> None:
        """Adds what `block` returned."""
        self.cpu_ms.append(cpu_ms)
        self.requests_per_second.append(len(load.latencies) / load.seconds)
        self.latencies += load.latencies


@dataclass(frozen=True)
class Task:
    """Pictures of one size for some contenders. requests: in one block of one contender."""

    size: str
    paths: list[Path]
    contenders: list[Contender]
    requests: int


def servers_of(contenders: list[Contender]) -> list[Server]:
    """Each server once."""
    return list(dict.fromkeys(contender.server for contender in contenders))


def start_all(servers: list[Server], folder: Path, conditions: Conditions, report: Callable[[str], None]) -> None:
    """Starts the servers, to stay up together. Raises PeerError where memory runs short."""

    def start(number: int) -> None:
        if psutil.virtual_memory().available < LEAST_FREE_BYTES:
            raise PeerError(f"too little memory is free to hold {len(servers)} servers at once")
        place = folder / str(number)
        place.mkdir(parents=True)
        servers[number].start(place, conditions)
        report(f"  server {number + 1} of {len(servers)} is up")

    with ThreadPoolExecutor(STARTING_AT_ONCE) as pool:
        list(pool.map(start, range(len(servers))))


def stop_all(servers: list[Server]) -> None:
    """Stops them side by side: each waits for its own processes."""
    with ThreadPoolExecutor(len(servers)) as pool:
        list(pool.map(lambda server: server.stop(), servers))


def block(contender: Contender, paths: list[Path], requests: int, concurrency: int) -> tuple[Load, float]:
    """Sends the requests; returns what the client saw and the server's CPU milliseconds a request."""
    server = contender.server
    server.wake()
    before = processes.processor_seconds(server.roots())
    load = contender.load(paths, requests, concurrency)
    spent = processes.processor_seconds(server.roots()) - before
    server.rest()
    return load, 1000 * spent / requests


def interleave(
    tasks: list[Task], blocks: int, concurrency: int, report: Callable[[str], None]
) -> dict[str, dict[str, Measured]]:
    """Size -> contender -> what was measured, after one block that is not counted.

    Each block has an order of its own, the same in every run, so that none always follows the same other.
    """
    order = random.Random(0)
    measured = {task.size: {contender.name: Measured() for contender in task.contenders} for task in tasks}
    for number in range(blocks + 1):
        for task in tasks:
            for contender in order.sample(task.contenders, len(task.contenders)):
                outcome = block(contender, task.paths, task.requests, concurrency)
                if number:
                    measured[task.size][contender.name].add(*outcome)
        report(f"  block {number} of {blocks}" if number else "  the block that is not counted")
    return measured


def at_rest(server: Server, seconds: float) -> dict[str, float]:
    """Memory (PSS, MB) and processor time (ms a second) of an awake server that nobody asks, watched for so long."""
    server.wake()
    before = processes.processor_seconds(server.roots())
    time.sleep(seconds)
    spent = processes.processor_seconds(server.roots()) - before
    memory = processes.proportional_bytes(server.roots())
    server.rest()
    return {"memory_mb": memory / 1e6, "idle_cpu_ms_per_second": 1000 * spent / seconds}


def agreement(contenders: list[Contender], paths: list[Path]) -> dict[str, dict[str, float]]:
    """Contender -> how far its answers are from the first contender's: whether it is the same model that answers.

    "same_labels" is the share of the pictures, "largest_difference" that of a class's probability.
    """
    found: dict[str, dict[str, float]] = {}
    reference: list[dict[str, float]] = []
    for contender in contenders:
        contender.server.wake()
        answers = [contender.probabilities(contender.load([path], 1, 1).answer) for path in paths]
        contender.server.rest()
        reference = reference or answers
        pairs = list(zip(answers, reference, strict=True))
        found[contender.name] = {
            "same_labels": sum(max(mine, key=mine.get) == max(first, key=first.get) for mine, first in pairs)
            / len(pairs),
            "largest_difference": max(abs(mine[name] - first[name]) for mine, first in pairs for name in first),
        }
    return found
