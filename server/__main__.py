"""Runs the server: `python -m server start|ask|token|status|stop|gate`. `make serve` and `make stop` call this."""

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import requests

from clients.rest import ask_file
from server import gate_command
from server.gate import nginx
from server.instance import ServerError, TorchServe, summarise
from server.report import readable
from server.samples import photograph
from server.settings import CONFIG, ROOT, archives, instance_settings

FOLDER = ROOT / ".server"


def _fingerprint(settings: dict[str, str], workers: dict[str, int]) -> str:
    """Return a text that changes when a setting, a number of workers or an archive does."""
    digest = hashlib.sha256(json.dumps([settings, workers], sort_keys=True).encode())
    for archive in sorted(Path(settings["model_store"]).glob("*.mar")):
        digest.update(archive.read_bytes())
    return digest.hexdigest()


def start(server: TorchServe, changes: dict[str, str], workers: dict[str, int]) -> None:
    """Start the server, or leave it alone where it already runs with these settings, workers and archives."""
    settings = instance_settings(CONFIG, changes)
    if unknown := sorted(workers.keys() - archives(settings)):
        raise ServerError(f"--workers names {', '.join(unknown)}, which the server does not load")
    if workers and "models" in settings:
        raise ServerError("--workers has no effect beside the setting `models`; set the workers there")
    fingerprint = _fingerprint(settings, workers)
    started_with = server.folder / "fingerprint"
    if server.process:
        if started_with.exists() and started_with.read_text() == fingerprint:
            print(f"The server already runs, process {server.process.pid}.")
            return
        print("Settings or archives have changed: restarting the server.")
        server.stop()
    print("Starting TorchServe (about 15 seconds)...", flush=True)
    server.start(changes=changes, report=lambda line: print(line, flush=True), workers=workers)
    started_with.write_text(fingerprint)
    print(f"The server runs, process {server.process.pid}.")


def ask(server: TorchServe, picture: Path) -> bool:
    """Ask all endpoints about one image and print the answers; return whether all were answered."""
    print(f"\nAsking about {picture}")
    answered = True
    for endpoint in server.model_names():
        status, answer = ask_file(server.addresses.inference, endpoint, picture, server.token("inference"))
        answered &= status == 200
        print(f"\n  {endpoint}  (HTTP {status})")
        print("\n".join("    " + line for line in readable(answer)))
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
Tests:  make test"""
    )
    try:
        nginx()
        print("Callers on other machines:   make gate   (docs/operations.md)")
    except ServerError as error:
        print(f"Not for callers on other machines yet: {error}.")


def _relative(path: Path) -> Path:
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def renew_tokens(server: TorchServe) -> None:
    """Asks the running server for new tokens; the old ones stop working."""
    key = json.loads((server.folder / "key_file.json").read_text())["API"]["key"]
    for kind in ("inference", "management"):
        answer = requests.get(
            f"{server.addresses.management}/token",
            params={"type": kind},
            headers={"Authorization": f"Bearer {key}"},
            timeout=10,
        )
        answer.raise_for_status()


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
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start it, or restart it where settings or archives have changed")
    starting.add_argument("--set", type=_change, action="append", default=[], metavar="KEY=VALUE",
                          help="change a line of config.properties for this run")  # fmt: skip
    starting.add_argument("--workers", type=_workers, action="append", default=[], metavar="ENDPOINT=N",
                          help="workers of an endpoint, where the rule's number does not suit")  # fmt: skip
    starting.add_argument("--demonstrate", action="store_true", help="ask about a photograph once it is ready")
    asking = commands.add_parser("ask", help="ask all endpoints about a picture")
    asking.add_argument("picture", type=Path)
    token = commands.add_parser("token", help="print the current token")
    token.add_argument("kind", nargs="?", choices=("inference", "management"), default="inference")
    token.add_argument("--renew", action="store_true", help="make new tokens first; the old ones stop working")
    commands.add_parser("status", help="say whether it runs and where")
    commands.add_parser("stop", help="stop it")
    gate_command.add_arguments(commands.add_parser("gate", help="run nginx in front of it, for callers elsewhere"))
    arguments = parser.parse_args()

    os.environ["NO_PROXY"] = "127.0.0.1"  # the server is on this machine; a proxy would look for it on its own
    server = TorchServe(FOLDER)
    try:
        match arguments.command:
            case "start":
                start(server, dict(arguments.set), dict(arguments.workers))
                if arguments.demonstrate:
                    if not ask(server, photograph()):
                        sys.exit(1)
                    print_next_steps(server)
            case "ask":
                if not arguments.picture.is_file():
                    sys.exit(f"error: {arguments.picture} is not a file")
                sys.exit(0 if ask(server, arguments.picture) else 1)
            case "token":
                if arguments.renew:
                    renew_tokens(server)
                print(server.token(arguments.kind))
            case "status":
                process = server.process
                if not process:
                    sys.exit("The server does not run. Start it: make serve")
                print(f"The server runs, process {process.pid}, at {server.addresses.inference}.")
                for name in server.model_names():
                    print(f"  {name}: {summarise(server.describe(name))}")
            case "gate":
                gate_command.run(arguments, server)
            case "stop":
                print("The server has stopped." if server.stop() else "No server runs.")
    except (ServerError, requests.RequestException) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
