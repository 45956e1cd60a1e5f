"""The same answers over gRPC."""

import grpc
import pytest

from archive_scripts.build import ENDPOINTS
from clients.grpc import GrpcClient
from clients.rest import ask
from tests.procedural import encoded
from tests.server.test_rest import is_valid


@pytest.fixture(scope="module")
def client(server):
    with GrpcClient(server.addresses.grpc_inference, server.token("inference")) as opened:
        yield opened


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_same_answer_as_rest(server, client, photo, endpoint):
    data = encoded(photo, "PNG")
    over_grpc = client.ask(endpoint, data)
    _, over_rest = ask(server.addresses.inference, endpoint, data, server.token("inference"))
    assert is_valid(over_grpc, endpoint)
    assert set(over_grpc) == set(over_rest)
    inner = (answer.get("inferred", {}).get("authenticity", answer) for answer in (over_grpc, over_rest))
    one, other = inner
    assert one["logits"] == pytest.approx(other["logits"], abs=1e-4)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_bad_picture_is_an_error_body(client, endpoint):
    answer = client.ask(endpoint, b"hello")
    assert is_valid(answer, "error") and answer["error"]["code"] == "unknown_format"


def test_large_pictures_pass(client, photo):
    data = encoded(photo.resize((2400, 1800)), "BMP")  # 13 MB, beyond gRPC's own default
    assert "verdict" in client.ask("authenticity", data)


def test_without_a_token(server, photo):
    with GrpcClient(server.addresses.grpc_inference, "wrong") as stranger, pytest.raises(grpc.RpcError):
        stranger.ask("authenticity", encoded(photo, "PNG"))
