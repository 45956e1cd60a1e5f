"""A server of its own as operators run it: the supervisor, TorchServe and the gate, on free ports beside any other."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from imagetrust.files import replace_json
from loadtests import mix
from server.gate import Gate, add_token
from server.gate_config import Behind, read_settings
from server.instance import START_TIMEOUT, ServerError, TorchServe, free_addresses, free_ports
from server.settings import ROOT
from server.supervisor import READY, STATUS

SMALL = ROOT / "model_store" / "0.3"  # whose network is small: what is tried here does not depend on it
STOP_TIMEOUT = 120  # seconds
CALLER = "load"


@dataclass
class Gated:
    """One server and its gate, which knows CALLER and each sender of the mix. token: CALLER's. store: of models."""

    server: TorchServe
    gate: Gate
    token: str
    store: Path
    supervisor: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """Where the gate listens, without a final slash."""
        return f"http://{self.gate.settings.rest}"

    @property
    def process(self) -> psutil.Process | None:
        """TorchServe's."""
        return self.server.process

    def is_ready(self) -> bool:
        """Whether the gate says so."""
        try:
            return requests.get(f"{self.url}/health/ready", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def wait_until_ready(self, seconds: float = START_TIMEOUT) -> float:
        """Return the seconds until it is ready. Raises ServerError where it is not in time, or its supervisor ends."""
        begin = time.monotonic()
        while not ((self.server.folder / READY).exists() and self.is_ready()):
            if self.supervisor.poll() is not None or time.monotonic() - begin > seconds:
                log = self.server.logs / "supervisor.log"
                raise ServerError(f"not ready:\n{log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.1)
        return time.monotonic() - begin

    def problems(self) -> list[str]:
        """Return what keeps it from being ready."""
        return json.loads((self.server.folder / STATUS).read_text())["problems"]

    def workers(self) -> list[psutil.Process]:
        """Return TorchServe's workers."""
        process, found = self.server.process, []
        for child in process.children() if process else ():
            with contextlib.suppress(psutil.Error):
                if any(part.endswith("model_service_worker.py") for part in child.cmdline()):
                    found.append(child)
        return found

    def models(self, *arguments: str) -> str:
        """Run `python -m server models`; return what it says. Raises ServerError where it refuses."""
        command = [sys.executable, "-m", "server", "--folder", str(self.server.folder), "models", *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise ServerError(f"models {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout


def build_archives(store: Path, release: Path | None = None) -> None:
    """Build the archives of a release, or of those that are served. Raises ServerError where that fails.

    In a process of its own, because it needs torch, which would stay in this one's memory.
    """
    command = [sys.executable, "-m", "archive_scripts.build", "--model-store", str(store)]
    command += ["--release", str(release)] if release else []
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if built.returncode:
        raise ServerError(f"the archives cannot be built.\n{built.stdout}{built.stderr}")


def build_renamed(release: Path, store: Path, version: str) -> None:
    """Build the archives of a release under another version's name. Raises ServerError where that fails."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / release.name
        shutil.copytree(release, copy)
        config = json.loads((copy / "config.json").read_text())
        replace_json(copy / "config.json", config | {"version": version})
        build_archives(store, copy)


@contextlib.contextmanager
def gated_server(
    archives: Sequence[str],
    store: Path,
    workers: Mapping[str, int],
    gate: str = "",
    logs: Path | None = None,
    before: Callable[[Path], list[str]] = lambda folder: [],
    wait: bool = True,
) -> Iterator[Gated]:
    """Start a supervisor with its TorchServe and gate; stop them when the block ends.

    archives: of the store, that it serves. workers: by endpoint. gate: lines of gate.toml beside the addresses.
    logs: folder that gets the server's logs, and the gate's in `gate`. before: what the supervisor's command is run by,
    from the server's folder. wait: until it is ready.
    Raises ServerError where it does not become ready.
    """
    with tempfile.TemporaryDirectory(prefix="load-") as name:  # short: the workers' sockets lie in it
        base = Path(name)
        base.chmod(0o711)  # nginx's workers, where root starts it
        folder, source = base / "server", base / "gate.toml"
        rest, grpc = free_ports(2)
        source.write_text(f'rest = "127.0.0.1:{rest}"\ngrpc = "127.0.0.1:{grpc}"\ncallers = "callers"\n{gate}')
        token = add_token(base / "callers", CALLER)
        for sender in mix.SENDERS:
            add_token(base / "callers", sender)
        changes = {"model_store": str(store), "load_models": ",".join(archives)} | free_addresses()
        server = TorchServe(folder)
        server.logs.mkdir(parents=True)
        command = [
            *before(folder), sys.executable, "-m", "server", "--folder", str(folder), "run", "--gate", str(source),
            *(f"--set={key}={value}" for key, value in changes.items()),
            *(f"--workers={endpoint}={number}" for endpoint, number in workers.items()),
        ]  # fmt: skip
        with (server.logs / "supervisor.log").open("ab") as log:
            supervisor = subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=log, stderr=log)
        running = Gated(
            server, Gate(folder / "gate", read_settings(source), lambda: Behind((), (), "")), token, store, supervisor
        )
        try:
            if wait:
                running.wait_until_ready()
            yield running
        finally:
            supervisor.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                supervisor.wait(STOP_TIMEOUT)
            supervisor.kill()
            running.gate.stop(5)
            server.stop()
            if logs:
                shutil.copytree(server.logs, logs, dirs_exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # it may end before its gate has begun
                    shutil.copytree(running.gate.access_log.parent, logs / "gate", dirs_exist_ok=True)
