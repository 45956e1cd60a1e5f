"""What an operator tells a screen, on its command line."""

import argparse
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagetrust.client.clients import ADDRESS
from ui.checking import Checker, read_token
from ui.fetching import Fetcher

SERVER_FOLDER = Path(__file__).resolve().parent.parent / ".server"  # that of `python -m server`


@dataclass(frozen=True)
class Settings:
    """How a screen is served, and whom it asks."""

    server: str
    token_file: Path
    fetches_addresses: bool
    host: str
    port: int
    root_path: str | None

    def checker(self) -> Checker:
        """Return what asks the server. The token is read anew for each picture: servers renew theirs."""
        return Checker(
            self.server, functools.partial(read_token, self.token_file), Fetcher() if self.fetches_addresses else None
        )


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """Read a command line; that of the program where none is given."""
    given = add_arguments(argparse.ArgumentParser(description="Serves a screen for people over a running server."))
    return settings_of(given.parse_args(arguments))


def add_arguments(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add what every screen is told to a command line."""
    parser.add_argument("--server", default=ADDRESS, help=f"address of the server or its gate ({ADDRESS})")
    parser.add_argument("--token-file", type=Path, default=SERVER_FOLDER / "key_file.json",
                        help="a file with the token, or the file of keys in the server's folder (default)")  # fmt: skip
    parser.add_argument(
        "--fetch-addresses", action="store_true", help="let people name pictures on the web by https addresses"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen; others than this machine's need a gate in front"
    )
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--root-path", help="path under which a proxy shows the screen, such as /screen")
    return parser


def settings_of(parsed: argparse.Namespace) -> Settings:
    """Return the settings of a command line that was read."""
    return Settings(
        parsed.server, parsed.token_file, parsed.fetch_addresses, parsed.host, parsed.port, parsed.root_path
    )
