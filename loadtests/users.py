"""The people and programs who use the service."""

import functools
import random
import time

import grpc
from grpc.experimental.gevent import init_gevent
from locust import FastHttpUser, User, between, task
from locust.exception import CatchResponseError

from clients.grpc import GrpcClient
from loadtests import mix, options, pictures
from loadtests.outcomes import grpc_failure, grpc_fault, rest_fault


def _context(endpoint: str, picture: pictures.Picture) -> dict[str, str]:
    """What a request's event carries beside Locust's own members; loadtests/recorder.py writes it down."""
    return {"endpoint": endpoint, "kind": "broken" if picture.broken else str(picture.kind)}


class RestUser(FastHttpUser):
    """Sends pictures over REST."""

    abstract = True
    sender: mix.Sender
    choose = staticmethod(pictures.choose)

    @task
    def send(self) -> None:
        """One picture to one of the sender's endpoints."""
        (endpoint,) = random.choices(list(self.sender.endpoints), self.sender.endpoints.values())
        picture = self.choose()
        headers = {
            "Authorization": f"Bearer {options.token(self.environment)}",
            "Content-Type": f"image/{picture.kind.format.lower()}",
        }
        with self.client.post(
            f"/predictions/{endpoint}", data=picture.body, headers=headers, catch_response=True,
            context=_context(endpoint, picture),
        ) as answer:  # fmt: skip
            body = answer.content or str(answer.error or "").encode()
            fault = rest_fault(answer.status_code, body, picture.broken)
            if fault:
                answer.failure(fault)
            else:
                answer.success()


@functools.cache
def _grpc_client(address: str, token: str) -> GrpcClient:
    """One channel for all users of a process: it carries their calls side by side, as one partner's would.

    gRPC is made to wait as gevent does only now, because `--processes` forks once the locustfile is loaded.
    """
    init_gevent()
    return GrpcClient(address, token)


class GrpcUser(User):
    """Sends pictures over gRPC."""

    abstract = True
    sender: mix.Sender

    def on_start(self) -> None:
        """Connects, or shares the connection that there is."""
        address = options.grpc_address(self.environment, self.host)
        self.client = _grpc_client(address, options.token(self.environment))

    @task
    def send(self) -> None:
        """One picture to one of the sender's endpoints."""
        (endpoint,) = random.choices(list(self.sender.endpoints), self.sender.endpoints.values())
        picture = pictures.choose()
        started, clock = time.time(), time.perf_counter()
        try:
            fault = grpc_fault(self.client.ask(endpoint, picture.body), picture.broken)
        except grpc.RpcError as error:
            fault = grpc_failure(error.code().name, error.details() or "")
        self.environment.events.request.fire(
            request_type="gRPC",
            name=endpoint,
            start_time=started,
            response_time=1000 * (time.perf_counter() - clock),
            response_length=0,  # the client hands on what it read from the answer, not the bytes
            exception=CatchResponseError(fault) if fault else None,
            context=_context(endpoint, picture),
        )


class UploadFeed(RestUser):
    """An application that checks every upload and asks for the family of some."""

    sender = mix.UPLOAD_FEED
    weight = sender.share
    wait_time = between(0.05, 0.5)


class Analyst(RestUser):
    """Someone who looks into single pictures; one of these stands for a room of them."""

    sender = mix.ANALYST
    weight = sender.share
    wait_time = between(0.05, 0.5)


class PartnerFeed(GrpcUser):
    """A partner's program, which sends over gRPC and wants all the answers."""

    sender = mix.PARTNER_FEED
    weight = sender.share
    wait_time = between(0.05, 0.5)
