"""Blocks are interleaved, and a server's processor time is counted without the client's."""

import json
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks.blocks import Measurements, agreement, interleave, measure_idle, run_block
from benchmarks.client import Load
from benchmarks.systems import Server, System

# Burns so many CPU seconds for a line, then answers it.
PROGRAM = """
import sys, time
for line in sys.stdin:
    end = time.process_time() + float(line)
    while time.process_time() < end: pass
    print(flush=True)
"""


class Burning(Server):
    """A server whose cost is known."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.paused: list[bool] = []

    def start(self, folder, setup):
        """Is up already."""

    def stop(self):
        self.process.kill()
        self.process.communicate()

    def roots(self):
        return [psutil.Process(self.process.pid)]

    def pause(self):
        self.paused.append(True)

    def resume(self):
        self.paused.append(False)


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.fixture
def burning():
    server = Burning()
    yield server
    server.stop()


def system(name: str, server: Server, cpu_seconds: float = 0.0, answer: bytes = b"{}", seen: list | None = None):
    def load(images, requests, concurrency) -> Load:
        if seen is not None:
            seen.append(name)
        for _ in range(requests):
            burn(0.02)  # the client's own time
            print(cpu_seconds, file=server.process.stdin)
            server.process.stdout.readline()
        return Load([0.1] * requests, 0.1 * requests, answer)

    return System(name, server, load)


def test_the_processor_time_of_a_known_server_is_counted_alone(burning):
    load, cpu_ms = run_block(system("a", burning, cpu_seconds=0.1), [b""], requests=5, concurrency=1)
    assert cpu_ms == pytest.approx(100, abs=10) and len(load.latencies) == 5
    assert burning.paused == [False, True], "it runs in its own block alone"


def test_an_idle_server_costs_memory_alone(burning):
    run_block(system("a", burning), [b""], requests=1, concurrency=1)
    idle = measure_idle(burning, seconds=0.2)
    assert idle["idle_cpu_ms_per_second"] < 60 and 2 < idle["memory_mb"] < 200


def test_blocks_are_interleaved_and_the_first_is_not_counted(burning):
    names, seen = ["one", "two", "three"], []
    rows = [system(name, burning, seen=seen) for name in names]
    measured = interleave({"small": rows}, {"small": [b""]}, {"small": 2}, 4, 1, report=lambda line: None)
    blocks = [tuple(seen[start : start + 3]) for start in range(0, 15, 3)]
    assert len(seen) == 15 and all(set(block) == set(names) for block in blocks) and len(set(blocks)) > 1
    assert {name: len(row.cpu_ms) for name, row in measured["small"].items()} == dict.fromkeys(names, 4)
    assert measured["small"]["one"].requests_per_second == pytest.approx([10] * 4)
    assert len(measured["small"]["one"].latencies) == 8


def test_metrics_have_percentiles_in_milliseconds():
    metrics = Measurements([1.0], [2.0], [index / 1000 for index in range(1, 101)]).metrics()
    assert metrics == {"cpu_ms": [1.0], "requests_per_second": [2.0], "p50_ms": 50, "p95_ms": 95, "p99_ms": 99}


def test_agreement_is_with_the_first_system(burning):
    answers = [{"real": 0.6, "generated": 0.4}, {"real": 0.5, "generated": 0.5001}]
    rows = [system(str(index), burning, answer=json.dumps(answer).encode()) for index, answer in enumerate(answers)]
    assert agreement(rows, [b"", b""]) == {
        "0": {"same_labels": 1, "largest_difference": 0},
        "1": {"same_labels": 0, "largest_difference": pytest.approx(0.1001)},
    }
