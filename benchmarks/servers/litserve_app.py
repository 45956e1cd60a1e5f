"""LitServe around our predictor: `python -m benchmarks.servers.litserve_app FOLDER --port ...`."""

from pathlib import Path
from typing import Any

import litserve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.servers.in_process import answer_batch, load_predictor, read_arguments


class PredictorApi(litserve.LitAPI):
    """Answers the image in a form's field. folder: the serving folder."""

    folder: Path

    def setup(self, device: str) -> None:
        """Load the predictor."""
        self.predictor = load_predictor(self.folder)

    def decode_request(self, request: Request) -> bytes:
        """Return the form's image. FastAPI reads the annotation of `request`."""
        return request["image"].file.read()

    def predict(self, batch: Any) -> Any:
        """Return the JSON answer to one image, or to each of a batch."""
        single = self.max_batch_size == 1  # then LitServe hands over one image, not a batch of one
        answers = answer_batch(self.predictor, [batch] if single else batch)
        return answers[0] if single else answers

    def encode_response(self, answer: bytes) -> Response:
        """Return the answer as it is."""
        return Response(answer, media_type="application/json")


def main() -> None:
    """Serve until the process is ended."""
    arguments = read_arguments()
    api = PredictorApi(max_batch_size=arguments.batch_size, batch_timeout=arguments.batch_delay / 1000)
    api.folder = arguments.folder
    server = litserve.LitServer(api, devices=1, workers_per_device=arguments.workers, timeout=120)
    server.run(host="127.0.0.1", port=arguments.port, generate_client_file=False, log_level="warning")


if __name__ == "__main__":
    main()
