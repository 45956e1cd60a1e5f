"""The systems under test: the servers that are compared, and the ways of asking them."""

import contextlib
import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import yaml

from archive_scripts.build import build
from benchmarks.client import HttpConnection, Load, Send, closed_loop
from benchmarks.servers import in_process
from clients.grpc import GrpcClient
from imagetrust.models.config import CONFIG, PRETRAINED, TASKS, WEIGHTS
from imagetrust.predictor import QUESTIONS
from measuring import processes
from server.gate import Gate, add_token
from server.gate_config import read_settings
from server.gate_keeper import own_server
from server.instance import TorchServe, free_addresses, free_ports
from server.settings import ROOT

START_TIMEOUT = 180  # seconds
TASK = "authenticity"
SERVERS = Path(in_process.__file__).parent

IN_PROCESS, IN_PROCESS_BATCHES = "in process, one by one", "in process, batches"
REST, GRPC, GATED = "ImageTrust, REST", "ImageTrust, gRPC", "ImageTrust, through the gate"
BOTH, SEPARATE = "both questions, one request", "both questions, two requests"
STOCK, FASTAPI, LITSERVE = "TorchServe, stock handler", "FastAPI, eager", "LitServe, eager, its defaults"
LITSERVE_BATCHES, LITSERVE_SINGLE = "LitServe, our predictor, batches", "LitServe, our predictor, one by one"
RAY = "Ray Serve, our predictor"


class StartError(Exception):
    """A server did not start; the message carries the end of its log."""


@dataclass(frozen=True)
class Setup:
    """What is the same for all servers.

    serving: folder that the predictor serves from, which archive_scripts.prepare has made of a release.
    workers: processes that infer, of one thread each. batch_size: requests of one forward pass at most.
    batch_delay: milliseconds for which the first waits for others.
    """

    serving: Path
    workers: int
    batch_size: int
    batch_delay: int


class Server(ABC):
    """One server: starts, stops, and says which processes it consists of."""

    @abstractmethod
    def start(self, folder: Path, setup: Setup) -> None:
        """Return when the server answers; everything that it writes lies in `folder`. Raises where it does not."""

    @abstractmethod
    def stop(self) -> None:
        """End all its processes. Does nothing where it was not started."""

    @abstractmethod
    def roots(self) -> list[psutil.Process]:
        """Return the processes that were started; their descendants belong to the server too."""

    def pause(self) -> None:  # noqa: B027 (a server that costs nothing while idle has nothing to do)
        """Suspend the server between its blocks, so that one which polls takes nothing from the others."""

    def resume(self) -> None:  # noqa: B027
        """Undo `pause`."""


@dataclass(frozen=True)
class System:
    """A row of the table: a server and a way of asking it.

    load: sends the images in turn, `requests` in all, at a concurrency.
    """

    name: str
    server: Server
    load: Callable[[Sequence[bytes], int, int], Load]


class InProcess(Server):
    """As many processes as the servers have workers, each with a predictor and no server."""

    def __init__(self) -> None:
        self._workers: list[tuple[multiprocessing.process.BaseProcess, Connection]] = []
        self._batch_size = 1

    def start(self, folder: Path, setup: Setup) -> None:
        """Start it."""
        self._batch_size = setup.batch_size
        context = multiprocessing.get_context("spawn")
        for _ in range(setup.workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=in_process.serve, args=(theirs, setup.serving), daemon=True)
            process.start()
            theirs.close()
            self._workers.append((process, ours))
        for _, connection in self._workers:
            connection.recv()

    def stop(self) -> None:
        """Stop it."""
        for process, _ in self._workers:
            process.terminate()
            process.join()
        self._workers = []

    def roots(self) -> list[psutil.Process]:
        """Return its root processes."""
        return [psutil.Process(process.pid) for process, _ in self._workers]

    def load(self, images: Sequence[bytes], requests: int, batch: int) -> Load:
        """Send batches of one size. Raises EOFError where a worker ended."""
        start = time.perf_counter()
        shares = [len(range(first, requests, len(self._workers))) for first in range(len(self._workers))]
        busy = [(connection, share) for (_, connection), share in zip(self._workers, shares, strict=True) if share]
        for connection, share in busy:
            connection.send((images, share, batch))
        loads = [connection.recv() for connection, _ in busy]
        latencies = [latency for load in loads for latency in load.latencies]
        return Load(latencies, time.perf_counter() - start, loads[0].answer)

    def systems(self) -> list[System]:
        """Return it one by one and in batches."""
        return [
            System(IN_PROCESS, self, lambda images, requests, _: self.load(images, requests, 1)),
            System(IN_PROCESS_BATCHES, self, lambda images, requests, _: self.load(images, requests, self._batch_size)),
        ]


class Program(Server):
    """A server that is one command of this interpreter.

    command: its arguments for a port. form_field: the field of a form that takes the image.
    suspend: whether it is suspended between its blocks.
    """

    def __init__(self, command: Callable[[int, Setup], list[str]], form_field: str, suspend: bool) -> None:
        self._command, self._form_field, self._suspend = command, form_field, suspend
        self._process: subprocess.Popen | None = None

    def start(self, folder: Path, setup: Setup) -> None:
        """Start it."""
        (self._port,) = free_ports(1)
        log = folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *self._command(self._port, setup)],
                cwd=ROOT, env=os.environ | {"BENCHMARK_MODEL": str(setup.serving), "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                # A group of its own: were the shell to end while a member is suspended, all of ours would get SIGHUP.
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT
        while not self._is_healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise StartError(log.read_text(errors="replace")[-4000:])
            time.sleep(0.3)
        self.pause()

    def _is_healthy(self) -> bool:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{self._port}/health", timeout=5) as response,
        ):
            return response.status == 200
        return False

    def stop(self) -> None:
        """Stop it."""
        if self._process and self._process.poll() is None:
            processes.stop(psutil.Process(self._process.pid))
            self._process.wait()
        self._process = None

    def roots(self) -> list[psutil.Process]:
        """Return its root processes."""
        return [psutil.Process(self._process.pid)] if self._process else []

    def pause(self) -> None:
        """Suspend it where it polls."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process in processes.family(self.roots()) if self._suspend else ():
            process.send_signal(number)

    def system(self, name: str) -> System:
        """Return the only way of asking it."""

        def load(images: Sequence[bytes], requests: int, concurrency: int) -> Load:
            connect = lambda: HttpConnection(self._port, "/predict", {}, self._form_field)  # noqa: E731
            return closed_loop(connect, images, requests, concurrency)

        return System(name, self, load)


class TorchServeServer(Server):
    """One TorchServe with config.properties as shipped, tokens on. build: puts the models' archives into a folder."""

    def __init__(self, build: Callable[[Path, Setup], None]) -> None:
        self._build = build
        self._instance: TorchServe | None = None

    def start(self, folder: Path, setup: Setup) -> None:
        """Start it."""
        store = (folder / "store").resolve()
        store.mkdir(parents=True)
        self._build(store, setup)
        self._instance = TorchServe(folder / "t")  # short: the path of a worker's socket must not exceed 107 bytes
        self._instance.start(changes={"model_store": str(store)} | free_addresses())

    @property
    def instance(self) -> TorchServe:
        """The instance that was started last."""
        return self._instance

    def stop(self) -> None:
        """Stop it."""
        if self._instance:
            self._instance.stop()

    def roots(self) -> list[psutil.Process]:
        """Return its root processes."""
        process = self._instance.process if self._instance else None
        return [process] if process else []

    def connect(self, model: str, **options: str) -> HttpConnection:
        """Return a connection that asks one model over REST."""
        port = urlsplit(self._instance.addresses.inference).port
        headers = self._instance.headers() | {f"ImageTrust-{name}": value for name, value in options.items()}
        return HttpConnection(port, f"/predictions/{model}", headers)

    def rest(self, name: str, model: str, **options: str) -> System:
        """Return a model over REST, with options in the headers."""
        return System(name, self, lambda *load: closed_loop(lambda: self.connect(model, **options), *load))

    def grpc(self, name: str, model: str) -> System:
        """Return a model over gRPC, all requests over one channel."""

        def load(images: Sequence[bytes], requests: int, concurrency: int) -> Load:
            address, token = self._instance.addresses.grpc_inference, self._instance.token("inference")
            with GrpcClient(address, token) as client:
                send: Send = lambda image: json.dumps(client.ask(model, image)).encode()  # noqa: E731
                return closed_loop(lambda: send, images, requests, concurrency)

        return System(name, self, load)

    def separate(self, name: str, models: Sequence[str]) -> System:
        """Return several models, asked one after the other; counted as one request with the first one's answer."""

        def connect() -> Send:
            connections = [self.connect(model) for model in models]
            return lambda image: [connection(image) for connection in connections][0]

        return System(name, self, lambda *load: closed_loop(connect, *load))


class GatedTorchServe(TorchServeServer):
    """One TorchServe, asked with and without the gate before it; nginx counts among its processes.

    Where root starts it, others must be able to pass to its folder: nginx's workers are another user's.
    """

    def start(self, folder: Path, setup: Setup) -> None:
        """Start both. Raises GateError where nginx is missing."""
        super().start(folder, setup)
        callers = folder / "callers"
        self._token = add_token(callers, "benchmark")
        self._port, grpc = free_ports(2)
        unlimited = {"requests_per_second": 100_000, "burst": 100_000}
        addresses = {"callers": str(callers), "rest": f"127.0.0.1:{self._port}", "grpc": f"127.0.0.1:{grpc}"}
        behind = own_server(self.instance, self.instance.addresses)
        self._gate = Gate(folder / "gate", read_settings(changes=addresses | unlimited), behind)
        self._gate.start()

    def stop(self) -> None:
        """Stop both."""
        if hasattr(self, "_gate"):
            self._gate.stop(5)
        super().stop()

    def roots(self) -> list[psutil.Process]:
        """Return Java and nginx."""
        return [*super().roots(), *filter(None, [self._gate.process])]

    def gated(self, name: str, model: str) -> System:
        """Return a model over REST through the gate."""

        def connect() -> HttpConnection:
            return HttpConnection(self._port, f"/predictions/{model}", {"Authorization": f"Bearer {self._token}"})

        return System(name, self, lambda *load: closed_loop(connect, *load))


def _worker_settings(setup: Setup) -> dict[str, int]:
    return {
        "minWorkers": setup.workers,
        "maxWorkers": setup.workers,
        "batchSize": setup.batch_size,
        "maxBatchDelay": setup.batch_delay,
    }


def build_one(store: Path, setup: Setup) -> None:
    """Build the archive of one endpoint with the workers of a setup."""
    build(setup.serving, TASK, store, settings=_worker_settings(setup))


def _build_all(store: Path, setup: Setup) -> None:
    for question in QUESTIONS:
        build(setup.serving, question, store, settings={"minWorkers": 1, "maxWorkers": 1})


def _build_stock(store: Path, setup: Setup) -> None:
    """Build an archive as TorchServe's documentation describes one, around the network in eager torch."""
    files = {"stock_handler.py": SERVERS / "stock_handler.py", "eager.py": SERVERS / "eager.py"}
    files |= {str(file.relative_to(ROOT)): file for file in (ROOT / "imagetrust").rglob("*") if file.is_file()}
    described = (setup.serving / name for name in (CONFIG, WEIGHTS, PRETRAINED))
    files |= {f"model/{file.name}": file for file in described if file.exists()}
    config = _worker_settings(setup) | {"deviceType": "gpu", "startupTimeout": 120}
    model = {"modelName": "stock", "modelVersion": "1.0", "handler": "stock_handler.py", "modelFile": "eager.py"}
    manifest = {"runtime": "python", "archiverVersion": "0.12.0", "model": model | {"configFile": "config.yaml"}}
    with zipfile.ZipFile(store / "stock.mar", "w") as archive:
        for name, file in files.items():
            if "__pycache__" not in name:
                archive.write(file, name)
        archive.writestr("index_to_name.json", json.dumps(dict(enumerate(TASKS[TASK]))))
        archive.writestr("config.yaml", yaml.safe_dump(config))
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))


def _fastapi(port: int, setup: Setup) -> list[str]:
    return ["uvicorn", "benchmarks.servers.fastapi_app:app", "--host", "127.0.0.1", "--port", str(port),
            "--workers", str(setup.workers), "--log-level", "warning", "--no-access-log"]  # fmt: skip


def _litserve_eager(port: int, setup: Setup) -> list[str]:
    return ["benchmarks.servers.litserve_eager", str(port)]


def _ray(port: int, setup: Setup) -> list[str]:
    return ["benchmarks.servers.ray_app", *_as_ours(port, setup, setup.batch_size, setup.batch_delay)]


def _as_ours(port: int, setup: Setup, batch_size: int, batch_delay: int) -> list[str]:
    return [str(setup.serving), "--port", str(port), "--workers", str(setup.workers),
            "--batch-size", str(batch_size), "--batch-delay", str(batch_delay)]  # fmt: skip


def _litserve(batched: bool) -> Program:
    def command(port: int, setup: Setup) -> list[str]:
        size, delay = (setup.batch_size, setup.batch_delay) if batched else (1, 0)
        return ["benchmarks.servers.litserve_app", *_as_ours(port, setup, size, delay)]

    # With batches LitServe's workers ask their queue a thousand times a second, which costs 200 CPU ms of each.
    return Program(command, "image", suspend=True)


def one_question(gate: bool) -> list[System]:
    """Return everything that says whether an image is generated, in the order of the table.

    gate: whether the row of the gate is among it, which needs nginx.
    """
    imagetrust, stock = (GatedTorchServe if gate else TorchServeServer)(build_one), TorchServeServer(_build_stock)
    return [
        *InProcess().systems(),
        imagetrust.rest(REST, TASK),
        imagetrust.grpc(GRPC, TASK),
        *([imagetrust.gated(GATED, TASK)] if isinstance(imagetrust, GatedTorchServe) else []),
        stock.rest(STOCK, "stock"),
        Program(_fastapi, "file", suspend=False).system(FASTAPI),
        Program(_litserve_eager, "image", suspend=True).system(LITSERVE),
        _litserve(batched=True).system(LITSERVE_BATCHES),
        _litserve(batched=False).system(LITSERVE_SINGLE),
        # Not suspended: Ray's processes ask each other whether they live.
        Program(_ray, "image", suspend=False).system(RAY),
    ]


def both_questions() -> list[System]:
    """Return authenticity and generator type of each image, by one request and by two; a worker an endpoint."""
    server = TorchServeServer(_build_all)
    return [
        server.rest(BOTH, "explanation", Detail="verdicts"),
        server.separate(SEPARATE, ["authenticity", "generator_type"]),
    ]


def probabilities(answer: bytes) -> dict[str, float]:
    """Return what a system's answer says of each class of authenticity, before calibration."""
    content = json.loads(answer)
    content = content.get("inferred", {}).get(TASK, content)
    if "logits" not in content:
        return content
    exponentials = {name: math.exp(value) for name, value in content["logits"].items()}
    return {name: value / sum(exponentials.values()) for name, value in exponentials.items()}
