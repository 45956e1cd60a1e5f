"""The life of a request batch, the same for every endpoint: decode -> preprocess -> infer -> answer.

An endpoint is a subclass that says which models it uses and fills in `prepare`, `infer` and `answer`. Each item
of a batch is kept apart: what goes wrong with one becomes the answer to that one.
"""

import json
import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch

from handlers.classifier import Classifier
from handlers.decode import Picture, decode
from handlers.errors import RequestError
from handlers.payload import Request, read_request

logger = logging.getLogger(__name__)


class BatchHandler(ABC):
    """What TorchServe creates once a worker and calls for every batch."""

    model_names: tuple[str, ...]  # of the released models that the endpoint needs

    def initialize(self, context) -> None:
        """Loads the models once, on the device that TorchServe assigned to this worker."""
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        device = (
            torch.device("cuda", int(gpu)) if gpu is not None and torch.cuda.is_available() else torch.device("cpu")
        )
        threads = (context.model_yaml_config or {}).get("handler", {}).get("threads")
        if threads:
            torch.set_num_threads(int(threads))
        folder = Path(properties["model_dir"])
        self.classifiers = {name: Classifier(folder, name, device) for name in self.model_names}
        logger.info("%s ready on %s with %d thread(s)", type(self).__name__, device, torch.get_num_threads())

    def handle(self, data: list[dict[str, Any]], context) -> list[str]:
        """Answers a batch: the text of one JSON object an item, in order, with status 400 on those at fault."""
        answers: list[dict[str, Any] | None] = [None] * len(data)
        prepared = {}
        for index, fields in enumerate(data):
            try:
                # TorchServe's route /explanations calls the same handler and says so in a header.
                explain = context.get_request_header(index, "explain") == "True"
                request = read_request(fields, explain)
                prepared[index] = self.prepare(decode(request.picture), request)
            except Exception as error:
                answers[index] = self._fault(index, error, context)
        outputs = self.infer(list(prepared.values())) if prepared else []
        for (index, item), output in zip(prepared.items(), outputs, strict=True):
            try:
                answers[index] = self.answer(item, output)
            except Exception as error:
                answers[index] = self._fault(index, error, context)
        for index in range(len(data)):
            context.set_response_content_type(index, "application/json")
        # TorchServe would indent an object, which takes Python's slow encoder and a tenth more bytes.
        return [json.dumps(answer, separators=(",", ":")) for answer in answers]

    def _fault(self, index: int, error: Exception, context) -> dict[str, Any]:
        if isinstance(error, RequestError):
            context.set_response_status(400, "Bad Request", index)
            return error.as_json()
        logger.error("request %s failed", context.get_request_id(index), exc_info=error)
        context.set_response_status(500, "Internal Server Error", index)
        return {"error": {"code": "internal", "message": "The server failed on this picture; its log says why."}}

    @abstractmethod
    def prepare(self, picture: Picture, request: Request) -> Any:
        """What inference and the answer need of a picture; nothing else of it is kept until then."""

    @abstractmethod
    def infer(self, prepared: list[Any]) -> list[Any]:
        """One output for each prepared item, computed in one go. Never called with an empty list."""

    @abstractmethod
    def answer(self, prepared: Any, output: Any) -> dict[str, Any]:
        """The JSON answer to one item."""
