"""Finds the picture and the options in one request of a batch, however it was sent."""

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from handlers import limits
from handlers.errors import RequestError

IMAGE_FIELD = "image"
OPTION_HEADER = "imagetrust-"  # before an option's name, where it comes as a header beside a raw body
_BYTES = (bytes, bytearray, memoryview)


@dataclass(frozen=True)
class Request:
    """One request: the picture's bytes, the options beside it, and whether it came by /explanations."""

    picture: bytes
    options: dict[str, object] = field(default_factory=dict)
    explain: bool = False

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """The option `name`, or the default where it was not given.

        Raises RequestError where it is not one of those allowed.
        """
        value = self.options.get(name, default)
        if isinstance(value, _BYTES):
            value = bytes(value).decode("utf-8", errors="replace")
        if not isinstance(value, str) or value not in allowed:
            raise RequestError(
                "invalid_option", f"{name!r} must be one of {', '.join(allowed)}.", allowed=list(allowed)
            )
        return value


def read_request(fields: dict[str, object], headers: Mapping[str, str] | None = None) -> Request:
    """The request that these fields and headers make.

    fields: what TorchServe hands over. A raw body lies under "body"; a multipart form or a gRPC map has its own names;
    a JSON body is a dict under "body" and holds base64 (or a data URI) under "image".
    headers: of HTTP, and what TorchServe adds. Options may be headers, which a raw body needs and which spares
    TorchServe the costly reading of a form; an option in the body wins over one in a header.
    Raises RequestError where there is no picture, more than one, or base64 that does not decode.
    """
    # TorchServe's route /explanations calls the same handler and says so in a header, in this very spelling: it is set
    # last on every request, so that a client's own has no effect. One that is spelt otherwise is the client's alone.
    explain = (headers or {}).get("explain") == "True"
    headers = {name.lower(): value for name, value in (headers or {}).items()}
    picture, beside = _picture_and_options(fields)
    options = {
        name.removeprefix(OPTION_HEADER): value for name, value in headers.items() if name.startswith(OPTION_HEADER)
    }
    return Request(picture, options | beside, explain)


def _picture_and_options(fields: dict[str, object]) -> tuple[bytes, dict[str, object]]:
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
    # A body that claims to be JSON and is not arrives as raw bytes. No picture format begins with a brace.
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
