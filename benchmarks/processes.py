"""What a server's processes cost: the one that was started and all that it started in turn."""

import contextlib
import signal
import sys
from collections.abc import Iterable

import psutil


def family(roots: Iterable[psutil.Process]) -> list[psutil.Process]:
    """The roots, each followed by its descendants at the moment."""
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def processor_seconds(roots: Iterable[psutil.Process]) -> float:
    """User and system time so far of the roots, their descendants, and descendants that have ended since."""
    return sum(sum(process.cpu_times()[:4]) for process in family(roots))


def proportional_bytes(roots: Iterable[psutil.Process]) -> int:
    """Memory of the roots and descendants as PSS: a page that n processes share counts 1/n in each."""
    return sum(process.memory_full_info().pss for process in family(roots))


def stop(root: psutil.Process, timeout: float = 2) -> None:
    """Ends a process and its descendants, by force those still there after `timeout` seconds."""
    members = family([root])
    for process in members:
        _send(process, signal.SIGCONT)  # a process that is suspended hears no other signal
    _send(root, signal.SIGTERM)
    _, alive = psutil.wait_procs(members, timeout=timeout)
    for process in alive:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(alive, timeout=5)


def end_in_order() -> None:
    """Makes SIGTERM and SIGHUP end this program by SystemExit, so that it stops the servers that it started."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)
