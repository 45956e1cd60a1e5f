"""The API behind the gate as OpenAPI 3.1: `python -m server.api_description > docs/openapi.json`.

Schemas of answers are those of imagetrust/answer.schema.json, the gate's own answers those of
deploy/nginx/answers.toml, options and their values those of the predictor.
"""

import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import imagetrust
from imagetrust.explain.cam import METHODS
from imagetrust.limits import MAX_BYTES
from imagetrust.models.config import TASKS
from imagetrust.predictor import DECIDED, DETAILS, OPTIONS, PLACES, QUESTIONS
from server.gate_config import answers, read_settings
from server.settings import ROOT

DESCRIPTION = ROOT / "docs" / "openapi.json"
PICTURE_TYPES = ("jpeg", "png", "webp", "avif", "heic", "heif", "tiff", "gif", "bmp")

# What the gate may answer itself at each kind of path. The preflight of a browser is no part of the description.
_EVERYWHERE = ("bad_request", "method_not_allowed", "headers_too_large", "internal", "not_implemented")
_CODES = {
    "live": _EVERYWHERE,
    "ready": (*_EVERYWHERE, "not_ready"),
    "question": (
        *_EVERYWHERE, "unexpected_query", "unsupported_encoding", "invalid_form", "unauthorized", "unknown_model",
        "too_many_bytes", "unsupported_content_type", "too_many_requests", "busy", "ending", "unavailable",
    ),
}  # fmt: skip
_REASONS = {
    400: "The picture or the request is at fault.",
    401: "There is no token, or none that is valid.",
    404: "There is no endpoint or version of this name.",
    405: "The path answers another method; `Allow` has it.",
    413: "The request has too many bytes.",
    415: "The content type is not read.",
    429: "There are too many requests of this caller: wait and send again.",
    431: "The headers are too large.",
    500: "The server failed; its log says why.",
    501: "The body is framed neither by Content-Length nor as chunked.",
    503: "The server is busy or not ready: wait and send again.",
}
_QUESTIONS = {
    "authenticity": "Ask whether people and cameras made a picture or a machine did",
    "generator_type": "Ask which family of generator made a picture, if any did",
    "explanation": "Ask both questions, where the evidence lies, and what the file declares",
}
_KSERVE = {
    "/v1/models/{}:predict": ("predict", "kserve_v1"),
    "/v1/models/{}:explain": ("explain", "kserve_v1"),
    "/v2/models/{}/infer": ("infer", "kserve_v2"),
}
# What may be sent beside a picture, by the kind of question: the schema of each option.
_OPTIONS: dict[str, dict[str, str]] = {
    "picture": {},
    "explanation": {name: f"option_{name}" for name in OPTIONS},
    **{f"{task}_heatmap": {"class": f"option_class_of_{task}", "method": "option_method"} for task in TASKS},
}

_TEXT = {"type": "string"}
_BINARY = {"type": "string", "format": "binary"}
_BASE64 = {"type": "string", "format": "byte", "description": f"Base64 or a data URI, of at most {MAX_BYTES} bytes."}
_ONE = {"type": "array", "minItems": 1, "maxItems": 1}
_HEADERS: dict[str, Any] = {
    "X-Request-Id": {
        "description": "What the logs call the request: the caller's name for it, its trace, or a new one.",
        "schema": _TEXT,
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 0}},
    "Allow": {"description": "The methods of the path.", "schema": _TEXT},
    "WWW-Authenticate": {"description": "The scheme of the token.", "schema": {"const": "Bearer"}},
}
_HEADER_OF = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}
_PARAMETERS: dict[str, Any] = {
    "request_id": {
        "name": "X-Request-Id",
        "in": "header",
        "description": "A name for the request, of at most 64 of A-Z a-z 0-9 . _ : - (another one is replaced).",
        "schema": _TEXT,
    },
    "traceparent": {
        "name": "traceparent",
        "in": "header",
        "description": "W3C Trace Context: its trace names the request where X-Request-Id does not.",
        "schema": _TEXT,
    },
    "version": {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "A release, such as 1.0.",
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,32}$"},
    },
}


def describe() -> dict[str, Any]:
    """Return the description."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ImageTrust Serve",
            "version": project["version"],
            "description": "Says of a picture whether people and cameras made it or a machine did. docs/api.md has the "
            "formats, limits, options and answers. No path takes a query: one that is sent is refused.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "http://127.0.0.1:8090", "description": "The gate, as deploy/nginx/gate.toml has it."}],
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "The operator gives it."}},
            "parameters": _PARAMETERS | _option_headers(),
            "headers": _HEADERS,
            "responses": _failures(),
            "schemas": _schemas(),
        },
    }


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for version in ("", "/{version}"):
        for question, summary in _QUESTIONS.items():
            answers_of = ("explanation", "declaration", "verdicts") if question == "explanation" else (question,)
            kind = "explanation" if question == "explanation" else "picture"
            paths[f"/predictions/{question}{version}"] = _question(question, summary, answers_of, kind, version)
        for task in TASKS:
            name, summary = f"{task}_heatmap", f"{_QUESTIONS[task]}, with a heat map"
            paths[f"/explanations/{task}{version}"] = _question(name, summary, (task,), name, version)
    for question in QUESTIONS:
        for path, (route, protocol) in _KSERVE.items():
            body = {"application/json": {"schema": _ref(f"{protocol}_request")}}
            summary = f"{_QUESTIONS[question]}, by a protocol of KServe"
            asking = _question(f"{question}_{route}", summary, (protocol,), "picture")
            asking["post"]["requestBody"]["content"] = body
            paths[path.format(question)] = asking
    for name, summary in (("live", "Ask whether the gate is there"), ("ready", "Ask whether every model has a worker")):
        health = {"operationId": f"health_{name}", "summary": summary, "security": []}
        paths[f"/health/{name}"] = {"get": health | {"responses": _responses(name, [name])}}
    return paths


def _question(name: str, summary: str, answers_of: Sequence[str], kind: str, version: str = "") -> dict[str, Any]:
    parameters = ["request_id", "traceparent", *(["version"] if version else []), *_OPTIONS[kind].values()]
    types = [*(f"image/{form}" for form in PICTURE_TYPES), "application/octet-stream"]
    bodies = dict.fromkeys(types, {"schema": _BINARY}) | {
        "multipart/form-data": {"schema": _ref(f"{kind}_form")},
        "application/json": {"schema": _ref(f"{kind}_request")},
    }
    asking = {
        "operationId": f"{name}_of_version" if version else name,
        "summary": summary,
        "parameters": [{"$ref": f"#/components/parameters/{parameter}"} for parameter in parameters],
        "requestBody": {"required": True, "content": bodies},
        "responses": _responses("question", answers_of),
    }
    return {"post": asking}


def _responses(path: str, kinds: Sequence[str]) -> dict[str, Any]:
    failures = [name for name in _failures() if name.startswith(f"{path}_")]
    references = {name.rpartition("_")[2]: {"$ref": f"#/components/responses/{name}"} for name in failures}
    return {"200": _response("The answer.", kinds, 200)} | references


def _failures() -> dict[str, Any]:
    """Return the answers that are none, by the kind of path and the status."""
    gate, failures = answers(read_settings()), {}
    for path, codes in _CODES.items():
        for status in sorted({gate[code]["status"] for code in codes}):
            said = ", ".join(f"`{code}`" for code in codes if gate[code]["status"] == status)
            kinds = ["gate_error", "error"] if path == "question" and status in (400, 500) else ["gate_error"]
            failures[f"{path}_{status}"] = _response(f"{_REASONS[status]} The gate says {said}.", kinds, status)
    return failures


def _response(description: str, kinds: Sequence[str], status: int) -> dict[str, Any]:
    headers = ["X-Request-Id", *([_HEADER_OF[status]] if status in _HEADER_OF else [])]
    schemas = [_ref(kind) for kind in kinds]
    return {
        "description": description,
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {"application/json": {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}},
    }


def _option_values() -> dict[str, list[str]]:
    """Return the values of each option, its default first; of `class` also those of each task."""
    classes = {f"class_of_{task}": [DECIDED, *names] for task, names in TASKS.items()}
    every = [DECIDED, *dict.fromkeys(name for names in TASKS.values() for name in names)]
    return {"detail": list(DETAILS), "class": every, "method": list(METHODS), "place": list(PLACES)} | classes


def _option_headers() -> dict[str, Any]:
    headers = {}
    for options in _OPTIONS.values():
        for name, schema in options.items():
            headers[schema] = {"name": f"ImageTrust-{name.title()}", "in": "header", "schema": _ref(schema)}
    return headers


def _schemas() -> dict[str, Any]:
    of_answers = json.loads((Path(imagetrust.__file__).parent / "answer.schema.json").read_text())["$defs"]
    schemas: dict[str, Any] = json.loads(json.dumps(of_answers).replace('"#/$defs/', '"#/components/schemas/'))
    for name in ("live", "ready"):
        schemas[name] = _object({"status": {"const": name}})
    for name, values in _option_values().items():
        schemas[f"option_{name}"] = {"type": "string", "enum": values, "default": values[0]}
    for kind, options in _OPTIONS.items():
        beside = {option: _ref(schema) for option, schema in options.items()}
        schemas[f"{kind}_form"] = _object({"image": _BINARY}, beside)
        schemas[f"{kind}_request"] = _object({"image": _BASE64}, beside)
    instance = _object({"image": _object({"b64": _BASE64})})
    schemas["kserve_v1_request"] = _object({"instances": _ONE | {"items": instance}})
    tensor = _object({"datatype": {"const": "BYTES"}, "data": _ONE | {"items": _BASE64}})
    # The protocol wants them; they are not read, nor is what else a tensor has.
    tensor["properties"] |= {"name": {"description": "Such as `image`."}, "shape": {"description": "Such as [1]."}}
    tensor["additionalProperties"] = True
    schemas["kserve_v2_request"] = _object({"inputs": _ONE | {"items": tensor}}, {"id": {"type": ["string", "null"]}})
    _ease(schemas)
    return schemas


def _ease(schemas: dict[str, Any]) -> None:
    """Say what generators of clients stumble over in words that they understand; nothing becomes stricter."""
    (listed,) = (kind for kind in schemas["value"]["anyOf"] if "items" in kind)
    listed["items"] = {}  # a list that may hold lists of its own kind
    _ease_part(schemas)


def _ease_part(schema: Any) -> None:
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _ease_part(part)
    if isinstance(schema, dict):
        if schema.get("const") is True:
            schema |= {"type": "boolean"}
            del schema["const"]
        if any("+" in str(value) for value in schema.get("enum", ())):  # names that would be the same without it
            schema["x-enum-varnames"] = [value.upper().replace("+", "_PLUS") for value in schema["enum"]]


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: Mapping[str, Any], optional: Mapping[str, Any] | None = None) -> dict[str, Any]:
    properties = {**required, **(optional or {})}
    return {"type": "object", "required": list(required), "additionalProperties": False, "properties": properties}


if __name__ == "__main__":
    print(json.dumps(describe(), indent=2, ensure_ascii=False))
