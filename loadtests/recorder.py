"""A CSV of every request: Locust's own statistics round latencies and keep neither images nor times."""

import csv
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from imagetrust.files import replace_bytes
from loadtests.mix import BROKEN
from loadtests.responses import Rejected

if TYPE_CHECKING:  # importing Locust patches the standard library, which those who read a recording do not want
    from locust.env import Environment


@dataclass(frozen=True)
class Request:
    """second: when it was sent, from the start of the load. image: its kind. An "expected_4xx" is a broken image's."""

    second: float
    transport: str
    endpoint: str
    image: str
    milliseconds: float
    outcome: Literal["served", "expected_4xx", "rejected", "failed"]
    fault: str = ""


def read_requests(path: Path) -> list[Request]:
    """Read what `record_requests` wrote: the requests in the order in which they were answered."""
    with path.open(newline="") as file:
        return [
            Request(**row | {"second": float(row["second"]), "milliseconds": float(row["milliseconds"])})
            for row in csv.DictReader(file)
        ]


def load_began(path: Path) -> float:
    """Return when the load of a recording began, in seconds since 1970. Raises OSError where it has not yet."""
    return float(path.with_suffix(".start").read_text())


def record_requests(environment: "Environment", path: Path, delay: float) -> None:
    """Write every request of this process of Locust to `path`.

    delay: seconds from the start of the test to the start of the load.
    """
    file = path.open("w", newline="")
    writer = csv.DictWriter(file, [field.name for field in fields(Request)])
    writer.writeheader()
    started = time.time()

    def start(**_: Any) -> None:
        nonlocal started
        started = time.time() + delay
        replace_bytes(path.with_suffix(".start"), str(started).encode())

    def record(
        request_type: str, start_time: float, response_time: float, exception: Exception | None,
        context: dict[str, str], **_: Any,
    ) -> None:  # fmt: skip
        if exception:
            outcome = "rejected" if isinstance(exception, Rejected) else "failed"
        else:
            outcome = "expected_4xx" if context["image"] == BROKEN else "served"
        request = Request(
            second=round(start_time - started, 3),
            transport="gRPC" if request_type == "gRPC" else "REST",
            endpoint=context["endpoint"],
            image=context["image"],
            milliseconds=round(response_time, 2),
            outcome=outcome,
            fault=str(exception or ""),
        )
        writer.writerow(asdict(request))

    environment.events.test_start.add_listener(start)
    environment.events.request.add_listener(record)
    environment.events.quitting.add_listener(lambda **_: file.close())
