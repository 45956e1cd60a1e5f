"""What a start may take, and how much memory the three archives may hold, on two cores."""

import os
import subprocess
import sys

import pytest

from archive_scripts.build import ENDPOINTS
from clients.rest import ask
from tests.procedural import encoded

MAX_SECONDS = 20  # from the start to the last worker's being ready
MAX_MEGABYTES = 2000  # of Java and all workers, what they share counted once (PSS)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) > 2, reason="the budget is for two cores; this machine has more")
def test_start_and_memory_stay_within_budget(started, photo):
    server, seconds = started
    large = encoded(photo.resize((4000, 3000)), "JPEG", quality=90)
    for _ in range(4):
        for endpoint in ENDPOINTS:
            status, _ = ask(server.addresses.inference, endpoint, large, server.token("inference"))
            assert status == 200
    processes = [server.process, *server.process.children(recursive=True)]
    megabytes = sum(process.memory_full_info().pss for process in processes) / 1e6
    assert seconds < MAX_SECONDS and megabytes < MAX_MEGABYTES, f"{seconds:.1f} s, {megabytes:.0f} MB"
    print(f"ready after {seconds:.1f} s, {megabytes:.0f} MB in {len(processes)} processes")


BLOCKS = """
import re
import numpy
def heap():
    parts = open("/proc/self/smaps").read().split("[heap]")[1:]
    return sum(int(re.search(r"Private_Dirty: +(\\d+)", part)[1]) for part in parts)
before, kept = heap(), []
for size in (30, 20, 10, 5, 2, 1) * 20:
    block = numpy.ones(size * 2**20, numpy.uint8)
    kept.append(bytes(100_000))
    del block
print((heap() - before) // 1024)
"""


def test_what_an_image_takes_goes_back_to_the_system_with_it(server):
    """Small blocks come to lie among those of up to 32 MiB, which glibc keeps by default."""
    worker = next(p for p in server.process.children() if "model_service_worker" in " ".join(p.cmdline()))
    shipped = worker.environ()
    usual = {name: value for name, value in shipped.items() if not name.startswith("MALLOC_")}

    def grown(environment: dict[str, str]) -> int:
        done = subprocess.run(
            [sys.executable, "-c", BLOCKS], env=environment, capture_output=True, text=True, check=True
        )
        return int(done.stdout)

    assert grown(shipped) < 20 < grown(usual)  # MiB; 12 of them are kept
