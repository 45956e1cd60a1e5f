"""Runs a scenario against a server of its own and judges it: `python -m loadtests.run steady|ramp|spike|soak|even`.

Ends with status 1 where a gate is missed, 2 where the run could not be made. docs/load.md says what the gates mean.
"""

import argparse
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from loadtests import pictures, report
from loadtests.capacity import measure
from loadtests.conditions import machine, processor_time
from loadtests.gates import Gate, judge
from loadtests.headless import LocustError, run_locust
from loadtests.memory import watched
from loadtests.own_server import own_server
from loadtests.requests_sent import read
from loadtests.timetable import SCENARIOS
from server.instance import ServerError
from server.settings import ROOT


def say(line: str) -> None:
    print(line, flush=True)


def run(scenario: str, minutes: float, capacity: float | None, workers: list[str], out: Path) -> list[Gate]:
    """Runs a scenario, writes its files into `out` and prints what came of it. Returns its gates.

    minutes: as SCENARIOS has them. capacity: requests a second, or None to measure it first. workers: "ENDPOINT=N".
    Raises ServerError or LocustError where the run cannot be made.
    """
    planned = SCENARIOS[scenario]
    stages = planned.stages(minutes)
    out.mkdir(parents=True, exist_ok=True)
    conditions = machine()
    say("Making the pictures that are not there yet, and starting a server ...")
    pictures.make_all()
    with own_server(out / "server_logs", workers) as server:
        measured = capacity is None
        if measured:
            say("Measuring capacity ...")
            capacity = measure(server, out, planned.unpaced)
        seconds = sum(stage.seconds for stage in stages)
        say(f"Capacity: {capacity:.1f} requests/s. Running {scenario} for {seconds:.0f} s ...")
        prefix = out / scenario
        with processor_time(server) as used, watched(server, out / "memory.csv") as memory:
            run_locust(
                planned.paced, server, prefix,
                ["--scenario", scenario, "--capacity", str(capacity), "--minutes", str(minutes)],
            )  # fmt: skip
    requests = read(Path(f"{prefix}_requests.csv"))
    gates = judge(scenario, stages, capacity, requests, memory)
    latencies, by_stage = report.latencies(requests), report.by_stage(stages, capacity, requests)
    summary = {
        "scenario": scenario, "seconds": seconds, "capacity": capacity, "capacity_measured": measured,
        "workers": workers, "conditions": conditions, "processor_seconds": asdict(used),
        "stages": by_stage, "latencies_ms": latencies,
    }  # fmt: skip
    report.write_summary(out / "summary.json", summary, gates)
    for rows in (by_stage, latencies):
        say("\n" + report.table(rows))
    say(f"\n{used}")
    say("\n" + report.verdicts(gates))
    return gates


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtests.run", description="Runs a load scenario and judges it.")
    parser.add_argument("scenario", choices=list(SCENARIOS))
    parser.add_argument("--minutes", type=float, help="how long, without a ramp's or spike's recovery; by default "
                        + ", ".join(f"{name} {scenario.minutes}" for name, scenario in SCENARIOS.items()))  # fmt: skip
    parser.add_argument("--capacity", type=float, metavar="R",
                        help="requests a second to take as the server's capacity, instead of measuring it")  # fmt: skip
    parser.add_argument("--workers", action="append", default=[], metavar="ENDPOINT=N", help="workers of an endpoint")
    parser.add_argument("--out", type=Path, help="folder for what is written; by default one under runs/load")
    arguments = parser.parse_args()
    for name in ("minutes", "capacity"):
        if getattr(arguments, name) is not None and getattr(arguments, name) <= 0:
            parser.error(f"--{name} must be above 0")
    minutes = arguments.minutes or SCENARIOS[arguments.scenario].minutes
    out = arguments.out or ROOT / "runs" / "load" / f"{arguments.scenario}-{time.strftime('%Y%m%d-%H%M%S')}"
    os.environ["NO_PROXY"] = "127.0.0.1"  # the server is on this machine
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that the server is stopped then too
    try:
        gates = run(arguments.scenario, minutes, arguments.capacity, arguments.workers, out.resolve())
    except (ServerError, LocustError) as error:
        say(f"error: {error}")
        sys.exit(2)
    say(f"\nWritten to {out}")
    missed = [gate.name for gate in gates if gate.passed is False]
    if missed:
        sys.exit(f"Missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
