"""ImageTrust Serve: the archives of this project, asked over REST and gRPC."""

import json
from pathlib import Path

from archive_scripts.build import ENDPOINTS, build
from benchmarks.load import Load, drive
from benchmarks.peers import backend
from benchmarks.peers.base import Conditions, Contender
from benchmarks.peers.torchserve import TorchServeServer, worker_settings
from clients.grpc import GrpcClient

REST = "ours, REST"
GRPC = "ours, gRPC"
TOGETHER = "both questions, one request"
SEPARATE = "both questions, two requests"

# The endpoint that says authenticity and generator type in one answer, and the option that leaves out the rest.
ANSWERS_BOTH, OPTIONS = "explanation", {"ImageTrust-Detail": "verdicts"}


class Ours(TorchServeServer):
    """The archive of `authenticity`."""

    def __init__(self) -> None:
        super().__init__((backend.ENDPOINT,))

    def build(self, store: Path, conditions: Conditions) -> None:
        build(backend.ENDPOINT, conditions.released, store, worker_settings(conditions))

    def load_grpc(self, paths: list[Path], requests: int, concurrency: int) -> Load:
        """Asks over one gRPC channel, which carries all concurrent requests."""
        addresses = self.instance.addresses
        with GrpcClient(addresses.grpc_inference, self.instance.token("inference")) as client:

            def ask(picture: bytes) -> bytes:
                return json.dumps(client.ask(self.models[0], picture)).encode()

            return drive(lambda: ask, paths, requests, concurrency)


class OursWhole(TorchServeServer):
    """All three archives as shipped, with one worker each."""

    def __init__(self) -> None:
        super().__init__(ENDPOINTS)

    def build(self, store: Path, conditions: Conditions) -> None:
        for endpoint in ENDPOINTS:
            build(endpoint, conditions.released, store, {"minWorkers": 1, "maxWorkers": 1})

    def load_together(self, paths: list[Path], requests: int, concurrency: int) -> Load:
        """One request that answers both questions."""
        return drive(lambda: self.connection(ANSWERS_BOTH, OPTIONS), paths, requests, concurrency)

    def load_separate(self, paths: list[Path], requests: int, concurrency: int) -> Load:
        """Two requests, the second once the first is answered; counted as one."""

        def connect():
            authenticity, generator_type = self.connection("authenticity"), self.connection("generator_type")

            def ask(picture: bytes) -> bytes:
                answer = authenticity(picture)
                generator_type(picture)
                return answer

            return ask

        return drive(connect, paths, requests, concurrency)


def contenders() -> list[Contender]:
    server = Ours()
    return [
        Contender(REST, server, server.load, backend.probabilities),
        Contender(GRPC, server, server.load_grpc, backend.probabilities),
    ]


def both_questions() -> list[Contender]:
    """Authenticity and generator type of each picture, on a server of their own with all three endpoints."""
    server = OursWhole()
    return [
        Contender(TOGETHER, server, server.load_together, _authenticity_of_both),
        Contender(SEPARATE, server, server.load_separate, backend.probabilities),
    ]


def _authenticity_of_both(answer: bytes) -> dict[str, float]:
    return backend.probabilities(json.dumps(json.loads(answer)["inferred"]["authenticity"]).encode())
