"""The in-process limit: our handler over the same bytes in as many processes, with no server and no network."""

import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

from benchmarks import processes
from benchmarks.load import Load, spread_over
from benchmarks.peers import backend
from benchmarks.peers.base import ROOT, Conditions, Contender, PeerError, Server

SINGLE = "in process, one by one"
BATCHED = "in process, batches"


class Pool(Server):
    """Processes that answer as fast as the handler allows."""

    def __init__(self) -> None:
        self._workers: list[subprocess.Popen] = []

    def start(self, folder: Path, conditions: Conditions) -> None:
        self.batch_size = conditions.batch_size
        log_file = folder / "in_process.log"
        with log_file.open("ab") as log:
            for _ in range(conditions.workers):
                self._workers.append(
                    subprocess.Popen(
                        [sys.executable, "-m", "benchmarks.peers.in_process_worker", str(conditions.unpacked)],
                        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1,
                    )
                )  # fmt: skip
        for worker in self._workers:
            if not worker.stdout.readline():
                self.stop()
                raise PeerError(
                    f"an in-process worker did not start.\n{(folder / 'in_process.log').read_text()[-4000:]}"
                )

    def stop(self) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                processes.stop(psutil.Process(worker.pid))
            worker.communicate()
        self._workers = []

    def roots(self) -> list[psutil.Process]:
        return [psutil.Process(worker.pid) for worker in self._workers]

    def load(self, paths: list[Path], requests: int, batch: int) -> Load:
        """Raises PeerError where a worker died."""
        start = time.perf_counter()
        shares = spread_over(requests, len(self._workers))
        busy = [(worker, count) for worker, count in zip(self._workers, shares, strict=True) if count]
        for worker, count in busy:
            print(
                json.dumps({"paths": [str(path) for path in paths], "count": count, "batch": batch}), file=worker.stdin
            )
        lines = [worker.stdout.readline() for worker, _ in busy]
        seconds = time.perf_counter() - start
        if not all(lines):
            raise PeerError("an in-process worker died")
        replies = [json.loads(line) for line in lines]
        return Load(
            [latency for reply in replies for latency in reply["latencies"]], seconds, replies[0]["answer"].encode()
        )


def contenders() -> list[Contender]:
    pool = Pool()
    return [
        Contender(SINGLE, pool, lambda paths, requests, _: pool.load(paths, requests, 1), backend.probabilities),
        Contender(
            BATCHED,
            pool,
            lambda paths, requests, _: pool.load(paths, requests, pool.batch_size),
            backend.probabilities,
        ),
    ]
