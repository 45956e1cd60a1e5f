"""Fetches a manifest from a host that the operator allows, within bounds on time and size.

By http.client, which follows no redirect, asks no proxy, sends no credentials and unpacks nothing.
"""

import http.client
import socket
import ssl
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import Literal

from imagetrust.provenance.bounds import MAX_FETCH_SECONDS, MAX_MANIFEST_BYTES
from imagetrust.provenance.manifest_hosts import Origin, split_url

# not_allowed: the operator names no such host; nothing was asked. status: an answer other than 200.
# connection: none came about, or it broke off.
Reason = Literal["not_allowed", "timeout", "too_large", "redirect", "status", "certificate", "connection"]


class NotFetched(Exception):
    """A manifest was not fetched.

    reason: for programs; the message: for a person, half a sentence without anything that the host wrote.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def fetch_manifest(url: str, allowed: Collection[Origin]) -> bytes:
    """Return what an allowed host keeps under a URL. Takes at most MAX_FETCH_SECONDS, the look-up of its name included.

    The connection goes to the operator's own entry: the URL only selects it, and says what to ask it for.
    Raises NotFetched where the URL is not allowed, and on everything that goes wrong on the way.
    """
    try:
        origin, target = split_url(url)
        if origin not in allowed:
            raise ValueError
    except ValueError:
        raise NotFetched("not_allowed", "the operator does not allow it") from None
    exchange = _Exchange(origin, target)
    exchange.start()
    try:
        return exchange.content(MAX_FETCH_SECONDS)
    except TimeoutError:
        raise NotFetched("timeout", f"the host took more than {MAX_FETCH_SECONDS:g} seconds") from None
    except ssl.SSLCertVerificationError:
        raise NotFetched("certificate", "the host has no certificate that can be verified") from None
    except (OSError, http.client.HTTPException):
        raise NotFetched("connection", "the connection did not come about or broke off") from None


class _Exchange(threading.Thread):
    """One request and its answer, in a thread of its own.

    A time-out of a socket bounds one step alone: a host that sends a byte now and then keeps within it for hours, and
    looking up a name has none. Only who waits outside can bound the whole.
    """

    def __init__(self, origin: Origin, target: str) -> None:
        super().__init__(name="manifest fetch", daemon=True)
        self._origin = origin
        self._target = target
        self._socket: socket.socket | None = None
        self._abandoned = False
        self._outcome: bytes | Exception = b""

    def run(self) -> None:
        try:
            self._outcome = self._get()
        except Exception as error:  # goes on to who waits, in their thread
            self._outcome = error

    def content(self, seconds: float) -> bytes:
        """Wait for the answer. Raises TimeoutError where it takes longer, and whatever went wrong."""
        self.join(seconds)
        if self.is_alive():
            self._abandon()
            raise TimeoutError
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome

    def _abandon(self) -> None:
        """Lets the thread end, whatever it waits for from the host."""
        # First the mark, then the socket, which the thread does the other way round: one of the two sees the other.
        self._abandoned = True
        if self._socket:
            with suppress(OSError):  # it has been closed meanwhile
                # Not SSLSocket's own, which takes the state of TLS away under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _get(self) -> bytes:
        connection = self._connection()
        try:
            connection.connect()
            self._socket = connection.sock
            if self._abandoned:
                raise TimeoutError
            connection.request("GET", self._target, headers={"User-Agent": "imagetrust-serve"})
            with connection.getresponse() as response:
                return _manifest(response)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._origin.host, self._origin.port
        if self._origin.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=MAX_FETCH_SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=MAX_FETCH_SECONDS, context=ssl.create_default_context())


def _manifest(response: http.client.HTTPResponse) -> bytes:
    if 300 <= response.status < 400:
        raise NotFetched("redirect", "the host points to another place, which is not followed")
    if response.status != 200:
        raise NotFetched("status", f"the host answered with status {response.status}")
    announced = response.length or 0
    content = b"" if announced > MAX_MANIFEST_BYTES else response.read(MAX_MANIFEST_BYTES + 1)
    if max(announced, len(content)) > MAX_MANIFEST_BYTES:
        raise NotFetched("too_large", f"the host sent more than {MAX_MANIFEST_BYTES} bytes")
    if len(content) < announced:
        raise ConnectionError("ended early")
    return content
