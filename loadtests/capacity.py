"""How much this machine serves of the mix, with the load generator on it."""

from pathlib import Path

from loadtests.headless import LocustError, run_locust
from loadtests.requests_sent import read
from server.instance import TorchServe

USERS = 24  # without a pause: enough to fill the workers' batches, too few to fill a queue of 100
WARM_UP = 10  # seconds before counting: the first batches of each size are slow
SECONDS = 30


def measure(
    server: TorchServe, out: Path, users: str = "unpaced.py", warm_up: float = WARM_UP, seconds: float = SECONDS
) -> float:
    """Requests a second that are answered rightly while USERS ask one after the other without a pause.

    out: folder for Locust's files, named capacity*. users: the locustfile that has them. Raises LocustError where
    Locust fails or a request does: on a server that fails at this, shares of its capacity mean nothing.
    """
    prefix = out / "capacity"
    length = f"{warm_up + seconds:.0f}s"
    run_locust(users, server, prefix, ["--users", str(USERS), "--spawn-rate", str(USERS), "--run-time", length])
    requests = read(Path(f"{prefix}_requests.csv"))
    wrong = [request for request in requests if request.outcome in ("failed", "refused")]
    if wrong:
        raise LocustError(f"{len(wrong)} requests failed while capacity was measured, the first: {wrong[0].fault}")
    answered = [request.second + request.milliseconds / 1000 for request in requests]
    return sum(warm_up <= second < warm_up + seconds for second in answered) / seconds
