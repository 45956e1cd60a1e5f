"""LitServe as its README shows it, around the eager network: `python -m benchmarks.servers.litserve_eager PORT`.

All is left at LitServe's defaults: one worker a device, no batches.
"""

import os
import sys
from pathlib import Path

import litserve
import torch
from PIL import Image
from pillow_heif import register_heif_opener
from starlette.requests import Request

from benchmarks.servers.eager import EagerNetwork, answer_of, transform

FOLDER = Path(os.environ["BENCHMARK_MODEL"])


class EagerApi(litserve.LitAPI):
    """Answers the image in a form's field."""

    def setup(self, device: str) -> None:
        """Load the network."""
        register_heif_opener()
        self.network = EagerNetwork(FOLDER).to(device)
        self.to_views = transform(FOLDER)

    def decode_request(self, request: Request) -> torch.Tensor:
        """Return the views of the form's image. FastAPI reads the annotation of `request`."""
        return self.to_views(Image.open(request["image"].file).convert("RGB"))

    def predict(self, views: torch.Tensor) -> torch.Tensor:
        """Return the logits of one image."""
        with torch.inference_mode():
            return self.network(views.unsqueeze(0).to(self.device))[0]

    def encode_response(self, logits: torch.Tensor) -> dict[str, float]:
        """Return the probability of each class."""
        return answer_of(logits)


def main() -> None:
    """Serve until the process is ended."""
    server = litserve.LitServer(EagerApi(), accelerator="auto")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)


if __name__ == "__main__":
    main()
