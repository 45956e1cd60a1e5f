"""What a server's processes cost: the one that was started and all that it started in turn."""

import contextlib
import signal
import sys
from collections.abc import Iterable

import psutil


def family(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return the roots, each followed by its descendants at the moment."""
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def processor_seconds(roots: Iterable[psutil.Process]) -> float:
    """Return the user and system time so far of the roots, their descendants, and descendants that have ended."""
    return sum(sum(process.cpu_times()[:4]) for process in family(roots))


def proportional_bytes(roots: Iterable[psutil.Process]) -> int:
    """Return the memory of roots and descendants as PSS: a page that n processes share counts 1/n in each."""
    return sum(process.memory_full_info().pss for process in family(roots))


def stop(root: psutil.Process, timeout: float = 2) -> None:
    """End a process and its descendants, by force those that are still there after `timeout` seconds."""
    members = family([root])
    for process in members:
        _send(process, signal.SIGCONT)  # a suspended process receives no other signal
    _send(root, signal.SIGTERM)
    _, alive = psutil.wait_procs(members, timeout=timeout)
    for process in alive:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def exit_on_signals(status: int | None = None) -> None:
    """Make SIGTERM and SIGHUP raise SystemExit, so that a program stops the servers that it started.

    status: the exit status; None: 128 and the number of the signal, as shells have it.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received if status is None else status))


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
