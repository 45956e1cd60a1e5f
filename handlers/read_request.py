"""From what TorchServe hands over of a request to the picture and the options in it. All that it holds counts."""

import base64
import binascii
import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from imagetrust.errors import RequestError
from imagetrust.limits import MAX_BYTES
from imagetrust.predictor import OPTIONS
from imagetrust.request import Request

IMAGE_FIELDS = ("image", "data")
OPTION_HEADER = "imagetrust-"  # before an option's name, where it comes as a header beside a raw body
_BYTES = (bytes, bytearray, memoryview)
_OWN_PARAMETERS = ("model_name", "model_version")  # of TorchServe's route /invocations
_FORM = "application/x-www-form-urlencoded"
_HOW_TO_SEND = (
    "send a picture as it is with Content-Type: application/octet-stream, a form as multipart/form-data, or JSON with "
    "Content-Type: application/json"
)

_JSON_START = re.compile(rb'(\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\0\s]*([{\["])')
_BASE64_START = re.compile(rb"\s*(data:|[A-Za-z0-9+/\s]{16})")
_LONGEST_NAME, _MOST_NAMES = 40, 8  # of a field in a message
_PROTOCOLS = {"instances": "v1", "inputs": "v2"}  # by the member that a body of each has
_TEXT = 200  # bytes, of the longest value that is an option and no picture


class Repeated(list[object]):
    """The values of a field that a request has more than once."""


@dataclass(frozen=True)
class WrappedRequest(Request):
    """A request, and the protocol that its answer is wrapped for: "v1" or "v2" of KServe, or None.

    request_id: what a request by the second one called itself.
    """

    protocol: str | None = None
    request_id: str | None = None

    def wrap(self, question: str, version: str, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to a question by a model of this version, as the protocol has it."""
        if self.protocol == "v1":
            return {"explanations" if self.heatmap else "predictions": [answer]}
        if self.protocol == "v2":
            text = json.dumps(answer, separators=(",", ":"), allow_nan=False)
            identity = {} if self.request_id is None else {"id": self.request_id}
            output = {"name": "answer", "shape": [1], "datatype": "BYTES", "data": [text]}
            return {"model_name": question, "model_version": version, **identity, "outputs": [output]}
        return answer


def read_request(fields: Mapping[str, object], headers: Mapping[str, str] | None = None) -> WrappedRequest:
    """Return the request that these fields and headers make.

    fields: what TorchServe hands over. A raw body lies under "body"; a multipart form or a gRPC map has its own names;
    a JSON body holds base64 (or a data URI) under "image", or is a body of KServe's protocols with one picture.
    headers: of HTTP, and what TorchServe adds. Options may be headers, which a raw body needs and which spares
    TorchServe the costly reading of a form; an option in the body wins over one in a header.
    Raises RequestError where there is no image, more than one, base64 that does not decode, or an encoding.
    """
    # TorchServe's route /explanations calls the same handler and says so in a header, in this very spelling: it is set
    # last on every request, so that a client's own has no effect. One that is spelt otherwise is the client's alone.
    heatmap = (headers or {}).get("explain") == "True"
    # Parameters stand among the headers too, each with a dict.
    headers = {name.lower(): value for name, value in (headers or {}).items() if isinstance(value, str)}
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise RequestError(
            "unsupported_encoding",
            f"The body comes with Content-Encoding: {encoding[:_LONGEST_NAME]}; send it as it is, without an encoding.",
        )
    options: dict[str, object] = {
        name.removeprefix(OPTION_HEADER): value for name, value in headers.items() if name.startswith(OPTION_HEADER)
    }
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if not fields:
        raise RequestError("empty_body", "The request carries no picture.")
    if "body" not in fields:
        image, beside = _from_form(fields, content_type == _FORM)
        return WrappedRequest(image, options | beside, heatmap)
    query = {name: value for name, value in fields.items() if name != "body" and name not in _OWN_PARAMETERS}
    body = _parsed(fields["body"], content_type)
    if not isinstance(body, dict):
        return WrappedRequest(_from_raw(body, content_type), options | query, heatmap)
    protocol, request_id = next((name for key, name in _PROTOCOLS.items() if key in body), None), None
    if protocol == "v2":
        request_id = body.get("id")
        if not isinstance(request_id, str | None):
            raise RequestError("invalid_json", "The member 'id' must be a text.")
    image, beside = _from_v1(body) if protocol == "v1" else _from_v2(body) if protocol == "v2" else _from_json(body)
    return WrappedRequest(image, options | query | beside, heatmap, protocol, request_id)


def _several() -> RequestError:
    return RequestError("several_pictures", "Send one picture a request; this one has several.")


def _names(fields: Mapping[str, object]) -> str:
    shown = [repr(str(name)[:_LONGEST_NAME]) for name in sorted(map(str, fields))[:_MOST_NAMES]]
    return ", ".join(shown) + (", …" if len(fields) > _MOST_NAMES else "")


def _from_form(fields: Mapping[str, object], has_pluses: bool) -> tuple[bytes, dict[str, object]]:
    """has_pluses: whether a plus of base64 may have become a space, as in a form that is URL-encoded."""
    named = [name for name in IMAGE_FIELDS if name in fields]
    if len(named) > 1:
        raise _several()
    if has_pluses and not named:
        raise RequestError(
            "no_image_field",
            f"The body came as {_FORM}, as curl sends by default, without a field {IMAGE_FIELDS[0]!r}: {_HOW_TO_SEND}.",
        )
    # Without a field of those names, the only one that is no option is the picture.
    named = named or [
        name for name, value in fields.items() if name not in OPTIONS and isinstance(value, (*_BYTES, Repeated))
    ]
    if len(named) != 1:
        raise RequestError(
            "no_image_field",
            f"Send one picture, in the field {IMAGE_FIELDS[0]!r}; the request has {_names(fields)}.",
        )
    options = {name: value for name, value in fields.items() if name != named[0]}
    for name, value in fields.items():
        if isinstance(value, Repeated) and name in options:
            raise RequestError("invalid_option", f"The option {name[:_LONGEST_NAME]!r} is given more than once.")
    picture = fields[named[0]]
    if isinstance(picture, Repeated) or any(
        isinstance(value, _BYTES) and len(value) > _TEXT and name not in OPTIONS for name, value in options.items()
    ):
        raise _several()
    if has_pluses and isinstance(picture, _BYTES):
        picture = bytes(picture).replace(b" ", b"+")
    return _as_bytes(picture), options


def _parsed(body: object, content_type: str) -> object:
    """Return a body of JSON as what it says, in any of its Unicode encodings; any other body as it is."""
    if not isinstance(body, _BYTES):
        return body
    data = bytes(body)
    start = _JSON_START.match(data[:64])
    if not start:
        return data
    # No image format begins with a brace; other text is JSON where it says so.
    is_json = start[2] == b"{" or content_type.endswith("json")
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        if is_json:
            raise RequestError("invalid_json", f"The body is not valid JSON: it is not {error.encoding}.") from error
        return data
    if not is_json:
        return data
    try:
        return json.loads(text, object_pairs_hook=_members)
    except json.JSONDecodeError as error:
        fault = f"{error.msg} at line {error.lineno}, column {error.colno}"
    except (RecursionError, ValueError):
        fault = "it is nested too deeply, or holds too long a number"
    raise RequestError("invalid_json", f"The body is not valid JSON: {fault}.")


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise RequestError(
            "invalid_json", f"The member {twice[:_LONGEST_NAME]!r} stands in the JSON body more than once."
        )
    return members


def _from_raw(body: object, content_type: str) -> bytes:
    if isinstance(body, bytes) and content_type.startswith("multipart/") and body.lstrip()[:2] == b"--":
        # TorchServe reads forms whose type is written like this.
        raise RequestError(
            "no_image_field",
            "The body is no form whose type is multipart/form-data, in small letters and with its boundary: "
            f"{_HOW_TO_SEND}.",
        )
    return _as_bytes(body)


def _from_json(body: Mapping[str, object]) -> tuple[bytes, dict[str, object]]:
    named = [name for name in IMAGE_FIELDS if name in body]
    if not named:
        raise RequestError(
            "no_image_field", f"The JSON body has no member {IMAGE_FIELDS[0]!r} with the base64 picture."
        )
    if len(named) > 1:
        raise _several()
    return _from_base64(body[named[0]]), {name: value for name, value in body.items() if name != named[0]}


def _from_v1(body: Mapping[str, object]) -> tuple[bytes, dict[str, object]]:
    """Read a body of KServe's first protocol: one instance, a base64 text or an object around it."""
    instances = body["instances"]
    if not isinstance(instances, list) or not instances:
        raise RequestError("no_image_field", "The member 'instances' must be a list with one picture.")
    if len(instances) > 1:
        raise _several()
    (instance,) = instances
    options = {name: value for name, value in body.items() if name != "instances"}
    if not isinstance(instance, dict):
        return _from_base64(instance), options
    named = [name for name in (*IMAGE_FIELDS, "b64") if name in instance]
    if len(named) != 1:
        raise (
            _several()
            if named
            else RequestError(
                "no_image_field", f"The instance has no member {IMAGE_FIELDS[0]!r} with the base64 picture."
            )
        )
    value = instance[named[0]]
    if isinstance(value, dict) and value.keys() == {"b64"}:  # how the protocol writes binary values
        value = value["b64"]
    return _from_base64(value), options | {name: other for name, other in instance.items() if name != named[0]}


def _from_v2(body: Mapping[str, object]) -> tuple[bytes, dict[str, object]]:
    """Read a body of the Open Inference Protocol: a tensor of one text a picture or option."""
    inputs, parameters = body["inputs"], body.get("parameters", {})
    if not isinstance(inputs, list) or not isinstance(parameters, dict):
        raise RequestError("no_image_field", "The member 'inputs' must be a list of tensors, 'parameters' an object.")
    options = {name: value for name, value in body.items() if name not in ("inputs", "id", "parameters")} | parameters
    pictures = []
    for tensor in inputs:
        data = tensor.get("data") if isinstance(tensor, dict) else None
        if not isinstance(data, list) or tensor.get("datatype") != "BYTES":
            raise RequestError(
                "no_picture", "Each tensor needs the datatype 'BYTES' and 'data' with base64; binary data are not read."
            )
        if tensor.get("name") in OPTIONS:
            options[tensor["name"]] = data[0] if len(data) == 1 else data
        else:
            pictures += data
    if len(pictures) > 1:
        raise _several()
    if not pictures:
        raise RequestError("no_image_field", f"No tensor {IMAGE_FIELDS[0]!r} with the base64 picture.")
    return _from_base64(pictures[0]), options


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return _from_base64(value)
    if not isinstance(value, _BYTES):
        raise RequestError(
            "no_picture", f"Expected a picture's bytes, or an object with {IMAGE_FIELDS[0]!r} as base64."
        )
    data = bytes(value)
    if not _BASE64_START.match(data[:64]):
        return data
    try:
        return _from_base64(data.decode("ascii"))
    except UnicodeDecodeError:
        return data
    except RequestError as error:
        if data.lstrip().startswith(b"data:") or error.code == "too_many_bytes":
            raise
        return data


def _from_base64(text: object) -> bytes:
    if not isinstance(text, str):
        raise RequestError("invalid_base64", f"The picture must be a base64 string, not {type(text).__name__}.")
    if text.lstrip().startswith("data:"):
        text = text.partition(",")[2]
    text = "".join(text.split())  # line breaks, as the base64 command writes them
    if len(text) // 4 * 3 > MAX_BYTES + 2:
        raise RequestError("too_many_bytes", f"The picture exceeds the limit of {MAX_BYTES} bytes.", limit=MAX_BYTES)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError("invalid_base64", f"The picture is not valid base64: {error}.") from error
