"""What a server under test can do, and a way to ask it."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import processes
from benchmarks.load import Load

ROOT = Path(__file__).resolve().parent.parent.parent
START_TIMEOUT = 180  # seconds


class PeerError(Exception):
    """A server did not start; the message carries the end of its log."""


@dataclass(frozen=True)
class Conditions:
    """What is the same for all servers.

    released: folder of weights and cards. unpacked: our archive made of them, as TorchServe unpacks it.
    workers: processes that infer, of one thread each.
    batch_size, batch_delay: requests that one forward pass answers at most, and milliseconds it waits for them.
    """

    released: Path
    unpacked: Path
    workers: int
    batch_size: int
    batch_delay: int


class Server(ABC):
    """Starts and stops one server, and says which processes it consists of."""

    @abstractmethod
    def start(self, folder: Path, conditions: Conditions) -> None:
        """Returns when the server answers; everything that it writes lies in `folder`. Raises where it does not."""

    @abstractmethod
    def stop(self) -> None:
        """Ends all its processes. Does nothing where it was not started."""

    @abstractmethod
    def roots(self) -> list[psutil.Process]:
        """The processes that were started; their descendants belong to the server too."""

    def wake(self) -> None:  # noqa: B027  for servers that cost nothing while idle there is nothing to do
        """Called before the server is asked."""

    def rest(self) -> None:  # noqa: B027
        """Called after, so that a server which polls takes nothing from the next."""


class ProgramServer(Server):
    """A server that is one command of this interpreter and listens on a port."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._process: subprocess.Popen | None = None

    def launch(self, command: list[str], port: int, health_path: str, folder: Path, environment: dict) -> None:
        """Starts the command and waits until `health_path` answers with success.

        Raises PeerError where it ends or is silent for START_TIMEOUT seconds.
        """
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / f"{self._name}.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                cwd=ROOT, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                # A group of its own: were the shell to end while a member is suspended, all of ours would get SIGHUP.
                start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_TIMEOUT
        while not _answers(port, health_path):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise PeerError(f"{self._name} did not start.\n{log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.3)

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            processes.stop(psutil.Process(self._process.pid))
            self._process.wait()
        self._process = None

    def roots(self) -> list[psutil.Process]:
        return [psutil.Process(self._process.pid)]


def _answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


@dataclass(frozen=True)
class Contender:
    """One row of the table: a server and a way of asking it.

    load: sends the pictures in these files in turn, so many requests at a given concurrency.
    probabilities: reads an answer, as the probability of each class before calibration.
    """

    name: str
    server: Server
    load: Callable[[list[Path], int, int], Load]
    probabilities: Callable[[bytes], dict[str, float]]
