"""Processor time and memory are counted over a tree of processes."""

import subprocess
import sys
import time

import psutil
import pytest

from measuring.processes import exit_on_signals, family, processor_seconds, proportional_bytes, stop

BURN = "import time\nwhile time.process_time() < 0.4: pass\n"
# A parent that does nothing: one child burns 0.4 s and ends, another burns 0.4 s and stays.
TREE = f"""
import subprocess, sys, time
subprocess.run([sys.executable, "-c", {BURN!r}])
child = subprocess.Popen([sys.executable, "-c", {BURN!r} + "print('done', flush=True); time.sleep(60)"])
time.sleep(60)
"""


@pytest.fixture
def tree():
    with subprocess.Popen([sys.executable, "-c", TREE], stdout=subprocess.PIPE, text=True) as parent:
        parent.stdout.readline()
        yield psutil.Process(parent.pid)
        parent.kill()


def test_ended_and_running_descendants_are_counted(tree):
    assert len(family([tree])) == 2
    spent = processor_seconds([tree])
    assert 0.75 < spent < 1.5
    time.sleep(0.3)
    assert processor_seconds([tree]) - spent < 0.05, "sleeping costs nothing"
    assert proportional_bytes([tree]) > 1_000_000


def test_a_suspended_tree_is_stopped(tree):
    members = family([tree])
    for process in members:
        process.suspend()
    stop(tree, timeout=1)
    assert not [process for process in members if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_a_signal_ends_a_program_by_an_exception():
    program = f"""
import os, signal
from {exit_on_signals.__module__} import exit_on_signals
exit_on_signals(status=2)
try:
    os.kill(os.getpid(), signal.SIGTERM)
finally:
    print("cleaned up")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "cleaned up\n")
