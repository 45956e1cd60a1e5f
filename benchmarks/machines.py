"""Two servers behind one gate: shared load, and what happens when one is killed: `python -m benchmarks.machines`.

Each machine is a TorchServe with one worker and its own gate; the gate in front of them is made as that of several real
machines. All run on this machine and share its cores with the client. Exits with 1 where a request failed.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from archive_scripts.build import MODEL_STORE
from archive_scripts.prepare import prepare
from benchmarks.client import HttpConnection, RequestFailed
from benchmarks.compare import PHOTOGRAPHS, SIZES, TYPICAL
from benchmarks.systems import TASK, Setup, TorchServeServer, build_one
from imagetrust.files import replace_json
from measuring.conditions import machine
from measuring.images import encode
from measuring.processes import exit_on_signals, family
from measuring.report import conditions_text, table
from measuring.summary import percentile
from server.gate import Gate, add_token, unready_machines
from server.gate_config import Behind, read_settings
from server.gate_keeper import own_server
from server.instance import free_ports

RESULTS = Path(__file__).resolve().parent / "results" / "machines.json"
UNLIMITED = {"requests_per_second": 100_000, "burst": 100_000}
NAMES = ("first", "second")


class Machine:
    """What one machine has: a TorchServe and the gate beside it. callers: who may ask that gate."""

    def __init__(self, folder: Path, setup: Setup, callers: Path) -> None:
        folder.mkdir()
        folder.chmod(0o711)
        self._server = TorchServeServer(build_one)
        self._server.start(folder, setup)
        instance = self._server.instance
        self.rest, self.grpc = (f"127.0.0.1:{port}" for port in free_ports(2))
        settings = read_settings(changes=UNLIMITED | {"callers": str(callers), "rest": self.rest, "grpc": self.grpc})
        self._gate = Gate(folder / "gate", settings, own_server(instance, instance.addresses))
        self._gate.start()
        self._gate.set_ready(True)

    def answered(self) -> int:
        """Return how many requests its gate has answered with success."""
        lines = self._gate.access_log.read_text().splitlines() if self._gate.access_log.exists() else []
        return sum(row["status"] == 200 and row["path"].startswith("/predictions/") for row in map(json.loads, lines))

    def kill(self) -> None:
        """End all of its processes at once, as when a machine loses its power."""
        for process in family([*self._server.roots(), *filter(None, [self._gate.process])]):
            process.kill()

    def stop(self) -> None:
        """Stop what runs of it."""
        self._gate.stop(5)
        self._server.stop()


class Front:
    """The gate in front of machines."""

    def __init__(self, folder: Path, machines: Sequence[Machine], callers: Path, behind: Path) -> None:
        folder.mkdir()
        folder.chmod(0o711)
        rest, grpc = free_ports(2)
        addresses = {"rest": f"127.0.0.1:{rest}", "grpc": f"127.0.0.1:{grpc}", "callers": str(callers)}
        named = {"rest": [one.rest for one in machines], "grpc": [one.grpc for one in machines], "token": str(behind)}
        settings = read_settings(changes=UNLIMITED | addresses | {"behind": named})
        self.port = rest
        self._gate = Gate(folder / "gate", settings, lambda: self.behind)
        self.behind: Behind = settings.machines() or Behind((), (), "")
        self._gate.start()

    def stop(self) -> None:
        """Stop it."""
        self._gate.stop(5)


@dataclass(frozen=True)
class Asked:
    """One request: when it began, seconds that it took, and what was wrong; empty where it was answered."""

    begin: float
    seconds: float
    fault: str


class Load:
    """A closed loop that runs until it is stopped, and goes on where a request fails."""

    def __init__(self, port: int, token: str, images: Sequence[bytes], concurrency: int) -> None:
        self.asked: list[Asked] = []
        self._port, self._token, self._images = port, token, images
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(concurrency)]
        for thread in self._threads:
            thread.start()

    def _ask(self, turn: int) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        connection = HttpConnection(self._port, f"/predictions/{TASK}", headers)
        while not self._ended.is_set():
            begin, fault = time.monotonic(), ""
            try:
                connection(self._images[turn % len(self._images)])
            except (RequestFailed, OSError) as error:
                fault = f"{type(error).__name__}: {error}"
                connection = HttpConnection(self._port, f"/predictions/{TASK}", headers)
            self.asked.append(Asked(begin, time.monotonic() - begin, fault))
            turn += 1

    def stop(self) -> list[Asked]:
        """End it after the requests under way; return all."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        return self.asked


def summary(asked: Sequence[Asked], begin: float, end: float) -> dict[str, float]:
    """Return the rate, the latencies and the failures of the requests that ended between two times."""
    rows = [one for one in asked if begin <= one.begin + one.seconds < end]
    good = [one.seconds for one in rows if not one.fault]
    return {
        "requests": len(rows),
        "failed": len(rows) - len(good),
        "requests_per_second": len(good) / (end - begin),
        "p50_ms": 1000 * percentile(good, 0.5),
        "p95_ms": 1000 * percentile(good, 0.95),
        "slowest_ms": 1000 * max(good),
    }


def main() -> None:
    """Read the command line, measure, print and write; exit with 1 where a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, default=MODEL_STORE / "0.3", help="folder of a release")
    parser.add_argument("--seconds", type=float, default=15, help="of each part, more than 2")
    parser.add_argument("--concurrency", type=int, default=8, help="requests under way at a time")
    parser.add_argument("--folder", type=Path, help="where the servers write; as root: one that others may pass to")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the results")
    arguments = parser.parse_args()
    if arguments.seconds <= 2:
        parser.error("--seconds must be more than 2")
    exit_on_signals()
    images = [encode(name, *SIZES[TYPICAL]) for name in PHOTOGRAPHS]
    conditions = machine(("torchserve", "openvino")) | {
        name: getattr(arguments, name) for name in ("seconds", "concurrency")
    }
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        folder.chmod(0o711)
        parts, shares, faults = run(folder, arguments, images)
    print(conditions_text(conditions | {"release": arguments.release.name, "workers of a machine": 1}))
    header = ["", "requests", "failed", "requests/s", "p50 ms", "p95 ms", "slowest ms"]
    print(table(header, [[part, *(f"{value:.0f}" for value in row.values())] for part, row in parts.items()]))
    print(f"Shares of both machines: {', '.join(f'{name} {share:.0%}' for name, share in shares.items())}")
    for fault, count in faults.items():
        print(f"{count} x {fault}")
    replace_json(arguments.out, {"conditions": conditions, "parts": parts, "shares": shares, "faults": faults})
    sys.exit(1 if faults else 0)


def run(
    folder: Path, arguments: argparse.Namespace, images: Sequence[bytes]
) -> tuple[dict[str, dict[str, float]], dict[str, float], dict[str, int]]:
    """Start two machines and ask them; return the summaries of the parts, the machines' shares, and the faults."""
    prepare(arguments.release.resolve(), folder / "model")
    setup = Setup(folder / "model", workers=1, batch_size=2, batch_delay=1)
    token, behind = add_token(folder / "callers", "benchmark"), folder / "behind"
    add_token(behind, "front")
    started: list[Machine | Front] = []
    parts, asked = {}, []

    def ask(front: Front, seconds: float) -> list[Asked]:
        load = Load(front.port, token, images, arguments.concurrency)
        time.sleep(seconds)
        return load.stop()

    try:
        machines = []
        for name in NAMES:
            machines.append(Machine(folder / name, setup, behind))
            started.append(machines[-1])
        alone = Front(folder / "alone", machines[:1], folder / "callers", behind)
        started.append(alone)
        both = Front(folder / "both", machines, folder / "callers", behind)
        started.append(both)
        if missing := unready_machines(both.behind):
            sys.exit(f"not ready: {'; '.join(missing)}")
        ask(both, arguments.seconds / 3)  # not counted: the first requests of each machine
        for part, front in (("one machine", alone), ("two machines", both)):
            before, begin = [one.answered() for one in machines], time.monotonic()
            part_asked = ask(front, arguments.seconds)
            parts[part] = summary(part_asked, begin, begin + arguments.seconds)
            asked += part_asked
        answered = [one.answered() - count for one, count in zip(machines, before, strict=True)]
        shares = {name: count / sum(answered) for name, count in zip(NAMES, answered, strict=True)}

        load = Load(both.port, token, images, arguments.concurrency)
        time.sleep(arguments.seconds / 2)
        killed = time.monotonic()
        machines[1].kill()
        time.sleep(arguments.seconds)
        under_way = load.stop()
        asked += under_way
        parts["two seconds after one is killed"] = summary(under_way, killed, killed + 2)
        parts["the rest"] = summary(under_way, killed + 2, killed + arguments.seconds)
    finally:
        for one in reversed(started):
            one.stop()
    return parts, shares, dict(Counter(one.fault for one in asked if one.fault))


if __name__ == "__main__":
    main()
