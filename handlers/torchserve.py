"""What every endpoint shares: one TorchServe worker's life over one predictor, and what TorchServe hands over."""

import base64
import binascii
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from imagetrust.errors import AnswerError, RequestError
from imagetrust.limits import MAX_BYTES
from imagetrust.predictor import Predictor
from imagetrust.request import Request

logger = logging.getLogger(__name__)

MODEL = "model"  # the folder in an archive that holds the model
IMAGE_FIELD = "image"
OPTION_HEADER = "imagetrust-"  # before an option's name, where it comes as a header beside a raw body
_BYTES = (bytes, bytearray, memoryview)
_PHRASES = {400: "Bad Request", 500: "Internal Server Error"}


class Endpoint:
    """Created by TorchServe once a worker, called for every batch. A subclass names its question."""

    question: str

    def initialize(self, context: Any) -> None:
        """Load the model on the device that TorchServe assigned to this worker.

        Raises ValueError or FileNotFoundError for a model that cannot be served: the worker then does not start.
        """
        # TorchServe's worker logs that every batch arrived; Java would read that from a pipe and write it to a file.
        logging.getLogger().addFilter(lambda record: not str(record.msg).startswith("Backend received inference"))
        properties, settings = context.system_properties, (context.model_yaml_config or {}).get("handler", {})
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
        logger.info("%s ready: %s on %s, %d thread(s)", self.question, self.predictor.engine.name, device.type, threads)

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
            # The management API's question for a description comes as a request without an image.
            if not data[index] and context.get_request_header(index, "describe") == "True":
                answer = {"models": [msgspec.to_builtins(self.predictor.model.config)]}
            elif isinstance(answer, AnswerError):
                context.set_response_status(answer.status, _PHRASES[answer.status], index)
                answer = answer.as_json()
            # TorchServe would indent an object, which takes Python's slow encoder and a tenth more bytes.
            bodies.append(json.dumps(answer, separators=(",", ":"), allow_nan=False))
        end_streams(context, len(data))
        return bodies


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


def read_request(fields: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Request:
    """Return the request that these fields and headers make.

    fields: what TorchServe hands over. A raw body lies under "body"; a multipart form or a gRPC map has its own names;
    a JSON body is a dict under "body" and holds base64 (or a data URI) under "image".
    headers: of HTTP, and what TorchServe adds. Options may be headers, which a raw body needs and which spares
    TorchServe the costly reading of a form; an option in the body wins over one in a header.
    Raises RequestError where there is no image, more than one, or base64 that does not decode.
    """
    # TorchServe's route /explanations calls the same handler and says so in a header, in this very spelling: it is set
    # last on every request, so that a client's own has no effect. One that is spelt otherwise is the client's alone.
    heatmap = (headers or {}).get("explain") == "True"
    headers = {name.lower(): value for name, value in (headers or {}).items()}
    image, beside = _image_and_options(fields)
    options = {
        name.removeprefix(OPTION_HEADER): value for name, value in headers.items() if name.startswith(OPTION_HEADER)
    }
    return Request(image, options | beside, heatmap)


def _image_and_options(fields: Mapping[str, object]) -> tuple[bytes, dict[str, object]]:
    if "body" in fields:
        body = fields["body"]
        options = {name: value for name, value in body.items() if name != IMAGE_FIELD} if isinstance(body, dict) else {}
        return _from_body(body), options
    if IMAGE_FIELD in fields:
        options = {name: value for name, value in fields.items() if name != IMAGE_FIELD}
        return _as_bytes(fields[IMAGE_FIELD]), options
    if not fields:
        raise RequestError("empty_body", "The request carries no picture.")
    binary = [value for value in fields.values() if isinstance(value, _BYTES)]
    if len(binary) == 1:
        return bytes(binary[0]), {}
    raise RequestError(
        "no_image_field", f"Send one picture, in the field {IMAGE_FIELD!r}; the request has {sorted(map(str, fields))}."
    )


def _from_body(body: object) -> bytes:
    if isinstance(body, dict):
        if IMAGE_FIELD not in body:
            raise RequestError(
                "no_image_field", f"The JSON body has no member {IMAGE_FIELD!r} with the base64 picture."
            )
        return _from_base64(body[IMAGE_FIELD])
    data = _as_bytes(body)
    # A body that claims to be JSON and is not arrives as raw bytes. No image format begins with a brace.
    if data.lstrip()[:1] == b"{":
        raise RequestError("invalid_json", f"The body is not valid JSON: {_json_fault(data)}")
    return data


def _as_bytes(value: object) -> bytes:
    if isinstance(value, _BYTES):
        return bytes(value)
    if isinstance(value, str):
        return _from_base64(value)
    raise RequestError("no_picture", f"Expected a picture's bytes, or an object with {IMAGE_FIELD!r} as base64.")


def _from_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise RequestError("invalid_base64", f"{IMAGE_FIELD!r} must be a base64 string, not {type(text).__name__}.")
    if text.startswith("data:"):
        text = text.partition(",")[2]
    text = "".join(text.split())  # line breaks, as the base64 command writes them
    if len(text) // 4 * 3 > MAX_BYTES + 2:
        raise RequestError("too_many_bytes", f"The picture exceeds the limit of {MAX_BYTES} bytes.", limit=MAX_BYTES)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError("invalid_base64", f"{IMAGE_FIELD!r} is not valid base64: {error}.") from error


def _json_fault(data: bytes) -> str:
    try:
        json.loads(data)
    except UnicodeDecodeError:
        return "it is not UTF-8."
    except json.JSONDecodeError as error:
        return f"{error.msg} at line {error.lineno}, column {error.colno}."
    return "send it with Content-Type: application/json."
