"""Run a scenario against a server of its own and judge it: `python -m loadtests.run steady|ramp|spike|soak|constant`.

Exits with status 1 where a gate is missed, 2 where the run could not be made. docs/load.md says what the gates mean.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from imagetrust.files import replace_json
from loadtests import mix
from loadtests.gated import Gated, build_archives, gated_server
from loadtests.gates import TYPICAL_KIND, Gate, judge, latencies
from loadtests.memory import sample_memory
from loadtests.recorder import Request, read_requests
from loadtests.scenarios import CONSTANT, SCENARIOS, Stages
from measuring.conditions import machine
from measuring.processes import exit_on_signals, processor_seconds
from measuring.report import table
from measuring.summary import percentile
from server.instance import ServerError, TorchServe, free_addresses
from server.settings import ROOT

WARM_UP, COUNTED = 10, 30  # seconds of the measurement of the throughput: the first batches of each size are slow
CLOSED_USERS = 24  # without a pause: enough to fill the workers' batches, too few to fill a queue of 100
OPEN_USERS = 1000  # more than the server's queues hold, so that an arrival always finds a free one
SLACK = 15  # seconds for Locust to start its users, on a busy machine
PACKAGES = ("torchserve", "torch", "locust", "grpcio", "gevent")
_VERDICTS = {True: "ok", False: "MISSED", None: "not judged"}


class LocustError(Exception):
    """Locust failed, or what it measured cannot be used; the message says why."""


@dataclass(frozen=True)
class Asked:
    """Who is asked: a URL without a final slash, host:port of gRPC, and the token that both take.

    callers: the gate's file of them, where each sender of the mix has a token of its own.
    """

    rest: str
    grpc: str
    token: str
    callers: str = ""


def asked_of(server: TorchServe | Gated) -> Asked:
    """Return TorchServe itself as who is asked, or the gate before it."""
    if isinstance(server, Gated):
        return Asked(server.url, server.gate.settings.grpc, server.token, server.gate.settings.callers)
    return Asked(server.addresses.inference, server.addresses.grpc_inference, server.token("inference"))


@contextmanager
def own_server(logs: Path, workers: dict[str, int], release: Path | None = None) -> Iterator[TorchServe]:
    """Build the archives, start a server on free ports beside any that runs, and stop it when the block ends.

    logs: folder that gets the server's logs. workers: of each endpoint, where not the number that the server chooses.
    release: whose archives; those that are served where not given.
    Raises ServerError where the archives cannot be built or the server does not start.
    """
    # A short path in the system's folder: the workers' sockets lie in it, whose paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        store = Path(folder) / "model_store"
        build_archives(store, release)
        server = TorchServe(Path(folder) / "server")
        try:
            server.start(changes={"model_store": str(store)} | free_addresses(), workers=workers)
            yield server
        finally:
            server.stop()
            shutil.copytree(server.logs, logs, dirs_exist_ok=True)


@contextmanager
def own_gated_server(logs: Path, workers: dict[str, int], release: Path | None = None) -> Iterator[Gated]:
    """Do as `own_server` for a server with its supervisor and its gate, whose limits on a caller are those shipped."""
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        store = Path(folder)
        build_archives(store, release)
        archives = sorted(archive.name for archive in store.glob("*.mar"))
        with gated_server(archives, store, workers, logs=logs) as running:
            yield running


def run_locust(asked: Asked, prefix: Path, users: int, seconds: float, arguments: list[str]) -> list[Request]:
    """Send requests; return them all, failed ones too.

    prefix: of the files written: PREFIX.html, PREFIX_*.csv, PREFIX_requests.csv and PREFIX.log.
    Raises LocustError where Locust did not do its work.
    """
    with running_locust(asked, prefix, users, seconds, arguments) as (process, requests):
        process.wait()
    return read_requests(requests)


@contextmanager
def running_locust(
    asked: Asked, prefix: Path, users: int, seconds: float, arguments: list[str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Send requests while the block runs, at most so many seconds; yield Locust's process and the CSV of requests.

    The CSV is complete after the block. Raises LocustError where Locust did not do its work.
    """
    log, requests = Path(f"{prefix}.log"), Path(f"{prefix}_requests.csv")
    command = [
        sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / "locustfile.py"), "--headless", "--only-summary",
        "--host", asked.rest, "--grpc-host", asked.grpc, "--callers", asked.callers,
        "--users", str(users), "--spawn-rate", str(users), "--run-time", f"{seconds:.0f}s", "--stop-timeout", "60",
        "--exit-code-on-error", "0", "--html", f"{prefix}.html", "--csv", str(prefix), "--request-log", str(requests),
        *arguments,
    ]  # fmt: skip
    environment = os.environ | {"IMAGETRUST_TOKEN": asked.token, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=prefix.parent, env=environment, stdout=output, stderr=output)
        try:
            yield process, requests
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait()
    if process.returncode:
        raise LocustError(f"Locust ended with status {process.returncode}.\n{log.read_text(errors='replace')[-3000:]}")


def measure_throughput(asked: Asked, out: Path, mixed: list[str], warm_up: float, counted: float) -> float:
    """Return the requests a second that a closed loop of CLOSED_USERS without a pause gets right answers to.

    mixed: what is sent, as Locust's arguments. warm_up, counted: in seconds.
    Raises LocustError where a request fails: shares of a throughput with failures mean nothing.
    """
    requests = run_locust(asked, out / "throughput", CLOSED_USERS, warm_up + counted, ["--pause", "0", *mixed])
    wrong = [request for request in requests if request.outcome in ("failed", "rejected")]
    if wrong:
        raise LocustError(f"{len(wrong)} requests failed while the throughput was measured: {wrong[0].fault}")
    answered = [request.second + request.milliseconds / 1000 for request in requests]
    return sum(warm_up <= second < warm_up + counted for second in answered) / counted


def run(
    scenario: str, minutes: float, throughput: float | None, workers: dict[str, int], out: Path, release: Path | None,
    through_the_gate: bool = False,
) -> list[Gate]:  # fmt: skip
    """Run a scenario, write its files into `out` and print its results. Return its gates.

    throughput: requests a second at a load of 1, or None to measure it first. workers, release: see `own_server`.
    Raises ServerError or LocustError where the run cannot be made.
    """
    stages = SCENARIOS[scenario][0](minutes)
    mixed = ["--typical", "UploadFeed"] if scenario == CONSTANT else []
    out.mkdir(parents=True, exist_ok=True)
    conditions = machine(PACKAGES)
    print("Making the images that are missing, and starting a server ...", flush=True)
    mix.make_images()
    start = own_gated_server if through_the_gate else own_server
    with start(out / "server_logs", workers, release) as server:
        if measured := throughput is None:
            print("Measuring the throughput ...", flush=True)
            throughput = measure_throughput(asked_of(server), out, mixed, WARM_UP, COUNTED)
        seconds = stages[-1].end
        print(f"Throughput: {throughput:.1f} requests/s. Running {scenario} for {seconds:.0f} s ...", flush=True)
        rates = ",".join(f"{stage.end - stage.start}:{stage.load * throughput}" for stage in stages)
        arguments = ["--arrivals", "constant" if scenario == CONSTANT else "poisson", "--stages", rates, *mixed]
        java = server.process
        before = _processor_seconds(java)
        with sample_memory(java, out / "memory.csv") as memory:
            requests = run_locust(asked_of(server), out / scenario, OPEN_USERS, seconds + SLACK, arguments)
        spent = {who: round(after - before[who], 1) for who, after in _processor_seconds(java).items()}
    gates = judge(scenario, stages, throughput, requests, memory)
    tables = {"stages": stage_rows(stages, throughput, requests), "latencies": latency_rows(requests)}
    replace_json(
        out / "summary.json",
        {"scenario": scenario, "seconds": seconds, "throughput": throughput, "throughput_measured": measured,
         "workers": workers, "release": release and release.name, "gate": through_the_gate,
         "conditions": conditions, "processor_seconds": spent,
         **tables,
         "gates": [asdict(gate) for gate in gates]},
    )  # fmt: skip
    tables["gates"] = [asdict(gate) | {"passed": _VERDICTS[gate.passed]} for gate in gates]
    for rows in tables.values():
        print("\n" + table(list(rows[0]) if rows else [], [list(row.values()) for row in rows]), flush=True)
    print(f"\nProcessor seconds: {', '.join(f'{who} {value}' for who, value in spent.items())}", flush=True)
    return gates


def _processor_seconds(java: psutil.Process) -> dict[str, float]:
    """Return what the server, the load generator and the whole machine have used so far."""
    children, times = resource.getrusage(resource.RUSAGE_CHILDREN), psutil.cpu_times()
    return {
        "server": processor_seconds([java]),
        "load generator": children.ru_utime + children.ru_stime,
        "machine": sum(times) - times.idle - times.iowait - times.guest - times.guest_nice,  # Linux counts guests twice
    }


def stage_rows(stages: Stages, throughput: float, requests: list[Request]) -> list[dict[str, object]]:
    """Return, by stage, what was planned, sent and answered a second, and the share of the sent that was rejected."""
    rows: list[dict[str, object]] = []
    for stage in stages:
        seconds = stage.end - stage.start
        sent = [one for one in requests if stage.start <= one.second < stage.end]
        answered = [one for one in requests if stage.start <= one.second + one.milliseconds / 1000 < stage.end]
        right = sum(one.outcome in ("served", "expected_4xx") for one in answered)
        rejected = sum(one.outcome == "rejected" for one in sent)
        rows.append({
            "second": round(stage.start), "load": f"{stage.load:.0%}",
            "planned/s": round(stage.load * throughput, 1), "sent/s": round(len(sent) / seconds, 1),
            "answered/s": round(right / seconds, 1), "rejected": f"{rejected / max(1, len(sent)):.0%}",
        })  # fmt: skip
    return rows


def latency_rows(requests: list[Request]) -> list[dict[str, object]]:
    """Return, by endpoint, how many were served, p50 and p99 in ms, and their ratio: of all images and one kind."""
    rows: list[dict[str, object]] = []
    for endpoint in mix.ENDPOINTS:
        for image in (None, TYPICAL_KIND):
            if served := latencies(requests, endpoint, image):
                p50, p99 = percentile(served, 0.5), percentile(served, 0.99)
                rows.append({"endpoint": endpoint, "images": image or "all", "served": len(served),
                             "p50": p50, "p99": p99, "p99 / p50": round(p99 / p50, 2)})  # fmt: skip
    return rows


def _workers(text: str) -> tuple[str, int]:
    endpoint, _, count = text.partition("=")
    if endpoint not in mix.ENDPOINTS or not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not ENDPOINT=N")
    return endpoint, int(count)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.run", description="Runs a load scenario and judges it.")
    parser.add_argument("scenario", choices=list(SCENARIOS))
    parser.add_argument("--minutes", type=float, help="length, without a ramp's or a spike's recovery; by default "
                        + ", ".join(f"{name} {minutes}" for name, (_, minutes) in SCENARIOS.items()))  # fmt: skip
    parser.add_argument("--throughput", type=float, metavar="R",
                        help="requests a second of the server, instead of measuring them")  # fmt: skip
    parser.add_argument("--workers", action="append", default=[], type=_workers, metavar="ENDPOINT=N",
                        help="workers of an endpoint")  # fmt: skip
    parser.add_argument("--release", type=Path, help="a release's folder; those that are served where not given")
    parser.add_argument(
        "--gate", action="store_true", help="ask through the gate, as callers do, not TorchServe itself"
    )
    parser.add_argument("--out", type=Path, help="folder of the results; by default one under runs/load")
    arguments = parser.parse_args()
    for name in ("minutes", "throughput"):
        if getattr(arguments, name) is not None and getattr(arguments, name) <= 0:
            parser.error(f"--{name} must be above 0")
    minutes = arguments.minutes or SCENARIOS[arguments.scenario][1]
    out = arguments.out or ROOT / "runs" / "load" / f"{arguments.scenario}-{time.strftime('%Y%m%d-%H%M%S')}"
    os.environ["NO_PROXY"] = "127.0.0.1"  # the server is on this machine
    exit_on_signals(status=2)
    try:
        release = arguments.release and arguments.release.resolve()
        gates = run(
            arguments.scenario, minutes, arguments.throughput, dict(arguments.workers), out.resolve(), release,
            arguments.gate,
        )  # fmt: skip
    except (ServerError, LocustError) as error:
        print(f"error: {error}")
        sys.exit(2)
    print(f"\nWritten to {out}")
    if missed := [gate.name for gate in gates if gate.passed is False]:
        sys.exit(f"Missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
