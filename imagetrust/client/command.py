"""The command `imagetrust check`: asks a server about pictures from a terminal or a script."""

import argparse
import asyncio
import contextlib
import glob
import io
import os
import re
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from imagetrust.client.clients import ADDRESS, AsyncClient
from imagetrust.client.errors import ClientError, TokenError, UnreachableError
from imagetrust.client.listing import STANDARD_INPUT, Listed, list_pictures
from imagetrust.client.rows import FORMATS, Csv, JsonLines, Row, Table
from imagetrust.limits import MAX_BYTES

# Of the process, the worst first: what a script acts on.
EXIT_CODES = {"generated": 1, "failed": 3, "uncertain": 4, "real": 0}
USAGE, INTERRUPTED, BROKEN_PIPE = 2, 130, 141
_EPILOG = """\
exit codes:
  0  every picture is real by its verdict
  1  at least one is generated
  2  the command line is at fault; nothing was asked
  3  at least one has no answer, and none is generated
  4  at least one is uncertain, none is generated, and all have answers
  130 after Ctrl-C

environment:
  IMAGETRUST_ADDRESS  the server, where --server names none
  IMAGETRUST_TOKEN    the token, where --token-file names none
"""
_AHEAD = 4  # pictures under way or waiting for an earlier one to be printed, for each that is asked about at once
_MOST_AT_ONCE = 64  # that the gate allows a caller (deploy/nginx/gate.toml)
_GIVE_UP_AFTER = 20  # calls in a row that no server answers, or whose token is refused: the rest would fare no better
_RETRIES = 5  # of a call
_LONGEST_TOKEN = 4096  # characters
_REDRAWN = 0.1  # seconds, between two states of the progress


class _UsageError(Exception):
    """The command line is at fault."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code. arguments: those of the process where None."""
    parsed = _parser().parse_args(arguments)
    try:
        return _check(parsed)
    except _UsageError as error:
        print(f"imagetrust: {error}", file=sys.stderr)
        return USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("imagetrust: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python would flush once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="imagetrust", description="Says of pictures whether a machine made them.")
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check", help="ask a server about pictures", epilog=_EPILOG,
        description="Asks a server about pictures: one line each, in the order given. Exits by the worst verdict.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    check.add_argument(
        "pictures",
        nargs="+",
        metavar="PHOTO",
        help="a file, a folder with all below, a pattern such as 'photos/**/*.jpg', or - for the standard input",
    )
    check.add_argument(
        "--explain",
        type=Path,
        metavar="OUT",
        help="ask for explanations; write the heat map of one PHOTO to the file OUT, of several into the folder OUT",
    )
    form = check.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print a JSON object a line")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print CSV")
    check.add_argument("--server", metavar="URL", help=f"the gate's address, or TorchServe's ({ADDRESS})")
    check.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token; read anew for each picture")
    check.add_argument(
        "--certificates", type=Path, metavar="FILE", help="authorities (PEM) to trust in place of the system's"
    )
    check.add_argument("--concurrency", type=_at_once, default=4, metavar="N", help="pictures asked about at once (4)")
    check.add_argument(
        "--timeout", type=_seconds, default=120, metavar="SECONDS", help="for one picture, repetitions included (120)"
    )
    check.set_defaults(form="table")
    return parser


def _at_once(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= _MOST_AT_ONCE:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {_MOST_AT_ONCE}")


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < float("inf"):
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")


def _check(parsed: argparse.Namespace) -> int:
    names: list[str] = parsed.pictures
    if names.count(STANDARD_INPUT) > 1:
        raise _UsageError("the standard input is one picture: name - once")
    heatmaps = _Heatmaps(parsed.explain, names) if parsed.explain else None
    address = parsed.server or os.environ.get("IMAGETRUST_ADDRESS") or ADDRESS
    try:
        client = AsyncClient(
            address, token=_token(parsed.token_file), timeout=parsed.timeout, retries=_RETRIES,
            certificates=parsed.certificates,
        )  # fmt: skip
    except (ValueError, OSError) as error:
        raise _UsageError(str(error)) from error
    # Read before anything is asked, as it may wait for a person. One byte over the bound is enough to refuse it.
    given = sys.stdin.buffer.read(MAX_BYTES + 1) if STANDARD_INPUT in names else b""

    def pictures() -> Iterator[Listed]:
        return list_pictures(names, given, heatmaps.folder if heatmaps else None)

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    progress = _Progress(sys.stderr, pictures)
    run = _Run(client, heatmaps, parsed.concurrency, FORMATS[parsed.form](sys.stdout), progress)
    return asyncio.run(_until_interrupted(run.answer(pictures())))


async def _until_interrupted(work: Awaitable[int]) -> int:
    """Return the result. Ctrl-C cancels the task between two steps of the loop, and the next one ends the process.

    asyncio's own handler cancels within a step, which reports the future that it was about to set.
    """
    loop, task, before = asyncio.get_running_loop(), asyncio.current_task(), signal.getsignal(signal.SIGINT)

    def interrupt(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if task:
            loop.call_soon_threadsafe(task.cancel)

    if before is signal.SIG_IGN:  # as in a script's background
        return await work
    signal.signal(signal.SIGINT, interrupt)
    try:
        return await work
    finally:
        signal.signal(signal.SIGINT, before)


def _token(path: Path | None) -> str | Callable[[], str] | None:
    """Return the token of the environment, or what reads it from a file at each call: tokens are renewed."""
    if path is None:
        return _checked_token(os.environ.get("IMAGETRUST_TOKEN", ""), "IMAGETRUST_TOKEN") or None
    read = [""]

    def token() -> str:
        # While the file is replaced the token of before is still good.
        with contextlib.suppress(OSError):
            read[0] = _read_token(path)
        return read[0]

    read[0] = _read_token(path)
    return token


def _read_token(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        token = _checked_token(file.read(_LONGEST_TOKEN).strip(), str(path))
    if not token:
        raise ValueError(f"{path} holds no token")
    return token


def _checked_token(token: str, source: str) -> str:
    if not re.fullmatch(r"[!-~]*", token):
        raise ValueError(f"{source} must hold one token and nothing else")
    return token


class _Heatmaps:
    """Where heat maps are written: to one file, or into a folder under numbers and names. Raises _UsageError."""

    def __init__(self, out: Path, names: Sequence[str]) -> None:
        (name, *others) = names
        is_one = not others and not Path(name).is_dir() and (os.path.lexists(name) or not glob.has_magic(name))
        self._file = out if is_one and not out.is_dir() else None
        self.folder = None if self._file else out.resolve()
        try:
            if self.folder:
                self.folder.mkdir(parents=True, exist_ok=True)
            elif not out.parent.is_dir():
                raise _UsageError(f"{out.parent} is not a folder")
            elif out.exists() and name != STANDARD_INPUT and out.samefile(name):
                raise _UsageError(f"{out} is the picture itself")
        except OSError as error:
            raise _UsageError(f"no heat maps can be written to {out}: {error.strerror}") from error

    def write(self, number: int, name: str, png: bytes) -> str:
        """Write the heat map of the picture with this number, and return its path. Raises OSError."""
        path = self._file
        if self.folder:
            path = self.folder / f"{number:06d}-{Path(name).stem[:50]}.png"
        assert path is not None
        path.write_bytes(png)
        return str(path)


class _Progress:
    """A line that counts, on a terminal alone. pictures: lists them, to be counted beforehand."""

    def __init__(self, file: TextIO, pictures: Callable[[], Iterator[Listed]]) -> None:
        self._file, self._is_shown = file, file.isatty()
        self._total = sum(1 for _ in pictures()) if self._is_shown else 0
        self._drawn_at = 0.0
        self.counts: Counter[str] = Counter()

    def clear(self) -> None:
        """Take the line away, so that another may be printed."""
        if self._drawn_at:
            print("\r\x1b[K", end="", file=self._file, flush=True)

    def add(self, verdict: str) -> None:
        """Count a picture and draw the line anew."""
        self.counts[verdict] += 1
        if self._is_shown and time.monotonic() - self._drawn_at > _REDRAWN:
            self._drawn_at = time.monotonic()
            print(f"\r\x1b[K{self._said()}", end="", file=self._file, flush=True)

    def end(self) -> None:
        """Leave a line that says what came of all."""
        self.clear()
        if self._is_shown:
            print(self._said(), file=self._file)

    def _said(self) -> str:
        parts = ", ".join(f"{self.counts[verdict]} {verdict}" for verdict in EXIT_CODES if self.counts[verdict])
        return f"{self.counts.total()} of {self._total}: {parts}"


class _Run:
    """Asks about pictures, several at once, and prints the rows in order."""

    def __init__(
        self,
        client: AsyncClient,
        heatmaps: _Heatmaps | None,
        at_once: int,
        rows: Table | JsonLines | Csv,
        progress: _Progress,
    ) -> None:
        self._client, self._heatmaps, self._rows, self._progress = client, heatmaps, rows, progress
        self._ahead, self._places = _AHEAD * at_once, asyncio.Semaphore(at_once)
        self._vain = 0  # calls in a row

    async def answer(self, pictures: Iterator[Listed]) -> int:
        """Print a row for each picture and return the exit code."""
        under_way: deque[asyncio.Task[Row]] = deque()
        self._rows.begin()
        try:
            async with self._client:
                for number, listed in enumerate(pictures, start=1):
                    if self._vain >= _GIVE_UP_AFTER:
                        break
                    under_way.append(asyncio.create_task(self._row(number, listed)))
                    while len(under_way) >= self._ahead or under_way and under_way[0].done():
                        self._print(await under_way.popleft())
                while under_way:
                    self._print(await under_way.popleft())
        finally:
            for task in under_way:
                task.cancel()
            self._progress.end()
        if self._vain >= _GIVE_UP_AFTER:
            print(f"imagetrust: given up after {self._vain} calls in a row without an answer", file=sys.stderr)
        return next((code for verdict, code in EXIT_CODES.items() if self._progress.counts[verdict]), 0)

    def _print(self, row: Row) -> None:
        self._progress.clear()
        self._rows.add(row)
        sys.stdout.flush()
        self._progress.add(row.verdict)

    async def _row(self, number: int, listed: Listed) -> Row:
        if listed.fault:
            return Row(listed.name, code="no_picture", message=listed.fault)
        try:
            async with self._places:
                row = await self._asked(number, listed)
            self._vain = 0
        except ClientError as error:
            self._vain = self._vain + 1 if isinstance(error, TokenError | UnreachableError) else 0
            return Row(listed.name, code=error.code, message=error.message, request_id=error.request_id or "")
        except OSError as error:
            return Row(listed.name, code="unreadable_file", message=f"The file cannot be read: {error.strerror}.")
        return row

    async def _asked(self, number: int, listed: Listed) -> Row:
        if not self._heatmaps:
            return Row(listed.name, await self._client.verdicts(listed.picture))
        answer = await self._client.explanation(listed.picture)
        try:
            path = self._heatmaps.write(number, listed.name, answer.inferred.heatmap.overlay_png)
        except OSError as error:
            return Row(listed.name, code="unwritten_heatmap", message=f"No heat map is written: {error.strerror}.")
        return Row(listed.name, answer, path)
