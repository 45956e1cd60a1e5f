"""What every endpoint shares: one TorchServe worker's life over one predictor, and what TorchServe hands over."""

import ctypes
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from ts.service import Service

from handlers.metrics import Metrics, request_id
from handlers.read_request import Repeated, WrappedRequest, read_request
from imagetrust.contents import check_folder
from imagetrust.errors import AnswerError
from imagetrust.predictor import QUESTIONS, Predictor

logger = logging.getLogger(__name__)

MODEL = "model"  # the folder in an archive that holds the model
# glibc's mallopt(3): by number, as its header has them.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_PHRASES = {400: "Bad Request", 500: "Internal Server Error"}
# Holds an error's body too: the gate tells by it our own answers from those of TorchServe with the same status.
ERROR_HEADER = "ImageTrust-Error"


class Endpoint:
    """Created by TorchServe once a worker, called for every batch. A subclass names its question."""

    question: str

    def initialize(self, context: Any) -> None:
        """Load the model on the device that TorchServe assigned to this worker.

        Raises ValueError or FileNotFoundError for a model that cannot be served, and for an archive of which any file
        is not as it was built: the worker then does not start.
        """
        # TorchServe's worker logs that every batch arrived; Java would read that from a pipe and write it to a file.
        logging.getLogger().addFilter(lambda record: not str(record.msg).startswith("Backend received inference"))
        # Bodies are read here, in whatever text encoding and under whatever content type a client sends them.
        os.environ["TS_DECODE_INPUT_REQUEST"] = "false"
        Service.retrieve_data_for_inference = staticmethod(retrieve_data)
        properties, settings = context.system_properties, (context.model_yaml_config or {}).get("handler", {})
        check_folder(Path(properties["model_dir"]))
        gpu, device = properties.get("gpu_id"), torch.device("cpu")
        if gpu is not None and torch.cuda.is_available():
            device = torch.device("cuda", int(gpu))
        elif gpu is not None:
            logger.warning("TorchServe assigned GPU %s, but torch can use none: serving on the processor", gpu)
        threads = int(settings.get("threads", os.environ.get("OMP_NUM_THREADS", 1)))
        torch.set_num_threads(threads)
        self.predictor = Predictor(
            Path(properties["model_dir"]) / MODEL,
            device,
            threads,
            settings.get("precision", "auto"),
            settings.get("manifest_hosts") or (),
        )
        # Torch takes memory for every layer, and would take 1.6 times as long.
        if self.predictor.engine.name.startswith("openvino"):
            return_memory_at_once()
        self.metrics = Metrics(
            context.metrics,
            self.question,
            self.predictor.model.config,
            self.predictor.engine.name,
            int(properties["batch_size"] or 1),
        )
        self.metrics.begin(self.predictor.model.config, QUESTIONS[self.question])
        logger.info("%s ready: %s on %s, %d thread(s)", self.question, self.predictor.engine.name, device.type, threads)

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[str]:
        """Answer a batch: the text of one JSON object an item, in order, with its own status."""
        begun = time.time()
        requests: list[WrappedRequest | AnswerError] = []
        for index, fields in enumerate(data):
            try:
                requests.append(read_request(fields, context.get_all_request_header(index)))
            except AnswerError as error:
                requests.append(error)
        bodies = []
        self.metrics.count_batch(len(data))
        answered = self.predictor.predict_measured(requests, self.question)
        for index, (request, (answer, measured)) in enumerate(zip(requests, answered, strict=True)):
            context.set_response_content_type(index, "application/json")
            headers = _headers(context, index)
            # The management API's question for a description comes as a request without an image.
            if not data[index] and context.get_request_header(index, "describe") == "True":
                answer = {"models": [msgspec.to_builtins(self.predictor.model.config)]}
                bodies.append(_text(answer))
                continue
            self.metrics.count(headers, answer, measured, begun)
            if isinstance(answer, AnswerError):
                context.set_response_status(answer.status, _PHRASES[answer.status], index)
                if answer.status >= 500:
                    logger.error("request %s failed: %s", request_id(headers), answer.code)
                answer = answer.as_json()
                context.set_response_header(index, ERROR_HEADER, _text(answer).replace("\x7f", "\\u007f"))
            elif isinstance(request, WrappedRequest):
                answer = request.wrap(self.question, self.predictor.model.config.version, answer)
            bodies.append(_text(answer))
        end_streams(context, len(data))
        return bodies


def return_memory_at_once() -> None:
    """Have glibc give blocks of an image's size back to the system as they are freed. Another C library stays as it is.

    By default it keeps those of up to 32 MiB, small ones come to lie among them, and a worker grows for hours.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt:
        mallopt(_MMAP_THRESHOLD, 256 * 1024)
        mallopt(_TRIM_THRESHOLD, 4 * 1024**2)


def _text(answer: object) -> str:
    # TorchServe would indent an object, which takes Python's slow encoder and a tenth more bytes.
    return json.dumps(answer, separators=(",", ":"), allow_nan=False)


def _headers(context: Any, index: int) -> dict[str, str]:
    """Return the headers of an item of the batch by their names in small letters.

    Parameters stand among them too, each with a dict.
    """
    sent = context.get_all_request_header(index)
    return {name.lower(): value for name, value in sent.items() if isinstance(value, str)}


_retrieve_data = Service.retrieve_data_for_inference


def retrieve_data(batch: Sequence[dict[str, Any]]) -> Any:
    """Hand over a batch as TorchServe 0.12 does, with all values of a field that a request has more than once.

    TorchServe keeps the last one alone, so that a second picture would be judged in place of the first.
    """
    headers, data, ids = _retrieve_data(batch)
    for sent, fields in zip(batch, data, strict=True):
        for name, count in Counter(one["name"] for one in sent["parameters"]).items():
            if count > 1:
                fields[name] = Repeated(one["value"] for one in sent["parameters"] if one["name"] == name)
    return headers, data, ids


def end_streams(context: Any, count: int) -> None:
    """Mark the answers to gRPC as the last of their stream, and withhold those that cannot be sent.

    count: of the batch's items, whose answers are ready.
    TorchServe 0.12 ends a worker whose answer to `StreamPredictions` does not say whether more messages follow. Of REST
    it makes a chunked response by the same mark, so that gRPC alone may have it: it comes without HTTP headers.
    `StreamPredictions2` is not supported. TorchServe closes its stream as soon as the client has sent everything, and
    ends a worker that answers later. Nobody answers a request that is no longer in the batch.
    """
    for index in range(count):
        # Parameters stand among the headers too, each with a dict.
        headers = {name for name, value in context.get_all_request_header(index).items() if isinstance(value, str)}
        if not headers:
            context.set_response_header(index, "ts_stream_next", "false")
        elif headers <= {
            context.header_key_sequence_id,
            context.header_key_sequence_start,
            context.header_key_sequence_end,
        }:
            del context.request_ids[index]
