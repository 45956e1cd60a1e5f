"""`python -m server gate`: runs the gate by hand. The supervisor uses server/gate.py itself."""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from server.gate import Gate, add_token, nginx, self_signed, torchserve, unready, unready_machines
from server.gate_config import SETTINGS, GateError, read_settings
from server.instance import ServerError, TorchServe

INTERVAL = 2.0  # seconds between two looks at tokens, certificates and workers
START_TIMEOUT = 20
STOP_TIMEOUT = 150
_COMMANDS = {
    "run": "run it in the foreground, and take changed tokens and certificates into use",
    "start": "run it in the background",
    "reload": "take changed settings, tokens and certificates into use at once",
    "stop": "end the requests under way and stop it",
    "write": "write nginx's files and let nginx check them",
    "check": "let nginx check the files that are there",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the gate's own commands to a parser."""
    parser.add_argument("--settings", type=Path, default=SETTINGS, help=f"by default {SETTINGS.name} in deploy/nginx")
    commands = parser.add_subparsers(dest="gate_command", required=True)
    for name, text in _COMMANDS.items():
        commands.add_parser(name, help=text)
    token = commands.add_parser("token", help="add a caller's token to the file of tokens, and print it")
    token.add_argument("name", help="what logs and limits call the caller")
    certificate = commands.add_parser("certificate", help="make a self-signed certificate, to try TLS with")
    certificate.add_argument("name", nargs="?", default="localhost", help="the host's name or address")


def run(arguments: argparse.Namespace, server: TorchServe) -> None:
    """Do what the command line asks for. Raises GateError where that cannot be."""
    settings = read_settings(arguments.settings)
    folder = server.folder / "gate"
    gate = Gate(folder, settings, lambda: settings.machines() or torchserve(server))
    match arguments.gate_command:
        case "token":
            print(add_token(Path(settings.callers), arguments.name))
        case "certificate":
            certificate, key = self_signed(folder / "tls", arguments.name)
            print(f'certificate = "{certificate}"\ncertificate_key = "{key}"')
        case "write":
            print("The files have changed." if gate.write() else "The files are as they were.")
        case "check":
            gate.check()
            print("nginx accepts the files.")
        case "reload":
            print("Taken into use." if gate.reload() else "Nothing has changed.")
        case "run":
            _keep(gate, server)
        case "start":
            _start(gate, arguments.settings)
        case "stop":
            print("The gate has stopped." if _stop(gate) else "No gate runs.")


def _keep(gate: Gate, server: TorchServe) -> None:
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    gate.start()
    _keeper_file(gate).write_text(str(os.getpid()))
    print(f"The gate runs: REST on {gate.settings.rest}, gRPC on {gate.settings.grpc}.", flush=True)
    said: list[str] | None = None
    try:
        while not ended.is_set():
            missing = _look(gate, server)
            if missing != said:
                print(f"Not ready: {'; '.join(missing)}" if missing else "Ready.", flush=True)
                said = missing
            ended.wait(INTERVAL)
    finally:
        _keeper_file(gate).unlink(missing_ok=True)
        gate.stop()


def _look(gate: Gate, server: TorchServe) -> list[str]:
    """Bring the gate up to date; return what is amiss."""
    behind = gate.settings.machines()
    missing = unready_machines(behind) if behind else unready(server)
    gate.set_ready(not missing)
    try:
        if gate.is_running():
            gate.reload()
        else:
            gate.start()
        gate.bound_logs()
    except ServerError as error:
        return [*missing, str(error)]
    return missing


def _start(gate: Gate, settings: Path) -> None:
    nginx()
    if gate.process:
        raise GateError(f"the gate already runs, process {gate.process.pid}")
    gate.folder.mkdir(parents=True, exist_ok=True)
    log = gate.folder / "console.log"
    with log.open("wb") as console:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "server", "gate", "--settings", str(settings), "run"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True,
        )  # fmt: skip
    _wait(lambda: keeper.poll() is not None or _keeper_file(gate).exists(), START_TIMEOUT)
    if not gate.process:
        raise GateError(f"the gate does not start:\n{log.read_text().strip()}")
    print(f"The gate runs, process {gate.process.pid}: REST on {gate.settings.rest}, gRPC on {gate.settings.grpc}.")


def _stop(gate: Gate) -> bool:
    try:
        keeper = psutil.Process(int(_keeper_file(gate).read_text()))
        if "gate" not in keeper.cmdline():
            return gate.stop()  # another program has the number by now
        keeper.terminate()
        keeper.wait(STOP_TIMEOUT)
        return True
    except (OSError, ValueError, psutil.NoSuchProcess):
        return gate.stop()


def _keeper_file(gate: Gate) -> Path:
    return gate.folder / "keeper.pid"


def _wait(until: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        time.sleep(0.05)
