"""Which answers are right. The same for REST and gRPC, whose ways of saying no differ."""

REFUSED = "refused: the queue is full"  # 503 over REST; in order past capacity only, which the gates decide

_BROKEN = b'"broken_picture"'
# TorchServe has one text for a full queue and for a model without workers. Over REST its type tells it from the 503
# of a failed batch. gRPC gives INTERNAL for all of these, so there the text must tell.
_REST_REFUSAL = b'"ServiceUnavailableException"'
_GRPC_REFUSAL = "has no worker to serve inference request"


def rest_fault(status: int, body: bytes, broken: bool) -> str | None:
    """What is wrong with an answer over REST, or None. A broken picture must get a 400 that says it is broken.

    status: 0 where no answer came.
    """
    if broken and status == 400 and _BROKEN in body:
        return None
    if not broken and status == 200:
        return None
    if status == 503 and _REST_REFUSAL in body:
        return REFUSED
    said = " ".join(body[:200].decode(errors="replace").split())
    return f"status {status} for a {'broken' if broken else 'sound'} picture: {said}"


def grpc_fault(answer: dict, broken: bool) -> str | None:
    """What is wrong with an answer over gRPC, or None. A broken picture is answered, with an error as the body."""
    code = answer.get("error", {}).get("code")
    if code == ("broken_picture" if broken else None):
        return None
    return f"error {code} for a {'broken' if broken else 'sound'} picture"


def grpc_failure(status: str, details: str) -> str:
    """What a failed call over gRPC means. status: the name of its code."""
    return REFUSED if _GRPC_REFUSAL in details else f"{status}: {' '.join(details[:200].split())}"
