"""A roll-out under load: `python -m loadtests.rollout`.

While Locust sends the mix through the gate, a second version of three models is registered, scaled, sent a share,
promoted and rolled back, and then Java is killed, which the supervisor starts anew. Prints by step what was sent and
lost.
Exits with status 1 where any step but the last lost a request, 2 where the run could not be made.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagetrust.files import replace_json
from loadtests import mix
from loadtests.gated import SMALL, Gated, build_archives, build_renamed, gated_server
from loadtests.recorder import Request, load_began, read_requests
from loadtests.run import PACKAGES, LocustError, asked_of, running_locust
from measuring.conditions import machine
from measuring.processes import exit_on_signals
from measuring.report import table
from server.instance import ServerError
from server.settings import ROOT

NEW = "0.3.1"  # the same release under another version's name: what is tried is the change
ONE = "authenticity"
USERS = 200
LONGEST = 900  # seconds of load
RESTART = "restart"


@dataclass(frozen=True)
class Step:
    """A change, and the seconds since 1970 at which it was begun and was over."""

    name: str
    begin: float
    end: float


def steps(settle: float) -> list[tuple[str, Callable[[Gated], object]]]:
    """Return what is done, in order. settle: seconds between a change and the next."""

    def restart(running: Gated) -> None:
        java = running.server.process
        if java is None:
            raise ServerError("TorchServe does not run")
        java.kill()
        java.wait(10)
        running.wait_until_ready()

    return [
        ("before", lambda _: time.sleep(settle)),
        (
            "register",
            lambda running: [running.models("register", name, NEW, "--workers", "1") for name in mix.ENDPOINTS],
        ),
        ("scale up", lambda running: running.models("scale", ONE, "2", "--version", NEW)),
        ("scale down", lambda running: running.models("scale", ONE, "1", "--version", NEW)),
        ("canary", lambda running: (running.models("canary", ONE, NEW, "30%"), time.sleep(3 * settle))),
        ("promote", lambda running: running.models("promote", ONE, NEW, "--max-slower", "20")),
        ("roll back", lambda running: running.models("rollback", ONE)),
        (RESTART, restart),
    ]


def rows_of(done: Sequence[Step], requests: Sequence[Request], began: float) -> list[dict[str, object]]:
    """Return, by step, how many requests were answered in it, lost and how, and the longest in seconds.

    A step lasts until the next one begins. A request is lost in the step in which its failure came. began: when the
    load began, in seconds since 1970.
    """
    rows: list[dict[str, object]] = []
    for step, following in zip(done, [*done[1:], None], strict=True):
        until = following.begin if following else float("inf")
        mine = [one for one in requests if step.begin <= began + one.second + one.milliseconds / 1000 < until]
        lost = Counter(one.fault[:110] for one in mine if one.outcome in ("failed", "rejected"))
        rows.append({
            "step": step.name, "seconds": round(step.end - step.begin, 1), "requests": len(mine),
            "lost": lost.total(), "longest": round(max((one.milliseconds / 1000 for one in mine), default=0), 2),
            "how": "; ".join(f"{count} x {fault}" for fault, count in lost.most_common(4)),
        })  # fmt: skip
    return rows


def run(rate: float, settle: float, built: Path | None, out: Path) -> list[dict[str, object]]:
    """Make the run; write its files into `out` and return the rows. rate: requests a second. built: see `--store`.

    Raises ServerError or LocustError where it cannot be made.
    """
    out.mkdir(parents=True, exist_ok=True)
    mix.make_images()
    done: list[Step] = []
    with tempfile.TemporaryDirectory() as name:
        store = built or Path(name)
        if not built:
            print("Building the archives of two versions ...", flush=True)
            build_archives(store, SMALL)
            build_renamed(SMALL, store, NEW)
        archives = [f"{endpoint}-{SMALL.name}.mar" for endpoint in mix.ENDPOINTS]
        with gated_server(archives, store, dict.fromkeys(mix.ENDPOINTS, 1), logs=out / "server_logs") as running:
            asked = asked_of(running)
            arguments = ["--arrivals", "poisson", "--stages", f"{LONGEST}:{rate}"]
            with running_locust(asked, out / "rollout", USERS, LONGEST, arguments) as (process, csv):
                deadline = time.monotonic() + 60
                while not csv.with_suffix(".start").exists() or time.time() < load_began(csv):
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise LocustError(f"Locust sends nothing: {out / 'rollout.log'}")
                    time.sleep(0.2)
                for step, change in steps(settle):
                    print(f"{step} ...", flush=True)
                    begin = time.time()
                    try:
                        change(running)
                    except ServerError as error:  # what was counted until then is told all the same
                        print(f"error: {error}", flush=True)
                        break
                    finally:
                        done.append(Step(step, begin, time.time()))
                    time.sleep(settle)
            requests = read_requests(csv)
    return rows_of(done, requests, load_began(csv))


def main() -> None:
    """Read the command line, run and print."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.rollout", description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=float, default=8, help="requests a second")
    parser.add_argument("--settle", type=float, default=4, help="seconds between two changes")
    parser.add_argument("--store", type=Path, help="folder with the archives of both versions, where they are built")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "load" / "rollout", help="folder of the results")
    arguments = parser.parse_args()
    os.environ["NO_PROXY"] = "127.0.0.1"
    exit_on_signals(status=2)
    try:
        rows = run(arguments.rate, arguments.settle, arguments.store, arguments.out.resolve())
    except (ServerError, LocustError) as error:
        print(f"error: {error}")
        sys.exit(2)
    replace_json(
        arguments.out / "rollout.json", {"rate": arguments.rate, "conditions": machine(PACKAGES), "steps": rows}
    )
    print("\n" + table(list(rows[0]), [list(row.values()) for row in rows]))
    if len(rows) < len(steps(0)):
        sys.exit(2)
    if lost := [row["step"] for row in rows if row["lost"] and row["step"] != RESTART]:
        sys.exit(f"Requests were lost: {', '.join(map(str, lost))}")


if __name__ == "__main__":
    main()
