"""What the peers on TorchServe share: ours and the stock handler's run on the same server with the same settings."""

import json
from abc import abstractmethod
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests

from benchmarks.load import HttpConnection, Load, drive
from benchmarks.peers.base import Conditions, Server
from server.instance import TorchServe, free_addresses

_INSTANCE = "t"  # short: the path of a worker's socket must not exceed 107 bytes


def worker_settings(conditions: Conditions) -> dict[str, object]:
    """The members of an archive's settings that the benchmark holds equal."""
    return {
        "minWorkers": conditions.workers,
        "maxWorkers": conditions.workers,
        "batchSize": conditions.batch_size,
        "maxBatchDelay": conditions.batch_delay,
    }


class TorchServeServer(Server):
    """One TorchServe with config.properties as shipped, tokens on; a subclass says how its archives are built."""

    def __init__(self, models: tuple[str, ...]) -> None:
        self.models = models
        self.instance: TorchServe | None = None

    @abstractmethod
    def build(self, store: Path, conditions: Conditions) -> None:
        """Puts `<model>.mar` for each of the models into the folder."""

    def start(self, folder: Path, conditions: Conditions) -> None:
        store = folder / "store"
        self.build(store, conditions)
        self.instance = TorchServe(folder / _INSTANCE)
        loaded = ",".join(f"{model}.mar" for model in self.models)
        self.instance.start(changes={"model_store": str(store.resolve()), "load_models": loaded} | free_addresses())

    def stop(self) -> None:
        if self.instance:
            self.instance.stop()

    def roots(self) -> list[psutil.Process]:
        return [self.instance.process]

    def connection(self, model: str, headers: dict[str, str] | None = None) -> HttpConnection:
        """A connection of its own that asks one model over REST, with further headers where given."""
        port = urlsplit(self.instance.addresses.inference).port
        return HttpConnection(port, f"/predictions/{model}", self.instance.headers() | (headers or {}))

    def load(self, paths: list[Path], requests: int, concurrency: int) -> Load:
        """Asks the first model over REST."""
        return drive(lambda: self.connection(self.models[0]), paths, requests, concurrency)

    def counter(self, name: str, model: str) -> float:
        """A counter of TorchServe's metrics for a model, 0 before its first request."""
        text = requests.get(f"{self.instance.addresses.metrics}/metrics", timeout=10).text
        label = f"model_name={json.dumps(model)}"
        lines = (line for line in text.splitlines() if line.startswith(f"{name}{{") and label in line)
        return sum(float(line.rpartition(" ")[2]) for line in lines)
