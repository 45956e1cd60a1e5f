"""LitServe: with the eager network, and with our handler in its hands."""

import json
import signal
from pathlib import Path

from benchmarks import processes
from benchmarks.load import HttpConnection, Load, drive
from benchmarks.peers import backend
from benchmarks.peers.base import Conditions, Contender, ProgramServer
from server.instance import free_ports

EAGER = "LitServe, eager"
BATCHED = "LitServe, our backend, batches"
SINGLE = "LitServe, our backend, one by one"


class LitServer(ProgramServer):
    """kind: one of lit_app.APIS. batched: with the batch size and delay of the others, or LitServe's default of one."""

    def __init__(self, kind: str, batched: bool) -> None:
        super().__init__(f"litserve_{kind}_{'batched' if batched else 'single'}")
        self._kind = kind
        self._batched = batched

    def start(self, folder: Path, conditions: Conditions) -> None:
        (self.port,) = free_ports(1)
        model = conditions.unpacked if self._kind == "backend" else conditions.released
        batch_size, batch_delay = (conditions.batch_size, conditions.batch_delay) if self._batched else (1, 0)
        command = [
            "-m", "benchmarks.peers.lit_app", self._kind, str(model), "--port", str(self.port),
            "--workers", str(conditions.workers), "--batch-size", str(batch_size), "--batch-delay", str(batch_delay),
        ]  # fmt: skip
        self.launch(command, self.port, "/health", folder, {})
        self.rest()

    def load(self, paths: list[Path], requests: int, concurrency: int) -> Load:
        return drive(lambda: HttpConnection(self.port, "/predict", {}, "image"), paths, requests, concurrency)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def rest(self) -> None:
        # With batches LitServe's workers ask their queue a thousand times a second, 200 CPU milliseconds of each.
        self._signal(signal.SIGSTOP)

    def _signal(self, number: signal.Signals) -> None:
        for process in processes.family(self.roots()):
            process.send_signal(number)


def contenders() -> list[Contender]:
    eager, batched, single = LitServer("eager", False), LitServer("backend", True), LitServer("backend", False)
    return [
        Contender(EAGER, eager, eager.load, lambda answer: json.loads(answer)["probabilities"]),
        Contender(BATCHED, batched, batched.load, backend.probabilities),
        Contender(SINGLE, single, single.load, backend.probabilities),
    ]
