"""What a start may take, and how much memory the three archives may hold, on two cores."""

import os

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
