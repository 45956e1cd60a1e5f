"""FastAPI under uvicorn."""

import json
from pathlib import Path

from benchmarks.load import HttpConnection, Load, drive
from benchmarks.peers.base import Conditions, Contender, ProgramServer
from server.instance import free_ports

NAME = "FastAPI, eager"


class FastApiServer(ProgramServer):
    """uvicorn with as many workers as the others."""

    def __init__(self) -> None:
        super().__init__("fastapi")

    def start(self, folder: Path, conditions: Conditions) -> None:
        (self.port,) = free_ports(1)
        command = [
            "-m", "uvicorn", "benchmarks.peers.fastapi_app:app", "--host", "127.0.0.1", "--port", str(self.port),
            "--workers", str(conditions.workers), "--log-level", "warning", "--no-access-log",
        ]  # fmt: skip
        self.launch(command, self.port, "/health", folder, {"BENCHMARK_RELEASED": str(conditions.released)})

    def load(self, paths: list[Path], requests: int, concurrency: int) -> Load:
        return drive(lambda: HttpConnection(self.port, "/predict", {}, "file"), paths, requests, concurrency)


def contenders() -> list[Contender]:
    server = FastApiServer()
    return [Contender(NAME, server, server.load, lambda answer: json.loads(answer)["probabilities"])]
