"""What every endpoint shares: one TorchServe worker's life over one predictor."""

import json
import logging
from pathlib import Path
from typing import Any

import torch

from handlers.payload import read_request
from imagetrust.errors import AnswerError
from imagetrust.predictor import Predictor
from imagetrust.request import Request

logger = logging.getLogger(__name__)

MODEL = "model"  # the folder in an archive that holds the model
_PHRASES = {400: "Bad Request", 500: "Internal Server Error"}


class Endpoint:
    """Created by TorchServe once a worker, called for every batch. A subclass names its question."""

    question: str

    def initialize(self, context: Any) -> None:
        """Load the model on the device that TorchServe assigned to this worker."""
        # TorchServe's worker logs that every batch arrived; Java would read that from a pipe and write it to a file.
        logging.getLogger().addFilter(lambda record: not str(record.msg).startswith("Backend received inference"))
        properties, settings = context.system_properties, (context.model_yaml_config or {}).get("handler", {})
        gpu, device = properties.get("gpu_id"), torch.device("cpu")
        if gpu is not None and torch.cuda.is_available():
            device = torch.device("cuda", int(gpu))
        elif gpu is not None:
            logger.warning("TorchServe assigned GPU %s, but torch can use none: serving on the processor", gpu)
        threads = int(settings.get("threads", 1))
        torch.set_num_threads(threads)
        self.predictor = Predictor(
            Path(properties["model_dir"]) / MODEL,
            device,
            threads,
            settings.get("precision", "auto"),
            settings.get("manifest_hosts") or (),
        )
        logger.info("%s ready: %s, %d thread(s)", self.question, self.predictor.engine.name, threads)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer a batch: the text of one JSON object an item, in order, with its own status."""
        requests: list[Request | AnswerError] = []
        for index, fields in enumerate(data):
            try:
                requests.append(read_request(fields, context.get_all_request_header(index)))
            except AnswerError as error:
                requests.append(error)
        bodies = []
        for index, answer in enumerate(self.predictor.predict(requests, self.question)):
            context.set_response_content_type(index, "application/json")
            if isinstance(answer, AnswerError):
                context.set_response_status(answer.status, _PHRASES[answer.status], index)
                answer = answer.as_json()
            # TorchServe would indent an object, which takes Python's slow encoder and a tenth more bytes.
            bodies.append(json.dumps(answer, separators=(",", ":"), allow_nan=False))
        return bodies
