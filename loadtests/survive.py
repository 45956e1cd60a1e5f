"""What the product survives: `python -m loadtests.survive SCENARIO`, or several; `--help` lists them.

Each scenario starts a server of its own with its supervisor and gate, on free ports of loopback, does its harm and
prints what callers and processes saw. Exits with status 1 where anything was seen that must not be, 2 where a run could
not be made. docs/reliability.md has the results.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import requests
from PIL import Image

from clients.rest import ask
from imagetrust.contents import SIGNATURE
from loadtests import mix
from loadtests.gated import SMALL, Gated, build_archives, gated_server
from loadtests.gates import memory_growth
from loadtests.memory import sample_memory
from loadtests.run import LocustError, asked_of, measure_throughput, run_locust
from loadtests.scenarios import ORDINARY
from measuring.images import encode
from measuring.processes import exit_on_signals
from measuring.report import table
from server.gate import add_token
from server.instance import ServerError

ONE = "authenticity"
CALLERS = 4
BEAT = 5  # seconds between two workers killed
NOTICE = 5.0  # seconds in which the supervisor must have seen a failure
BOUND = 60.0  # seconds that no caller may wait for an answer, whatever its kind
DRIPPING, IDLE, UNFINISHED = 200, 3000, 30
FULL = "4m"  # the log disk that is filled
GIGABYTES = 3.0  # of all workers, while they decode four of the largest transparent pictures


@dataclass
class Run:
    """What a scenario is given, and what it found.

    seconds: of load, where it has a length. store, version: archives of all endpoints. logs: folder that gets the
    server's and the gate's, if any. facts: what was seen, by name. faults: what must not be.
    """

    seconds: float
    store: Path
    version: str
    logs: Path | None = None
    facts: dict[str, object] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def archives(self, *endpoints: str) -> list[str]:
        """Return the names of endpoints' archives."""
        return [f"{endpoint}-{self.version}.mar" for endpoint in endpoints]

    @contextlib.contextmanager
    def serving(
        self,
        workers: dict[str, int] | None = None,
        gate: str = "",
        before: Callable[[Path], list[str]] = lambda folder: [],
    ) -> Iterator[Gated]:
        """Start a server with the archives of these endpoints, by default one worker of ONE."""
        workers = workers or {ONE: 1}
        with gated_server(self.archives(*workers), self.store, workers, gate, self.logs, before) as running:
            yield running

    def require(self, true: object, otherwise: str) -> None:
        """Note a fault."""
        if not true:
            self.faults.append(otherwise)


class Callers:
    """Callers that ask ONE about a typical picture through the gate without a pause, while the block runs.

    statuses: how often each came; an exception's name where no answer did. wrong: what is neither an answer nor 503
    with Retry-After. longest: seconds of the slowest.
    """

    def __init__(self, running: Gated, count: int = CALLERS) -> None:
        self._running, self._count = running, count
        self._picture = encode("chelsea.png", *mix.TYPICAL)
        self._done, self._lock = threading.Event(), threading.Lock()
        self.statuses: Counter[str] = Counter()
        self.wrong: Counter[str] = Counter()
        self.longest = 0.0

    def __enter__(self) -> "Callers":
        """Begin to ask."""
        self._threads = [threading.Thread(target=self._ask) for _ in range(self._count)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for the last answers."""
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        headers = {"Authorization": f"Bearer {self._running.token}", "Content-Type": "image/jpeg"}
        with requests.Session() as session:
            while not self._done.is_set():
                begin, wrong = time.monotonic(), ""
                try:
                    answer = session.post(
                        f"{self._running.url}/predictions/{ONE}", data=self._picture, headers=headers, timeout=2 * BOUND
                    )
                    status = str(answer.status_code)
                    if answer.status_code != 200 and not (
                        answer.status_code == 503 and "Retry-After" in answer.headers
                    ):
                        wrong = f"{status} {answer.text[:80]}"
                except requests.RequestException as error:
                    status = wrong = type(error).__name__
                with self._lock:
                    self.statuses[status] += 1
                    self.longest = max(self.longest, time.monotonic() - begin)
                    if wrong:
                        self.wrong[wrong] += 1
                if status != "200":
                    self._done.wait(0.2)  # less than Retry-After asks for, and not a flood

    def report(self, run: Run, only_answers: bool = False) -> None:
        """Note what they saw. only_answers: whether 503 is a fault too."""
        run.facts |= {f"answers with {status}": count for status, count in sorted(self.statuses.items())}
        run.facts["longest wait, s"] = round(self.longest, 1)
        run.require(self.statuses["200"], "nobody was answered")
        run.require(not self.wrong, f"callers saw {dict(self.wrong)}")
        run.require(self.longest < BOUND, f"a caller waited for {self.longest:.0f} s")
        if only_answers:
            run.require(set(self.statuses) == {"200"}, f"callers saw {dict(self.statuses)}")


def _until_ready(running: Gated, run: Run, name: str = "ready again after, s") -> None:
    """Note the seconds from now until it is ready, once it has noticed that it is not."""
    begin = time.monotonic()
    while running.is_ready() and time.monotonic() - begin < NOTICE:
        time.sleep(0.1)
    running.wait_until_ready()
    run.facts[name] = round(time.monotonic() - begin, 1)


def workers(run: Run) -> None:
    """Kill one of two workers every 5 s."""
    with run.serving({ONE: 2}) as running, Callers(running) as callers:
        killed, end = 0, time.monotonic() + run.seconds
        while time.monotonic() < end:
            if alive := running.workers():
                random.choice(alive).kill()
                killed += 1
            time.sleep(BEAT)
        _until_ready(running, run)
    run.facts["workers killed"] = killed
    callers.report(run)


def java(run: Run) -> None:
    """Kill Java."""
    with run.serving() as running, Callers(running) as callers:
        time.sleep(2)
        process = running.process
        if process is None:
            raise ServerError("TorchServe does not run")
        process.kill()
        process.wait(10)
        _until_ready(running, run)
        time.sleep(2)
    callers.report(run)


def stopped(run: Run) -> None:
    """Stop the only worker with SIGSTOP: it lives and does nothing."""
    with run.serving() as running, Callers(running) as callers:
        time.sleep(2)
        (worker,) = running.workers()
        worker.suspend()
        begin = time.monotonic()
        while worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE and time.monotonic() - begin < BOUND:
            time.sleep(0.1)
        run.facts["noticed and ended after, s"] = round(time.monotonic() - begin, 1)
        _until_ready(running, run)
        run.require(all(one.pid != worker.pid for one in running.workers()), "the stopped worker is still there")
        time.sleep(2)
    callers.report(run)


def disk(run: Run) -> None:
    """Fill the disk of all logs, then kill the worker."""
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode:
        run.facts["skipped"] = "no file system can be mounted here"
        return
    mount = (
        f'for each in "$0" "$1"; do mkdir -p "$each"; mount -t tmpfs -o size={FULL},mode=755 none "$each" || exit; done'
    )
    script = ["unshare", "-m", "sh", "-c", f'{mount}; shift; exec "$@"']

    def before(folder: Path) -> list[str]:
        return [*script, str(folder / "logs"), str(folder / "gate" / "logs")]

    with run.serving(before=before) as running, Callers(running) as callers:
        root = Path(f"/proc/{running.supervisor.pid}/root")
        logs = [Path(f"{root}{path}") for path in (running.server.logs, running.gate.access_log.parent)]
        for folder in logs:
            with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
                while True:
                    filler.write(bytes(4096))
        run.facts["bytes left on the log disks"] = sum(shutil.disk_usage(folder).free for folder in logs)
        time.sleep(run.seconds / 4)
        (worker,) = running.workers()
        worker.kill()
        _until_ready(running, run, "ready again after a worker's end, s")
        time.sleep(run.seconds / 4)
        for folder in logs:
            (folder / "filler").unlink()
        written = _bytes(logs)
        time.sleep(3)
        run.require(_bytes(logs) > written, "nothing is logged once there is room again")
    callers.report(run)


def _bytes(folders: list[Path]) -> int:
    return sum(path.stat().st_size for folder in folders for path in folder.iterdir())


def connections(run: Run) -> None:
    """Open 3,000 connections that say nothing and 200 that send a picture byte by byte, beside four callers."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if limit < 2 * (IDLE + DRIPPING):
        run.facts["skipped"] = f"only {limit} files may be open"
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with run.serving(gate="connection_seconds = 10\nanswer_seconds = 30\n") as running:
        drips = add_token(Path(running.gate.settings.callers), "drips")
        time.sleep(5)  # the supervisor takes the token into use
        host, _, port = running.gate.settings.rest.rpartition(":")
        head = (
            f"POST /predictions/{ONE} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {drips}\r\n"
            "Content-Type: image/jpeg\r\nContent-Length: 900000\r\n\r\n"
        ).encode()
        with contextlib.ExitStack() as stack, Callers(running) as callers:
            idle = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(IDLE)]
            dripping = [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(DRIPPING)]
            begin = time.monotonic()
            for one in dripping:
                one.sendall(head)
            open_ones, refused = list(dripping), 0
            while open_ones and time.monotonic() - begin < 120:
                for one in list(open_ones):
                    one.settimeout(0.001)
                    try:
                        one.sendall(b"x")
                        refused += b" 429 " in one.recv(100)
                        open_ones.remove(one)
                    except TimeoutError:
                        continue
                    except OSError:
                        open_ones.remove(one)
                time.sleep(1)
            run.facts["of those that drip, refused with 429"] = refused
            run.facts["the last one that drips is ended after, s"] = round(time.monotonic() - begin, 1)
            run.require(not open_ones, f"{len(open_ones)} drip on")
            run.facts["of those that say nothing, open"] = sum(_is_open(one) for one in idle)
        run.require(running.is_ready(), "it is not ready")
    callers.report(run, only_answers=True)


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        return False


def pictures(run: Run) -> None:
    """Send four transparent PNGs of 63 megapixels at once, to four workers."""
    gradient = Image.linear_gradient("L").resize((9000, 7000))
    picture = Image.merge("RGBA", (gradient, gradient.transpose(Image.Transpose.ROTATE_180), gradient, gradient))
    content = io.BytesIO()
    picture.save(content, "PNG", compress_level=1)
    del picture, gradient
    run.facts["bytes of each"] = len(content.getvalue())
    with run.serving({ONE: 4}) as running:
        processes = running.workers()
        peak, done = _held(processes), threading.Event()
        run.facts["workers at rest, GB"] = round(peak / 1e9, 2)

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.02):
                peak = max(peak, _held(processes))

        watching = threading.Thread(target=watch)
        watching.start()
        begin = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: ask(running.url, ONE, content.getvalue(), running.token, 120), range(4)))
        done.set()
        watching.join()
        run.facts |= {f"answers with {status}": count for status, count in Counter(one for one, _ in answers).items()}
        run.facts["all answered after, s"] = round(time.monotonic() - begin, 1)
        run.facts["workers at their peak, GB"] = round(peak / 1e9, 2)
        run.require({status for status, _ in answers} == {200}, f"{[answer for _, answer in answers]}"[:300])
        run.require(peak < GIGABYTES * 1e9, f"the workers held {peak / 1e9:.2f} GB")
        run.require({one.pid for one in running.workers()} == {one.pid for one in processes}, "a worker ended")


def _held(processes: list[psutil.Process]) -> int:
    held = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            held += process.memory_full_info().pss
    return held


def forms(run: Run) -> None:
    """Send urlencoded forms of 12 MB, and forms of 200,000 small parts, beside four callers."""
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n'
    harms = {
        "a urlencoded form of 12 MB": ("application/x-www-form-urlencoded", b"a=b&" * 3_000_000),
        "a form of 200,000 parts": ("multipart/form-data; boundary=x", part * 200_000 + b"--x--\r\n"),
    }
    with run.serving({ONE: 2}) as running, Callers(running) as callers:
        java_before = running.process
        url = f"{running.url}/predictions/{ONE}"
        for name, (content_type, body) in harms.items():
            headers = {"Authorization": f"Bearer {running.token}", "Content-Type": content_type}
            begin = time.monotonic()
            send = lambda _, headers=headers, body=body: requests.post(url, body, headers=headers, timeout=120)  # noqa: E731
            with ThreadPoolExecutor(6) as pool:
                statuses = Counter(answer.status_code for answer in pool.map(send, range(6)))
            run.facts[f"{name}, six at once"] = ", ".join(f"{count} x {one}" for one, count in statuses.items())
            run.facts[f"{name}, six at once, s"] = round(time.monotonic() - begin, 1)
            run.require(all(status in (400, 415, 429, 503) for status in statuses), f"{name} gets {statuses}")
        run.require(running.process == java_before, "Java ended")
    callers.report(run)


def uploads(run: Run) -> None:
    """Begin 30 uploads without a token and 30 with one, end none, and send 12 legal pictures of 19.5 MB at once."""
    large = encode("chelsea.png", 2600, 2500, "BMP")
    with run.serving({ONE: 2}) as running, contextlib.ExitStack() as stack:
        other = add_token(Path(running.gate.settings.callers), "uploads")
        time.sleep(5)  # the supervisor takes the token into use
        host, _, port = running.gate.settings.rest.rpartition(":")
        java_before = running.process
        for token in ("nobody", other):
            for _ in range(UNFINISHED):
                upload = stack.enter_context(socket.create_connection((host, int(port)), timeout=5))
                with contextlib.suppress(OSError):
                    upload.sendall(
                        f"POST /predictions/{ONE} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
                        f"Content-Type: image/bmp\r\nContent-Length: {len(large)}\r\n\r\n".encode()
                        + large[:1_000_000]
                    )
        with ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: ask(running.url, ONE, large, running.token, 120)[0], range(12)))
        run.facts["bytes of each legal picture"] = len(large)
        run.facts |= {f"answers with {status}": count for status, count in Counter(answers).items()}
        run.require(answers == [200] * 12, f"{answers}")
        run.require(running.process == java_before, "Java ended")


def archives(run: Run) -> None:
    """Start with archives of which one is damaged: the others serve, and what is wrong is said."""
    good, bad = run.archives(ONE, "generator_type")

    def damaged(path: Path) -> None:
        content = bytearray((run.store / bad).read_bytes())
        content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
        path.write_bytes(content)

    def half_copied(path: Path) -> None:
        path.write_bytes((run.store / bad).read_bytes()[: (run.store / bad).stat().st_size // 2])

    def unsigned(path: Path) -> None:
        with zipfile.ZipFile(run.store / bad) as source, zipfile.ZipFile(path, "w") as target:
            for name in source.namelist():
                if name != SIGNATURE:
                    target.writestr(name, source.read(name))

    def another_version(path: Path) -> None:
        path.write_bytes((run.store / good).read_bytes())

    for harm in (damaged, half_copied, unsigned, another_version):
        with tempfile.TemporaryDirectory() as name:
            store = Path(name)
            shutil.copy(run.store / good, store)
            harm(store / bad)
            logs = run.logs and run.logs / harm.__name__
            with gated_server([good, bad], store, {ONE: 1}, logs=logs, wait=False) as running:
                picture = encode("chelsea.png", *mix.TYPICAL)
                status, deadline = 0, time.monotonic() + BOUND
                while status != 200 and time.monotonic() < deadline:
                    time.sleep(0.5)
                    with contextlib.suppress(requests.RequestException, ValueError):
                        status = ask(running.url, ONE, picture, running.token)[0]
                time.sleep(2)
                said = [problem for problem in running.problems() if bad in problem]
                run.facts[f"{harm.__name__.replace('_', ' ')}: said"] = "; ".join(said)
                run.facts[f"{harm.__name__.replace('_', ' ')}: the other model gets"] = status
                run.require(said, f"{harm.__name__}: {running.problems()}")
                run.require(status == 200, f"{harm.__name__}: the other model gets {status}")
                run.require(not running.is_ready(), f"{harm.__name__}: it says that it is ready")


def soak(run: Run) -> None:
    """Send the mix at 70 % of the throughput through the gate."""
    mix.make_images()
    with tempfile.TemporaryDirectory() as name, run.serving(dict.fromkeys(mix.ENDPOINTS, 1)) as running:
        out = run.logs or Path(name)
        out.mkdir(parents=True, exist_ok=True)
        asked = asked_of(running)
        throughput = measure_throughput(asked, out, [], 10, 20)
        java = running.process
        if java is None:
            raise ServerError("TorchServe does not run")
        arguments = ["--arrivals", "poisson", "--stages", f"{run.seconds}:{ORDINARY * throughput}"]
        with sample_memory(java, out / "memory.csv") as memory:
            sent = run_locust(asked, out / "soak", 1000, run.seconds + 15, arguments)
        outcomes = Counter(request.outcome for request in sent)
        run.facts |= {"requests/s at a load of 1": round(throughput, 1), "seconds": round(run.seconds)}
        run.facts |= {f"requests {outcome}": count for outcome, count in sorted(outcomes.items())}
        for process in ("java", "worker"):
            grown = memory_growth(memory, process)
            run.facts[grown.name] = grown.value
            run.require(grown.passed is not False, f"{grown.name}: {grown.value}")
        wrong = [request for request in sent if request.outcome in ("failed", "rejected")]
        some = [f"at {request.second:.0f} s: {request.fault}" for request in wrong]
        run.require(not wrong, f"{len(wrong)} failed: {[*some[:3], *some[3:][-1:]]}")


# By name: what it does, and its seconds of load where it has a length.
SCENARIOS: dict[str, tuple[Callable[[Run], None], float]] = {
    "workers": (workers, 60),
    "java": (java, 0),
    "stopped": (stopped, 0),
    "disk": (disk, 20),
    "connections": (connections, 0),
    "pictures": (pictures, 0),
    "forms": (forms, 0),
    "uploads": (uploads, 0),
    "archives": (archives, 0),
    "soak": (soak, 600),
}


def main() -> None:
    """Read the command line, run and print."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.survive", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:12} {one.__doc__}" for name, (one, _) in SCENARIOS.items()),
    )  # fmt: skip
    parser.add_argument("scenarios", nargs="+", choices=list(SCENARIOS), metavar="SCENARIO")
    lengths = ", ".join(f"{name} {seconds:g}" for name, (_, seconds) in SCENARIOS.items() if seconds)
    parser.add_argument("--seconds", type=float, help=f"of load, where a scenario has a length; by default {lengths}")
    parser.add_argument("--release", type=Path, default=SMALL, help="folder of the release that is served")
    parser.add_argument("--store", type=Path, help="folder with its archives, where they are built already")
    parser.add_argument("--logs", type=Path, help="folder that gets the logs of each scenario's server and gate")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    os.environ["NO_PROXY"] = "127.0.0.1"
    exit_on_signals(status=2)
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        store = arguments.store or Path(name)
        try:
            if not arguments.store:
                build_archives(store, arguments.release.resolve())
            for scenario in arguments.scenarios:
                does, seconds = SCENARIOS[scenario]
                logs = arguments.logs.resolve() / scenario if arguments.logs else None
                run = Run(arguments.seconds or seconds, store, arguments.release.resolve().name, logs)
                does(run)
                faults += [f"{scenario}: {fault}" for fault in run.faults]
                if arguments.json:
                    print(json.dumps({"scenario": scenario, "facts": run.facts, "faults": run.faults}), flush=True)
                else:
                    print(f"\n{does.__doc__}\n\n{table((scenario, 'seen'), list(run.facts.items()))}", flush=True)
        except (ServerError, LocustError) as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
