"""From one picture to what a screen shows of it. A picture without an answer is a result too."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagetrust.client import Client, ClientError, Explanation
from ui.fetching import Fetcher, FetchError
from ui.pictures import Copies, copies
from ui.words import Fault, fault, fault_of

_MAX_TOKEN_FILE = 64 * 1024  # bytes


@dataclass(frozen=True)
class Checked:
    """One picture. Either an answer or a fault is there. request_id: what the server's logs call a failed request."""

    name: str
    answer: Explanation | None = None
    copies: Copies | None = None
    fault: Fault | None = None
    code: str = ""
    request_id: str | None = None


class TokenFileError(ClientError):
    """The file with the token is missing or holds none."""


def read_token(path: Path) -> str:
    """Return the token in a file: the file of keys that a server writes into its folder, or the token alone.

    Raises TokenFileError where there is none.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_TOKEN_FILE).decode().strip()
        token = json.loads(text)["inference"]["key"] if text.startswith("{") else text
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TokenFileError("no_token", "The file with the token cannot be read.") from error
    if not isinstance(token, str) or not token or any(character.isspace() for character in token):
        raise TokenFileError("no_token", "The file with the token holds none.")
    return token


class Checker:
    """Asks one server. Threads may share it.

    token: returns the token of the moment. fetcher: of addresses on the web, None where the operator allows none.
    """

    def __init__(self, address: str, token: Callable[[], str], fetcher: Fetcher | None = None) -> None:
        self._client = Client(address, token=token, timeout=60, retries=3)
        self._fetcher = fetcher

    @property
    def fetches(self) -> bool:
        """Whether pictures may be named by their addresses."""
        return self._fetcher is not None

    def check(self, name: str, data: bytes) -> Checked:
        """Ask about one picture."""
        try:
            answer = self._client.explanation(data)
        except ClientError as error:
            return Checked(name, fault=fault_of(error), code=error.code, request_id=error.request_id)
        return Checked(name, answer, copies(data))

    def check_address(self, url: str) -> Checked:
        """Fetch a picture and ask about it. Its name is the last part of its address."""
        if self._fetcher is None:
            return Checked(url[:200], fault=Fault("Addresses are switched off", "Send the file instead."), code="off")
        name = url.partition("?")[0].rstrip("/").rpartition("/")[2][:200] or url[:200]
        try:
            return self.check(name, self._fetcher.fetch(url))
        except FetchError as error:
            return Checked(name, fault=fault(error.code, error.message), code=error.code)

    def problem(self) -> Fault | None:
        """Return why no picture can be checked now, None where it can."""
        try:
            return None if self._client.ready() else fault("not_ready", "")
        except ClientError as error:
            return fault_of(error)
