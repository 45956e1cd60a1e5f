"""`python -m server models`: what is served, and in which versions."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import requests

from server.archive import ArchiveError
from server.desired import DesiredError
from server.instance import ServerError, TorchServe
from server.versions import Limits, Refused, Versions

REFUSED, UNREACHABLE = 1, 3  # exit codes; argparse ends with 2 where it does not understand
_COLUMNS = ("model", "version", "role", "ready", "workers", "queued", "archive")


def add_models(commands: Any) -> None:
    """Add the command and its own commands to a parser's."""
    parser = commands.add_parser("models", help="list, register, promote and roll back versions")
    actions = parser.add_subparsers(dest="action", required=True)
    every = argparse.ArgumentParser(add_help=False)
    every.add_argument("--json", action="store_true", help="print JSON")
    changing = argparse.ArgumentParser(add_help=False, parents=[every])
    changing.add_argument("--dry-run", action="store_true", help="check and tell, but change nothing")

    actions.add_parser("list", parents=[every], help="every version of every model")
    describe = actions.add_parser("describe", parents=[every], help="the versions of one model, in full")
    register = actions.add_parser("register", parents=[changing], help="serve a version beside the default")
    scale = actions.add_parser("scale", parents=[changing], help="set the number of a version's workers")
    promote = actions.add_parser("promote", parents=[changing], help="make a version the default, if it compares well")
    canary = actions.add_parser("canary", parents=[changing], help="send a share of the requests to a version")
    rollback = actions.add_parser("rollback", parents=[changing], help="make the previous version the default again")
    unregister = actions.add_parser("unregister", parents=[changing], help="take a version away")
    for action in (describe, register, scale, promote, canary, rollback, unregister):
        action.add_argument("name", help="of the model, such as authenticity")
    for action in (register, promote, canary, unregister):
        action.add_argument("version")
    register.add_argument("--workers", type=_number, help="of this version; by default server/sizing.py chooses")
    scale.add_argument("workers", type=_number)
    scale.add_argument("--version", help="the default version unless given")
    canary.add_argument("share", type=_share, help="such as 5%%; 0%% ends it")
    limits = Limits()
    promote.add_argument("--golden", type=Path, metavar="FOLDER",
                         help="pictures to compare on; those of the archive's self-test unless given")  # fmt: skip
    promote.add_argument("--max-changed", type=_share, default=limits.changed, metavar="SHARE",
                         help=f"of the verdicts that may change ({limits.changed:.0%})".replace("%", "%%"))  # fmt: skip
    promote.add_argument("--max-slower", type=float, default=limits.slower, metavar="RATIO",
                         help=f"of the median latencies ({limits.slower:g})")  # fmt: skip


def run_models(server: TorchServe, arguments: argparse.Namespace) -> None:
    """Run one of the commands; ends the process with REFUSED or UNREACHABLE where it does not do what was asked."""
    said: list[str] = []

    def report(line: str) -> None:
        said.append(line)
        if not arguments.json:
            print(line, flush=True)

    try:
        if not server.process:
            raise ServerError("the server does not run. Start it: make serve")
        versions = Versions(server, report, dry=getattr(arguments, "dry_run", False))
        if arguments.action in ("list", "describe"):
            rows = versions.table(getattr(arguments, "name", None))
            print(json.dumps(rows, indent=1) if arguments.json else _table(rows, arguments.action == "describe"))
            return
        _change(versions, arguments)
    except Refused as refused:
        _end(arguments, said, str(refused), REFUSED)
    except (ArchiveError, DesiredError, ServerError, requests.RequestException) as error:
        _end(arguments, said, str(error), UNREACHABLE)
    if arguments.json:
        print(json.dumps({"done": not versions.dry, "steps": said}))


def _change(versions: Versions, arguments: argparse.Namespace) -> None:
    name = arguments.name
    match arguments.action:
        case "register":
            versions.register(name, arguments.version, arguments.workers)
        case "scale":
            versions.scale(name, arguments.workers, arguments.version)
        case "promote":
            limits = Limits(arguments.max_changed, arguments.max_slower)
            versions.promote(name, arguments.version, arguments.golden, limits)
        case "canary":
            versions.canary(name, arguments.version, arguments.share)
        case "rollback":
            versions.rollback(name)
        case "unregister":
            versions.unregister(name, arguments.version)


def _end(arguments: argparse.Namespace, said: list[str], reason: str, code: int) -> None:
    if arguments.json:
        print(json.dumps({"done": False, "steps": said, "error": reason}))
    else:
        print(f"error: {reason}", file=sys.stderr)
    sys.exit(code)


def _table(rows: list[dict[str, Any]], full: bool) -> str:
    """Lay rows out in columns, or each as a list of its members."""
    if full:
        return "\n\n".join("\n".join(f"{key:9} {value}" for key, value in row.items()) for row in rows)
    cells = [_COLUMNS, *(tuple(str(row[column]) for column in _COLUMNS) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _share(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share, such as 5% or 0.05")
    return value
