"""The users, for Locust: `make load`, or `locust -f loadtests/locustfile.py --token TOKEN --host http://...`.

Closed-loop by default: a user waits for its answer, pauses and sends again. With --arrivals poisson or constant the
users share a schedule of arrivals (open-loop): whoever is free takes the next one, however slow the server is.
"""

import functools
import random
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import grpc
from grpc.experimental.gevent import init_gevent
from locust import FastHttpUser, User, events, task
from locust.env import Environment
from locust.runners import LocalRunner

from clients.grpc import GrpcClient
from loadtests import mix
from loadtests.recorder import record_requests
from loadtests.responses import grpc_failure, grpc_fault, rest_fault
from loadtests.scenarios import arrivals, stages_of
from server.gate_config import read_callers

GRPC_PORT = 7070
SPAWNING = 3.0  # seconds before the first arrival of an open loop, in which Locust starts the users
LATE = 1.0  # seconds: an arrival that finds no free user for so long is dropped, or a backlog would outlive an overload
NEVER = 1e6  # seconds


@events.init_command_line_parser.add_listener
def add_options(parser: ArgumentParser) -> None:
    """Add options. The token stays out of the web UI, which shows them to whoever opens it."""
    hidden: dict[str, Any] = {"include_in_web_ui": False}
    parser.add_argument("--token", env_var="IMAGETRUST_TOKEN", default="", help="inference token", **hidden)
    parser.add_argument("--callers", default="", metavar="FILE",
                        help="a gate's file: a sender that it names takes its own token", **hidden)  # fmt: skip
    parser.add_argument("--grpc-host", env_var="IMAGETRUST_GRPC_HOST", default="", metavar="HOST:PORT",
                        help=f"where gRPC is served; by default port {GRPC_PORT} of --host's machine")  # fmt: skip
    parser.add_argument("--request-log", default="", metavar="CSV", help="record every request", **hidden)
    parser.add_argument("--pause", type=float, default=0.5, help="greatest pause of a closed-loop user, seconds")
    parser.add_argument("--arrivals", choices=("closed", "poisson", "constant"), default="closed")
    parser.add_argument("--stages", default="30:10", help="of an open loop: SECONDS:RATE,SECONDS:RATE,...")
    parser.add_argument("--typical", action="store_true", help="send one kind of image to `authenticity` alone")


@events.init.add_listener
def set_up_recorder(environment: Environment, **_: Any) -> None:
    """Record the requests that this process sends, where --request-log asks for it."""
    options = environment.parsed_options
    if options.request_log:
        record_requests(environment, Path(options.request_log), 0 if options.arrivals == "closed" else SPAWNING)


@events.test_start.add_listener
def schedule_arrivals(environment: Environment, **_: Any) -> None:
    """Give each class of users its part of the rate: Poisson processes add up to one."""
    options = environment.parsed_options
    if options.arrivals == "closed":
        return
    if not isinstance(environment.runner, LocalRunner):
        raise ValueError("an open loop runs in one process: several do not share a schedule")
    stages = stages_of(*(tuple(map(float, stage.split(":"))) for stage in options.stages.split(",")))
    total = sum(user.weight for user in environment.user_classes)
    begin = time.perf_counter() + SPAWNING
    for user in environment.user_classes:
        seconds = arrivals(stages, user.weight / total, options.arrivals == "constant")
        user.schedule = (begin + second for second in seconds)


@functools.cache
def _tokens(callers: str) -> dict[str, str]:
    return dict(read_callers(Path(callers))) if callers else {}


class Sender(User):
    """Sends images of the mix to the endpoints of the sender that has its name."""

    abstract = True
    schedule: ClassVar[Iterator[float]]

    def on_start(self) -> None:
        """Wait for the first arrival of an open loop."""
        self._weights = mix.SENDERS[type(self).__name__][1]
        options = self.environment.parsed_options
        self._token = _tokens(options.callers).get(type(self).__name__, options.token)
        if options.arrivals != "closed":
            self.wait()

    def wait_time(self) -> float:
        """Return the seconds until this user sends again."""
        options = self.environment.parsed_options
        if options.arrivals == "closed":
            return random.uniform(0.1, 1) * options.pause
        now = time.perf_counter()
        return next((max(0.0, due - now) for due in self.schedule if due > now - LATE), NEVER)

    def choose(self) -> tuple[str, mix.Image, dict[str, str]]:
        """Return an endpoint, an image, and what the recorder notes of them."""
        typical = self.environment.parsed_options.typical
        (endpoint,) = random.choices(list(self._weights), list(self._weights.values()))
        endpoint, image = "authenticity" if typical else endpoint, mix.choose(typical)
        return endpoint, image, {"endpoint": endpoint, "image": image.kind}


class RestSender(Sender, FastHttpUser):
    """Sends over REST."""

    abstract = True

    @task
    def send(self) -> None:
        """Send one image."""
        endpoint, image, context = self.choose()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": image.media_type}
        with self.client.post(
            f"/predictions/{endpoint}", data=image.body, headers=headers, catch_response=True, context=context
        ) as response:
            body = response.content or str(response.error or "").encode()
            fault = rest_fault(response.status_code, body, image.kind == mix.BROKEN)
            if fault:
                response.failure(fault)
            else:
                response.success()


@functools.cache
def _grpc_client(address: str, token: str) -> GrpcClient:
    """Return one channel for all users of a process, which carries their calls side by side.

    gRPC is made to wait as gevent does only here, because `--processes` forks once the locustfile is loaded.
    """
    init_gevent()
    return GrpcClient(address, token)


class GrpcSender(Sender):
    """Sends over gRPC."""

    abstract = True

    @task
    def send(self) -> None:
        """Send one image."""
        options = self.environment.parsed_options
        client = _grpc_client(options.grpc_host or f"{urlsplit(self.host).hostname}:{GRPC_PORT}", self._token)
        endpoint, image, context = self.choose()
        started, clock = time.time(), time.perf_counter()
        try:
            fault = grpc_fault(client.ask(endpoint, image.body), image.kind == mix.BROKEN)
        except grpc.RpcError as error:
            fault = grpc_failure(error.code().name, error.details() or "")
        self.environment.events.request.fire(
            request_type="gRPC", name=endpoint, start_time=started, exception=fault, context=context,
            response_time=1000 * (time.perf_counter() - clock),
            response_length=0,  # the client hands on what it read from the answer, not its bytes
        )  # fmt: skip


class UploadFeed(RestSender):
    """An application that checks every upload and asks for the generator of some."""

    weight = mix.SENDERS["UploadFeed"][0]


class Analyst(RestSender):
    """People who look into single images."""

    weight = mix.SENDERS["Analyst"][0]


class PartnerFeed(GrpcSender):
    """A partner's program, which sends over gRPC and wants all the answers."""

    weight = mix.SENDERS["PartnerFeed"][0]
