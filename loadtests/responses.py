"""Which responses are right, over REST and over gRPC."""

import json

_BROKEN = "broken_picture"  # the error code that the server must give for a file that ends too early
# TorchServe has one text for a full queue and for a model without workers. Over REST its type tells it from the 503 of
# a failed batch. gRPC gives INTERNAL for all of these, so there the text must tell.
# TorchServe's first, then the gate's: the server's queue is full, or so many of one caller wait already.
_REST_REJECTIONS = {503: (b'"ServiceUnavailableException"', b'{"code":"busy"'), 429: (b'{"code":"too_many_requests"',)}
_GRPC_REJECTIONS = ("has no worker to serve inference request", "busy: ", "too_many_requests: ")


class Rejected(Exception):
    """The server's queue is full, or this caller's part of it. Gates allow it beyond the throughput alone."""

    def __init__(self) -> None:
        super().__init__("rejected: the queue is full, or this caller's part of it")


class Failed(Exception):
    """A response that is wrong; the message says what came."""


def rest_fault(status: int, body: bytes, broken: bool) -> Exception | None:
    """Return what is wrong with a response over REST. A broken image must get the expected 400, and no other.

    status: of HTTP; 0 where no response came.
    """
    if status == 200 and not broken:
        return None
    if status == 400 and broken and f'"{_BROKEN}"'.encode() in body:
        return None
    if any(text in body for text in _REST_REJECTIONS.get(status, ())):
        return Rejected()
    text = " ".join(body[:200].decode(errors="replace").split())
    return Failed(f"status {status} for {_described(broken)}: {text}")


def grpc_fault(answer: dict[str, dict[str, object]], broken: bool) -> Exception | None:
    """Return what is wrong with an answer over gRPC, where a broken image gets an answer with an "error"."""
    code = answer.get("error", {}).get("code")
    if code == (_BROKEN if broken else None):
        return None
    return Failed(f"{json.dumps(code)} as the error for {_described(broken)}")


def grpc_failure(status: str, details: str) -> Exception:
    """Return what a failed call over gRPC means. status: the name of its code."""
    return (
        Rejected()
        if any(text in details for text in _GRPC_REJECTIONS)
        else Failed(f"{status}: {' '.join(details[:200].split())}")
    )


def _described(broken: bool) -> str:
    return "a broken image" if broken else "a whole image"
