"""The life of a request batch, the same for every endpoint: decode -> preprocess -> infer -> answer.

An endpoint is a subclass that says which models it uses and fills in `prepare`, `infer` and `answer`. Each item
of a batch is kept apart: what goes wrong with one becomes the answer to that one.
"""

import json
import logging
import os
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from handlers.card import check_servable
from handlers.classifier import Classifier
from handlers.decode import Picture, decode
from handlers.engine import Engine, choose_engine
from handlers.errors import RequestError
from handlers.grpc_streams import end_streams
from handlers.payload import Request, read_request
from handlers.preprocessing import needed_side

logger = logging.getLogger(__name__)


def _as_text(answer: dict[str, Any]) -> str:
    """Raises ValueError where a number is not finite, which JSON cannot say."""
    # TorchServe would indent an object, which takes Python's slow encoder and a tenth more bytes.
    return json.dumps(answer, separators=(",", ":"), allow_nan=False)


class BatchHandler(ABC):
    """What TorchServe creates once a worker and calls for every batch."""

    model_names: tuple[str, ...]  # of the released models that the endpoint needs

    def initialize(self, context) -> None:
        """Loads the models once, on the device that TorchServe assigned to this worker."""
        # TorchServe's worker logs that every batch arrived; Java would read that from a pipe and write it to a file.
        logging.getLogger().addFilter(lambda record: not str(record.msg).startswith("Backend received inference"))
        properties = context.system_properties
        gpu = properties.get("gpu_id")
        device = (
            torch.device("cuda", int(gpu)) if gpu is not None and torch.cuda.is_available() else torch.device("cpu")
        )
        if gpu is not None and device.type == "cpu":
            logger.warning("TorchServe assigned GPU %s, but torch can use none: serving on the processor", gpu)
        settings = (context.model_yaml_config or {}).get("handler", {})
        threads = int(settings.get("threads", os.environ.get("OMP_NUM_THREADS", 1)))
        torch.set_num_threads(threads)
        folder = Path(properties["model_dir"])
        self.classifiers = {name: Classifier(folder, name, device) for name in self.model_names}
        for classifier in self.classifiers.values():
            check_servable(classifier.card)
        self.needed_side = max(needed_side(one.card.preprocessing) for one in self.classifiers.values())
        # Models trained as heads on one trunk share its engine: it runs once for all of them.
        self.engines: dict[str, Engine] = {}
        for classifier in self.classifiers.values():
            if classifier.trunk_id not in self.engines:
                engine = choose_engine(folder, classifier, threads, settings.get("precision", "auto"))
                self.engines[classifier.trunk_id] = engine
        names = ", ".join(engine.name for engine in self.engines.values())
        logger.info("%s ready: %s on %s, %d thread(s)", type(self).__name__, names, device, threads)

    def engine_of(self, classifier: Classifier) -> Engine:
        """What computes the features that a classifier needs."""
        return self.engines[classifier.trunk_id]

    def handle(self, data: list[dict[str, Any]], context) -> list[str]:
        """Answers a batch: the text of one JSON object an item, in order, with status 400 on those at fault."""
        answers: dict[int, str] = {}
        prepared = {}
        for index, fields in enumerate(data):
            if not fields and context.get_request_header(index, "describe") == "True":
                answers[index] = _as_text({"models": [asdict(one.card) for one in self.classifiers.values()]})
                continue
            try:
                request = read_request(fields, context.get_all_request_header(index))
                prepared[index] = self.prepare(decode(request.picture, self.needed_side), request)
            except Exception as error:
                answers[index] = self._fault(index, error, context)
        outputs: list[Any] = [None] * len(prepared)
        try:
            outputs = self.infer(list(prepared.values())) if prepared else []
        except Exception:
            logger.exception("a batch of %d failed: trying each picture alone", len(prepared))
        for (index, item), output in zip(prepared.items(), outputs, strict=True):
            try:
                answers[index] = _as_text(self.answer(item, self.infer([item])[0] if output is None else output))
            except Exception as error:
                answers[index] = self._fault(index, error, context)
        for index in range(len(data)):
            context.set_response_content_type(index, "application/json")
        end_streams(context, len(data))
        return [answers[index] for index in range(len(data))]

    def _fault(self, index: int, error: Exception, context) -> str:
        if isinstance(error, RequestError):
            context.set_response_status(400, "Bad Request", index)
            return _as_text(error.as_json())
        logger.error("request %s failed", context.get_request_id(index), exc_info=error)
        context.set_response_status(500, "Internal Server Error", index)
        return _as_text(
            {"error": {"code": "internal", "message": "The server failed on this picture; its log says why."}}
        )

    @abstractmethod
    def prepare(self, picture: Picture, request: Request) -> Any:
        """What inference and the answer need of a picture; nothing else of it is kept until then."""

    @abstractmethod
    def infer(self, prepared: list[Any]) -> list[Any]:
        """One output for each prepared item, computed in one go. Never called with an empty list."""

    @abstractmethod
    def answer(self, prepared: Any, output: Any) -> dict[str, Any]:
        """The JSON answer to one item."""
