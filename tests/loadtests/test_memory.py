"""Memory is sampled by process, and its growth is told from its warm-up."""

import subprocess
import sys
import time

import psutil
import pytest

from loadtests import memory
from loadtests.memory import Sample, ended_processes, growth, sample_memory


def test_a_running_server_is_sampled(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "INTERVAL", 0.05)
    worker = ["-c", "import time; time.sleep(60)", memory._WORKER]
    program = f"import subprocess, sys; subprocess.run([sys.executable, *{worker!r}])"
    with subprocess.Popen([sys.executable, "-c", program]) as server:
        process = psutil.Process(server.pid)
        while not process.children():
            time.sleep(0.02)
        with sample_memory(process, tmp_path / "memory.csv") as samples:
            time.sleep(0.3)
        for child in process.children():
            child.kill()
    assert {sample.process for sample in samples} == {"java", "worker"}
    assert all(1_000_000 < sample.uss <= sample.rss for sample in samples)
    assert len((tmp_path / "memory.csv").read_text().splitlines()) == len(samples) + 1


def samples(*held: float, process: str = "java") -> list[Sample]:
    return [Sample(5.0 * index, process, 1, int(value)) for index, value in enumerate(held)]


def test_growth_leaves_out_the_warm_up():
    assert growth(samples(*[300] * 10, *[400] * 90), "java") == (400, 400)
    assert growth(samples(*range(1000, 1100)), "java") == (pytest.approx(1014, abs=1), pytest.approx(1095, abs=1))
    assert growth(samples(1, 2, 3), "java") is None


def test_growth_adds_up_the_workers():
    both = samples(*[100] * 50, process="worker") + samples(*[150] * 50, process="worker")
    assert growth(both, "worker") == (250, 250)


def test_an_ended_process_is_counted():
    replaced = [Sample(0, "worker", 2, 1), Sample(5, "worker", 3, 1)]
    assert ended_processes(replaced) == 1 and ended_processes(replaced[:1]) == 0 and ended_processes([]) == 0
