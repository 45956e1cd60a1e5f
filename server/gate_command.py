"""`python -m server gate`: the gate's tokens, certificates and settings. It is run by `python -m server run`.

Only before several machines, where no TorchServe is, it runs alone: `gate run`.
"""

import argparse
import contextlib
import json
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from server.gate import Gate, add_token, nginx, self_signed, unready_machines
from server.gate_config import SETTINGS, Behind, GateError, GateSettings, read_callers, read_settings
from server.gate_keeper import Keeper, own_server
from server.instance import TorchServe
from server.logs import log_to_stderr
from server.settings import CONFIG, addresses, instance_settings
from server.supervisor import DRAIN_TIMEOUT, STATUS

INTERVAL = 2.0  # seconds between two looks at several machines
FIRST_CALLER = "local"
_COMMANDS = {
    "status": "say whether it runs, who may ask, and how to open it to other machines",
    "check": "let nginx check the settings, without taking them into use",
    "run": "run it in the foreground before several machines",
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


def settings_of(folder: Path, source: Path) -> GateSettings:
    """Read settings; where they name no file of tokens it is `callers` in the server's folder."""
    settings = read_settings(source)
    return settings if settings.callers else replace(settings, callers=str(folder / "callers"))


def kept_gate(server: TorchServe, source: Path, listening: dict[str, str]) -> Keeper:
    """Return what keeps the gate of a server. listening: the server's settings.

    A first caller gets a token where nobody has named a file of them. Raises GateError where nginx is missing or the
    settings are at fault.
    """
    nginx()
    settings = settings_of(server.folder, source)
    if settings.machines():
        raise GateError(f"{source} names several machines: `gate run` runs the gate before them")
    if not read_settings(source).callers and not Path(settings.callers).exists():
        add_token(Path(settings.callers), FIRST_CALLER)
    behind = own_server(server, addresses(listening))
    return Keeper(server.folder / "gate", lambda: settings_of(server.folder, source), behind, source)


def stop_left_gate(folder: Path) -> bool:
    """Stop a gate whose supervisor was killed; return whether there was one."""
    return Gate(folder / "gate", settings_of(folder, SETTINGS), lambda: Behind((), (), "")).stop(DRAIN_TIMEOUT)


def gate_lines(folder: Path, source: Path | None) -> list[str]:
    """Say how callers on other machines reach a server, or why they do not. source: of the gate's settings."""
    if source is None:
        return ["No gate runs (--no-gate): callers on this machine alone are answered."]
    try:
        nginx()
        settings = settings_of(folder, source)
    except GateError as error:
        return [f"No gate runs: {error}."]
    process = Gate(folder / "gate", settings, lambda: Behind((), (), "")).process
    lines = [
        f"The gate runs, process {process.pid}: REST on {settings.rest}, gRPC on {settings.grpc}."
        if process
        else "The gate does not run."
    ]
    with contextlib.suppress(OSError, ValueError, KeyError):  # no supervisor runs, or it is starting
        lines += [f"  {line}" for line in json.loads((folder / STATUS).read_text())["gate"]]
    return lines


def run(arguments: argparse.Namespace, server: TorchServe) -> None:
    """Do what the command line asks for. Raises GateError where that cannot be."""
    settings = settings_of(server.folder, arguments.settings)
    folder = server.folder / "gate"
    match arguments.gate_command:
        case "token":
            print(add_token(Path(settings.callers), arguments.name))
        case "certificate":
            certificate, key = self_signed(folder / "tls", arguments.name)
            print(f'certificate = "{certificate}"\ncertificate_key = "{key}"')
        case "check":
            _check(server, settings)
            print("nginx accepts the settings.")
        case "status":
            _print_status(server.folder, arguments.settings, settings)
        case "run":
            _keep(_front(folder, lambda: settings_of(server.folder, arguments.settings), arguments.settings))


def _check(server: TorchServe, settings: GateSettings) -> None:
    folder = server.folder / "gate" / "checked"
    behind = settings.machines() or own_server(server, addresses(instance_settings(CONFIG, {})))()
    try:
        Gate(folder, settings, lambda: behind).write()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _print_status(folder: Path, source: Path, settings: GateSettings) -> None:
    print("\n".join(gate_lines(folder, source)))
    try:
        names = sorted({name for name, _ in read_callers(Path(settings.callers))})
    except GateError as error:
        print(f"Nobody may ask: {error}.")
    else:
        print(f"Who may ask: {', '.join(names)}, with the tokens in {settings.callers}.")
    print("One more caller:             python -m server gate token NAME")
    if not settings.certificate and not settings.tls_ends_elsewhere:
        print(
            f"Callers on other machines:   name a certificate and addresses in {source} (docs/operations.md#the-gate)"
        )


def _front(folder: Path, read: Callable[[], GateSettings], source: Path) -> Keeper:
    """Return what keeps the gate before several machines."""

    def machines() -> Behind:
        behind = read().machines()
        if behind is None:
            raise GateError(
                f"{source} names no machines under [behind]: `python -m server run` runs the gate of one machine"
            )
        return behind

    nginx()
    machines()
    return Keeper(folder, read, machines, source)


def _keep(keeper: Keeper) -> None:
    """Keep a gate before several machines until SIGTERM. Raises GateError where it does not start."""
    log_to_stderr()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    if amiss := keeper.look():
        raise GateError("; ".join(amiss))
    settings = keeper.gate.settings
    print(f"The gate runs: REST on {settings.rest}, gRPC on {settings.grpc}.", flush=True)
    said: list[str] | None = None
    try:
        while not ended.is_set():
            behind = keeper.gate.settings.machines()
            missing = unready_machines(behind) if behind else []
            keeper.set_ready(not missing)
            amiss = [*missing, *keeper.look()]
            if amiss != said:
                print(f"Not ready: {'; '.join(amiss)}" if amiss else "Ready.", flush=True)
                said = amiss
            ended.wait(INTERVAL)
    finally:
        keeper.stop(keeper.gate.settings.answer_seconds)
