"""The LitServe programs: `python -m benchmarks.peers.lit_app KIND FOLDER ...`, started by lit.py."""

import argparse
from pathlib import Path

import litserve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.backend import Backend
from benchmarks.peers.eager import EagerModel


class EagerApi(litserve.LitAPI):
    """The network as LitServe's own examples hold one. folder: weights and cards."""

    def __init__(self, folder: Path, **batching) -> None:
        super().__init__(**batching)
        self.folder = folder

    def setup(self, device):
        self.model = EagerModel(self.folder, device)

    def decode_request(self, request: Request):
        return self.model.prepare(request["image"].file.read())

    def predict(self, batch):
        if self.max_batch_size == 1:  # then LitServe hands over one picture, not a batch of one
            return self.model.probabilities(batch.unsqueeze(0))[0]
        return self.model.probabilities(batch)

    def encode_response(self, output):
        return self.model.answer(output)


class BackendApi(litserve.LitAPI):
    """Our handler. folder: the unpacked archive."""

    def __init__(self, folder: Path, **batching) -> None:
        super().__init__(**batching)
        self.folder = folder

    def setup(self, device):
        self.backend = Backend(self.folder)

    def decode_request(self, request: Request):
        return request["image"].file.read()

    def predict(self, batch):
        if self.max_batch_size == 1:
            return self.backend.answer([batch])[0]
        return self.backend.answer(batch)

    def encode_response(self, output):
        return Response(output, media_type="application/json")


APIS = {"eager": EagerApi, "backend": BackendApi}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=APIS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--batch-delay", type=float, required=True, help="milliseconds")
    arguments = parser.parse_args()
    api = APIS[arguments.kind](
        arguments.folder, max_batch_size=arguments.batch_size, batch_timeout=arguments.batch_delay / 1000
    )
    server = litserve.LitServer(api, devices=1, workers_per_device=arguments.workers, timeout=120)
    server.run(host="127.0.0.1", port=arguments.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
