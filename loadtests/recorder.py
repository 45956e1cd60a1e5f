"""Adds --request-log to Locust: a CSV of every request that this process sends. Importing it is enough."""

import csv
import time
from dataclasses import asdict, fields
from pathlib import Path

from locust import events
from locust.env import Environment

from loadtests.outcomes import REFUSED
from loadtests.requests_sent import Request


@events.init_command_line_parser.add_listener
def add_option(parser) -> None:
    parser.add_argument("--request-log", default="", metavar="CSV", include_in_web_ui=False,
                        help="write down every request that this process sends")  # fmt: skip


@events.init.add_listener
def start_recording(environment: Environment, **_) -> None:
    if environment.parsed_options.request_log:
        _Recorder(Path(environment.parsed_options.request_log), environment)


class _Recorder:
    def __init__(self, path: Path, environment: Environment) -> None:
        self._file = path.open("w", newline="")
        self._writer = csv.DictWriter(self._file, [field.name for field in fields(Request)])
        self._writer.writeheader()
        self._started = time.time()
        environment.events.test_start.add_listener(self._note_start)
        environment.events.request.add_listener(self._note)
        environment.events.quitting.add_listener(lambda **_: self._file.close())

    def _note_start(self, **_) -> None:
        self._started = time.time()

    def _note(self, request_type, start_time, response_time, exception, context, **_) -> None:
        if exception:
            outcome = "refused" if str(exception) == REFUSED else "failed"
        else:
            outcome = "declined" if context["kind"] == "broken" else "served"
        request = Request(
            second=round(start_time - self._started, 3),
            transport="gRPC" if request_type == "gRPC" else "REST",
            endpoint=context["endpoint"],
            kind=context["kind"],
            milliseconds=round(response_time, 2),
            outcome=outcome,
            fault=str(exception or ""),
        )
        self._writer.writerow(asdict(request))
