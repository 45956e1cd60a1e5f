"""Finds the picture in one request of a batch, however it was sent."""

import base64
import binascii
import json

from handlers import limits
from handlers.errors import RequestError

IMAGE_FIELD = "image"


def picture_bytes(fields: dict[str, object]) -> bytes:
    """The bytes of the picture that a request carries.

    fields: what TorchServe hands over. A raw body lies under "body"; a multipart form or a gRPC map under its own
    names; a JSON body is already a dict under "body" and holds base64 (or a data URI) under "image".
    Raises RequestError where there is no picture, more than one, or base64 that does not decode.
    """
    if "body" in fields:
        return _from_body(fields["body"])
    if IMAGE_FIELD in fields:
        return _as_bytes(fields[IMAGE_FIELD])
    binary = [value for value in fields.values() if isinstance(value, (bytes, bytearray, memoryview))]
    if len(binary) == 1:
        return bytes(binary[0])
    if not fields:
        raise RequestError("empty_body", "The request carries no picture.")
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
    # A body that claims to be JSON and is not arrives as raw bytes. No picture format begins with a brace.
    if data.lstrip()[:1] == b"{":
        raise RequestError("invalid_json", f"The body is not valid JSON: {_json_fault(data)}")
    return data


def _as_bytes(value: object) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
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
    if len(text) // 4 * 3 > limits.MAX_BYTES + 2:
        raise RequestError(
            "too_many_bytes", f"The picture exceeds the limit of {limits.MAX_BYTES} bytes.", limit=limits.MAX_BYTES
        )
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
