"""Runs the server: `python -m server start|run|ask|token|status|models|stop|gate`. The Makefile calls this."""

import argparse
import contextlib
import fcntl
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import requests

from imagetrust.client import Authenticity, Client, ClientError, Explanation, GeneratorType
from server import gate_command
from server.archive import ArchiveError
from server.desired import Desired, DesiredError
from server.gate import nginx
from server.gate_config import SETTINGS, GateError
from server.instance import (
    START_TIMEOUT,
    STOP_TIMEOUT,
    WORKER_DIED,
    ServerError,
    TorchServe,
    find_in_rest,
    summarise,
)
from server.logs import log_to_stderr
from server.logs import readable as readable_log
from server.models_command import add_models, run_models
from server.report import readable
from server.samples import photograph
from server.settings import CONFIG, ROOT, archive_files, instance_settings
from server.sizing import this_machine
from server.supervisor import DRAIN_TIMEOUT, LOG, PID, READY, STARTED, STATUS, Supervisor, started_with

FOLDER = ROOT / ".server"
_ERRORS = (ArchiveError, DesiredError, ServerError, requests.RequestException)


def start(folder: Path, changes: dict[str, str], workers: dict[str, int], gate: Path | None = None) -> None:
    """Start a supervisor in the background and return when it is ready, or leave alone what already runs.

    gate: the file of the gate's settings; None for no gate.
    Raises ServerError where it ends or is not ready in time; it is then stopped, and the message carries its log.
    """
    server = TorchServe(folder)
    if supervisor := supervisor_of(folder):
        print(f"The server already runs, process {supervisor.pid}. It is left as it is:")
        if problems := read_problems(folder):
            print("  not ready: " + "; ".join(problems))
        else:
            print_versions(server)
        if read_started(folder) != started_with(instance_settings(CONFIG, changes), workers, gate):
            print("Its settings were others. To change over: make stop, then make serve.")
        elif (desired := Desired.read(folder)) and desired.made_from != wanted_archives(changes):
            print("The model store names other versions: python -m server models promote (docs/operations.md).")
        return
    server.logs.mkdir(parents=True, exist_ok=True)
    arguments = [f"--set={key}={value}" for key, value in changes.items()]
    arguments += [f"--workers={endpoint}={number}" for endpoint, number in workers.items()]
    arguments += ["--gate", str(gate)] if gate else ["--no-gate"]
    print("Starting TorchServe (about 15 seconds)...", flush=True)
    log = server.logs / LOG
    begin = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "--folder", str(folder), "run", *arguments],
            cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        wait_until_ready(server, process, begin)
    except BaseException:
        stop(folder)
        raise
    print(f"The server runs, process {process.pid}.")
    print_versions(server)
    print("\n".join(gate_command.gate_lines(folder, gate)))


def wait_until_ready(server: TorchServe, process: subprocess.Popen, begin: int) -> None:
    """Return when a supervisor that was just started is ready. begin: bytes of its log before it.

    Raises ServerError where it ends, a worker dies while loading, or START_TIMEOUT seconds pass.
    """
    log, worker_log = server.logs / LOG, server.logs / "model_log.log"
    read = worker_log.stat().st_size if worker_log.exists() else 0
    deadline = time.monotonic() + START_TIMEOUT
    while not (server.folder / READY).exists():
        said = readable_log(log.read_bytes()[begin:].decode(errors="replace").strip())
        if process.poll() is not None:
            raise ServerError(f"the server could not be started.\n{said}")
        read, died = find_in_rest(worker_log, WORKER_DIED, read)
        if died:
            raise ServerError(f"a worker died while loading.\n{server.last_words()}")
        if (desired := Desired.read(server.folder)) and desired.left_out:
            raise ServerError(f"not every archive stands; `python -m server run` serves the others.\n{said}")
        if time.monotonic() > deadline:
            raise ServerError(f"not ready after {START_TIMEOUT} s.\n{said}")
        time.sleep(0.3)


def wanted_archives(changes: dict[str, str]) -> list[str]:
    """Return the archives that the settings name."""
    return [file for _, file in archive_files(instance_settings(CONFIG, changes))]


def read_started(folder: Path) -> dict | None:
    """Return the settings and workers that the supervisor in a folder was started with."""
    try:
        return json.loads((folder / STARTED).read_text())
    except (OSError, ValueError):
        return None


def read_problems(folder: Path) -> list[str]:
    """Return what keeps the server in a folder from being ready."""
    if not supervisor_of(folder):
        return ["no supervisor runs"]
    if (folder / READY).exists():
        return []
    try:
        return json.loads((folder / STATUS).read_text())["problems"] or ["it is starting"]
    except (OSError, ValueError):
        return ["it is starting"]


def supervisor_of(folder: Path) -> psutil.Process | None:
    """Return the supervisor that runs in a folder, or None. Its lock on the file says so, not the number in it."""
    path = folder / PID
    if not path.exists():
        return None
    with path.open("rb") as pid:
        try:
            fcntl.flock(pid, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with contextlib.suppress(ValueError, psutil.Error):
                return psutil.Process(int(pid.read()))
    return None


def stop(folder: Path) -> bool:
    """End the supervisor in a folder, which lets the requests in flight end first; return whether anything ran."""
    supervisor, server = supervisor_of(folder), TorchServe(folder)
    if supervisor:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.terminate()
        _, alive = psutil.wait_procs([supervisor], timeout=DRAIN_TIMEOUT + 2 * STOP_TIMEOUT)
        for straggler in alive:
            straggler.kill()
    left = gate_command.stop_left_gate(folder)
    return server.stop() or left or supervisor is not None


def run(folder: Path, changes: dict[str, str], workers: dict[str, int], source: Path | None) -> None:
    """Supervise in the foreground until SIGTERM. source: of the gate's settings; None for no gate.

    Without nginx TorchServe serves alone. Exits with 1 where it cannot; the log says why.
    """
    log_to_stderr()
    server, gate = TorchServe(folder), None
    try:
        if source:
            try:
                nginx()
            except GateError as error:
                logging.warning("no gate: %s", error)
            else:
                gate = gate_command.kept_gate(server, source, instance_settings(CONFIG, changes))
        Supervisor(server, changes, workers, gate).run()
    except _ERRORS as error:
        logging.error("%s", error)
        sys.exit(1)


def print_versions(server: TorchServe) -> None:
    """Print how each model is served, and what that is sized by."""
    if started := read_started(server.folder):
        print(f"  Sized for {this_machine(started['settings'])}.")
    for name in server.model_names():
        print(f"  {name}: {summarise(server.describe(name))}")


_QUESTIONS: dict[str, Callable[[Client, Path], Authenticity | GeneratorType | Explanation]] = {
    "authenticity": Client.authenticity,
    "generator_type": Client.generator_type,
    "explanation": Client.explanation,
}


def ask(server: TorchServe, picture: Path) -> bool:
    """Ask all endpoints about one image and print the answers; return whether all were answered."""
    print(f"\nAsking about {picture}")
    answered = True
    with Client(server.addresses.inference, token=server.token("inference")) as client:
        for endpoint in filter(_QUESTIONS.get, server.model_names()):
            print(f"\n  {endpoint}")
            try:
                lines = readable(_QUESTIONS[endpoint](client, picture))
            except ClientError as error:
                answered, lines = False, iter([f"{error.code}: {error.message}"])
            print("\n".join("    " + line for line in lines))
    return answered


def print_next_steps(server: TorchServe) -> None:
    """Print what a newcomer wants to know after the first answer."""
    print(
        f"""
Ask about a picture of your own:
    make ask PICTURE=/path/to/picture.jpg
or with curl:
    TOKEN=$(make -s token)
    curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: image/jpeg" \\
         --data-binary @/path/to/picture.jpg {server.addresses.inference}/predictions/authenticity
Logs:   make logs      (files in {_relative(server.logs)})
Stop:   make stop
Gate:   make gate      (for callers on other machines; docs/operations.md)
Tests:  make test"""
    )


def _relative(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _absolute(path: Path | None) -> Path | None:
    return path and path.resolve()


def _change(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _workers(text: str) -> tuple[str, int]:
    endpoint, _, number = text.partition("=")
    if not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not ENDPOINT=N with N of at least 1")
    return endpoint, int(number)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m server", description="Runs TorchServe with our archives.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of the server's state and logs (.server)")
    commands = parser.add_subparsers(dest="command", required=True)
    settings = argparse.ArgumentParser(add_help=False)
    settings.add_argument("--set", type=_change, action="append", default=[], metavar="KEY=VALUE",
                          help="change a line of config.properties for this run")  # fmt: skip
    settings.add_argument("--workers", type=_workers, action="append", default=[], metavar="ENDPOINT=N",
                          help="workers of an endpoint, where the rule's number does not suit")  # fmt: skip
    settings.add_argument("--gate", type=Path, default=SETTINGS, metavar="FILE",
                          help=f"settings of the gate, by default {SETTINGS.relative_to(ROOT)}")  # fmt: skip
    settings.add_argument("--no-gate", dest="gate", action="store_const", const=None, help="TorchServe alone")
    commands.add_parser(
        "run", parents=[settings], help="serve in the foreground until SIGTERM: for containers, systemd"
    )
    starting = commands.add_parser("start", parents=[settings], help="serve in the background, if nothing does yet")
    starting.add_argument("--demonstrate", action="store_true", help="ask about a photograph once it is ready")
    asking = commands.add_parser("ask", help="ask all endpoints about a picture")
    asking.add_argument("picture", type=Path)
    token = commands.add_parser("token", help="print the current token")
    token.add_argument("kind", nargs="?", choices=("inference", "management"), default="inference")
    token.add_argument("--renew", action="store_true", help="make new tokens first; the old ones stop working")
    commands.add_parser("status", help="say whether it runs, where, and what keeps it from being ready")
    add_models(commands)
    commands.add_parser("stop", help="stop it")
    gate_command.add_arguments(commands.add_parser("gate", help="tokens, certificates and settings of nginx before it"))
    arguments = parser.parse_args()

    os.environ["NO_PROXY"] = "127.0.0.1"  # the server is on this machine; a proxy would look for it on its own
    folder = arguments.folder.resolve()
    server = TorchServe(folder)
    try:
        match arguments.command:
            case "run":
                run(folder, dict(arguments.set), dict(arguments.workers), _absolute(arguments.gate))
            case "start":
                start(folder, dict(arguments.set), dict(arguments.workers), _absolute(arguments.gate))
                if arguments.demonstrate:
                    if not ask(server, photograph()):
                        sys.exit(1)
                    print_next_steps(server)
            case "models":
                run_models(server, arguments)
            case "ask":
                if not arguments.picture.is_file():
                    sys.exit(f"error: {arguments.picture} is not a file")
                sys.exit(0 if ask(server, arguments.picture) else 1)
            case "token":
                if arguments.renew:
                    server.renew_tokens()
                print(server.token(arguments.kind))
            case "status":
                if not supervisor_of(folder) and not server.process:
                    sys.exit("The server does not run. Start it: make serve")
                process = server.process
                print(f"The server runs, process {process.pid}, at {server.addresses.inference}." if process else
                      "TorchServe does not run at the moment; its supervisor does.")  # fmt: skip
                if process:
                    print_versions(server)
                if started := read_started(folder):
                    print("\n".join(gate_command.gate_lines(folder, started["gate"] and Path(started["gate"]))))
                problems = read_problems(folder)
                print("Ready." if not problems else "Not ready: " + "; ".join(problems))
                sys.exit(1 if problems else 0)
            case "gate":
                gate_command.run(arguments, server)
            case "stop":
                print("The server has stopped." if stop(folder) else "No server runs.")
    except _ERRORS as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
