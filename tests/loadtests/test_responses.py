"""Right responses, rejections and failures are told apart."""

import json

import pytest

from loadtests.responses import Failed, Rejected, grpc_failure, grpc_fault, rest_fault

BROKEN = json.dumps({"error": {"code": "broken_picture", "message": "..."}}, separators=(",", ":")).encode()
# As TorchServe 0.12 words them.
FULL = 'Model "authenticity" has no worker to serve inference request. Please use scale workers API to add workers.'
FULL_REST = json.dumps({"code": 503, "type": "ServiceUnavailableException", "message": FULL}, indent=2).encode()
NO_TOKEN = b'{\n  "code": 400,\n  "type": "InvalidKeyException",\n  "message": "Token Authorization failed."\n}\n'
FAILED_BATCH = b'{\n  "code": 503,\n  "type": "InternalServerException",\n  "message": "Prediction failed"\n}\n'


@pytest.mark.parametrize(("status", "body", "broken"), [(200, b"{}", False), (400, BROKEN, True)])
def test_right_responses(status, body, broken):
    assert rest_fault(status, body, broken) is None


@pytest.mark.parametrize("broken", [False, True])
def test_a_full_queue_is_a_rejection(broken):
    assert isinstance(rest_fault(503, FULL_REST, broken), Rejected)
    assert isinstance(grpc_failure("INTERNAL", f"{FULL}\nInternalServerException.()"), Rejected)


@pytest.mark.parametrize(("status", "code"), [(503, "busy"), (429, "too_many_requests")])
def test_what_the_gate_refuses_for_too_much_is_a_rejection(status, code):
    body = f'{{"error":{{"code":"{code}","message":"Wait."}}}}'.encode()
    assert isinstance(rest_fault(status, body, broken=False), Rejected)
    assert isinstance(rest_fault(507, body, broken=False), Failed)
    assert isinstance(grpc_failure("UNAVAILABLE", f"{code}: Wait."), Rejected)


@pytest.mark.parametrize(
    ("status", "body", "broken"),
    [
        (200, b"{}", True),  # a broken image that was believed
        (400, BROKEN, False),  # a whole one that was not
        (400, NO_TOKEN, True),  # the right status for the wrong reason
        (400, NO_TOKEN, False),
        (503, FAILED_BATCH, False),  # not a full queue
        (507, b"", False),
        (0, b"ConnectionRefusedError", False),
    ],
)
def test_failures(status, body, broken):
    fault = rest_fault(status, body, broken)
    assert isinstance(fault, Failed) and str(status) in str(fault)


def test_answers_over_grpc():
    broken = json.loads(BROKEN)
    assert grpc_fault({"verdict": "real"}, broken=False) is None and grpc_fault(broken, broken=True) is None
    assert isinstance(grpc_fault({"verdict": "real"}, broken=True), Failed)
    assert isinstance(grpc_fault(broken, broken=False), Failed)
    assert isinstance(grpc_fault({"error": {"code": "internal"}}, broken=True), Failed)


@pytest.mark.parametrize(
    ("status", "details"), [("PERMISSION_DENIED", "Token Authorization failed."), ("INTERNAL", "Prediction failed")]
)
def test_failures_over_grpc(status, details):
    fault = grpc_failure(status, details)
    assert isinstance(fault, Failed) and status in str(fault)
