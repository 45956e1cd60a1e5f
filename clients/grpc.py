"""Asks over gRPC. The modules torchserve_inference_pb2* are compiled from the protocol that TorchServe's jar carries.

It needs the packages grpcio, protobuf and googleapis-common-protos in the versions of constraints.txt, or later ones.
"""

import json
from typing import Any

import grpc

from clients.torchserve_inference_pb2 import PredictionsRequest
from clients.torchserve_inference_pb2_grpc import InferenceAPIsServiceStub


class GrpcClient:
    """A channel to one server. Use it as a context manager.

    address: such as "127.0.0.1:7070".
    service, metadata: the generated stub and the token, for calls that have no method here.
    """

    def __init__(self, address: str, token: str, max_message_bytes: int = 32 * 1024 * 1024) -> None:
        limits = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
        ]
        self._channel = grpc.insecure_channel(address, options=limits)
        self.service = InferenceAPIsServiceStub(self._channel)
        self.metadata = (("protocol", "gRPC"), ("channel", address), ("authorization", f"Bearer {token}"))

    def __enter__(self) -> "GrpcClient":
        return self

    def __exit__(self, *_) -> None:
        self._channel.close()

    def request(self, endpoint: str, picture: bytes, options: dict[str, str] | None = None) -> Any:
        """Return the message that asks an endpoint about an image's bytes."""
        beside = {name: value.encode() for name, value in (options or {}).items()}
        return PredictionsRequest(model_name=endpoint, input={"image": picture} | beside)

    def ask(self, endpoint: str, picture: bytes, timeout: float = 60, options: dict[str, str] | None = None) -> dict:
        """Send an image's bytes to an endpoint and return the JSON answer.

        options: such as {"detail": "verdicts"}.
        gRPC carries no status for one item of a batch: a request at fault is answered too, with an "error" member.
        Raises grpc.RpcError where no answer comes.
        """
        answer = self.service.Predictions(
            self.request(endpoint, picture, options), metadata=self.metadata, timeout=timeout
        )
        return json.loads(answer.prediction)
