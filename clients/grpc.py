"""Asks over gRPC, with the protocol that the installed TorchServe carries."""

import functools
import importlib.resources
import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import grpc


@functools.cache
def _protocol():
    """Compile the message classes and the service of TorchServe's inference.proto.

    The file lies in the server's jar; grpcio-tools compiles it in memory. It imports google/rpc/status.proto,
    which googleapis-common-protos puts beside the other packages.
    """
    jar = importlib.resources.files("ts") / "frontend" / "model-server.jar"
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(str(jar)) as archive:
        proto = Path(folder) / "torchserve_inference.proto"
        proto.write_bytes(archive.read("proto/inference.proto"))
        sys.path.insert(0, folder)
        try:
            return grpc.protos_and_services(proto.name)
        finally:
            sys.path.remove(folder)


class GrpcClient:
    """A channel to one server. Use it as a context manager.

    address: such as "127.0.0.1:7070".
    service, metadata: the generated stub and the token, for calls that have no method here.
    """

    def __init__(self, address: str, token: str, max_message_bytes: int = 32 * 1024 * 1024) -> None:
        self._messages, services = _protocol()
        limits = [
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
        ]
        self._channel = grpc.insecure_channel(address, options=limits)
        self.service = services.InferenceAPIsServiceStub(self._channel)
        self.metadata = (("protocol", "gRPC"), ("channel", address), ("authorization", f"Bearer {token}"))

    def __enter__(self) -> "GrpcClient":
        return self

    def __exit__(self, *_) -> None:
        self._channel.close()

    def request(self, endpoint: str, picture: bytes) -> Any:
        """Return the message that asks an endpoint about an image's bytes."""
        return self._messages.PredictionsRequest(model_name=endpoint, input={"image": picture})

    def ask(self, endpoint: str, picture: bytes, timeout: float = 60) -> dict:
        """Send an image's bytes to an endpoint and return the JSON answer.

        gRPC carries no status for one item of a batch: a request at fault is answered too, with an "error" member.
        Raises grpc.RpcError where no answer comes.
        """
        answer = self.service.Predictions(self.request(endpoint, picture), metadata=self.metadata, timeout=timeout)
        return json.loads(answer.prediction)
