"""Fetches a picture from an address on the web: https, public addresses only, bounded in bytes and time."""

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from imagetrust.limits import MAX_BYTES

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], list[str]]

# The IPv4 address stands in the last 32 bits: NAT64's well-known and local-use prefixes (RFC 6052, RFC 8215),
# IPv4-mapped and IPv4-compatible addresses (RFC 4291), IPv4-translated ones (RFC 2765).
_EMBEDDING = [
    ipaddress.IPv6Network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0/96", "::/96", "::ffff:0:0:0/96")
]
# Versions of Python differ in what they call global. What IPv6 has given out to hosts (RFC 4291), and in both families
# what IANA keeps for protocols, tunnels, which lead wherever their sender likes, and documents (RFC 6890 and later).
_HOSTS = ipaddress.IPv6Network("2000::/3")
_NEVER = [
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"
    )
]  # fmt: skip
_REDIRECTS = (301, 302, 303, 307, 308)


class FetchError(Exception):
    """No picture was fetched. code: of ui.words.FAULTS. message: one sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def is_public(text: str) -> bool:
    """Whether an IP address, as a resolver gives it, is one of the public Internet, and of one host."""
    try:
        address: IpAddress = ipaddress.ip_address(text)
    except ValueError:  # "fe80::1%eth0" in a form that is not read is not public either
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        if any(address in network for network in _EMBEDDING):
            return is_public(str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
        if address not in _HOSTS:
            return False
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver for a host's addresses. Raises OSError where it has none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


@dataclass(frozen=True)
class Fetcher:
    """How addresses are fetched.

    resolver: a host and a port to IP addresses. accepts: which of them may be connected to. port: the only one.
    seconds: from the look-up of the name to the last byte, redirects included. max_bytes: of the picture.
    """

    resolver: Resolver = resolve
    accepts: Callable[[str], bool] = is_public
    port: int = 443
    context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    seconds: float = 10
    max_bytes: int = MAX_BYTES
    redirects: int = 3

    def fetch(self, url: str) -> bytes:
        """Return what an address holds. Each redirect is checked like the address itself.

        Raises FetchError: `no_address`, `not_https`, `unknown_host`, `not_public`, `too_many_bytes`, `slow_site` or
        `not_fetched`.
        """
        deadline = time.monotonic() + self.seconds
        for _ in range(self.redirects + 1):
            host, path = self._parts(url)
            found = self._get(host, self._addresses(host, deadline), path, deadline)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise FetchError("not_fetched", f"The site redirected more than {self.redirects} times.")

    def _parts(self, url: str) -> tuple[str, str]:
        """Return the host and what is asked of it."""
        try:
            parts = urlsplit(url.strip())
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise FetchError("no_address", "The address cannot be read.") from error
        if parts.scheme != "https":
            raise FetchError("not_https" if parts.scheme else "no_address", "The address does not begin with https://.")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        is_odd = not path.isascii() or any(character <= " " or character == "\x7f" for character in path)
        if not host or parts.username is not None or port not in (None, self.port) or is_odd or len(url) > 2000:
            raise FetchError("no_address", "The address has no host, a port, a password or odd characters.")
        try:
            return host.encode("idna").decode(), path
        except UnicodeError as error:
            raise FetchError("no_address", "The host's name cannot be one.") from error

    def _addresses(self, host: str, deadline: float) -> list[str]:
        """Return the addresses to connect to. All that the resolver gives must be acceptable, not one of them."""
        found: list[list[str]] = []

        def look_up() -> None:
            try:
                found.append(self.resolver(host, self.port))
            except (OSError, UnicodeError):
                found.append([])

        thread = threading.Thread(target=look_up, daemon=True)  # a resolver has no time-out of its own
        thread.start()
        thread.join(max(0.0, deadline - time.monotonic()))
        if not found:
            raise FetchError("slow_site", "The host's name was not found in time.")
        if not found[0]:
            raise FetchError("unknown_host", "The host's name is not known.")
        if not all(self.accepts(address) for address in found[0]):
            raise FetchError("not_public", "The host is not on the public web.")
        return found[0]

    def _get(self, host: str, addresses: list[str], path: str, deadline: float) -> bytes | str:
        """Return the content, or where the site redirects to. The certificate must be the host's."""
        sockets: list[socket.socket] = []
        alarm = threading.Timer(max(0.0, deadline - time.monotonic()), lambda: [_shut(each) for each in sockets])
        alarm.daemon = True
        alarm.start()  # no drip of bytes, in a handshake, a header or the content, outlasts it
        try:
            plain = self._connect(addresses, deadline)
            sockets.append(plain)
            plain.settimeout(max(0.1, deadline - time.monotonic()))
            secure = self.context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
            sockets.append(secure)
            secure.do_handshake()
            found = self._exchange(secure, host, path)
            if time.monotonic() >= deadline:  # what the alarm cut off may look like the end
                raise TimeoutError
            return found
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline - 0.05:  # a socket's own time-out may come just before
                raise FetchError("slow_site", f"The site did not answer within {self.seconds:g} s.") from error
            raise FetchError("not_fetched", "The connection to the site failed or broke.") from error
        finally:
            alarm.cancel()
            for each in sockets:
                each.close()

    def _connect(self, addresses: list[str], deadline: float) -> socket.socket:
        """Return a connection to the first address that takes one: a machine may lack the way to IPv6."""
        for address in addresses[:-1]:
            try:
                return socket.create_connection((address, self.port), timeout=max(0.1, deadline - time.monotonic()) / 2)
            except OSError:
                continue
        return socket.create_connection((addresses[-1], self.port), timeout=max(0.1, deadline - time.monotonic()))

    def _exchange(self, secure: ssl.SSLSocket, host: str, path: str) -> bytes | str:
        connection = http.client.HTTPConnection(host)
        connection.sock = secure
        connection.request(
            "GET", path, headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "ImageTrust"}
        )
        answer = connection.getresponse()
        if answer.status in _REDIRECTS and (target := answer.getheader("Location")):
            return target
        if answer.status != 200:
            raise FetchError("not_fetched", f"The site answered with status {answer.status}.")
        if (answer.length or 0) > self.max_bytes:
            raise FetchError("too_many_bytes", f"The file exceeds {self.max_bytes} bytes.")
        content = answer.read(self.max_bytes + 1)
        if len(content) > self.max_bytes:
            raise FetchError("too_many_bytes", f"The file exceeds {self.max_bytes} bytes.")
        if answer.length:
            raise ConnectionError
        return content


def _shut(each: socket.socket) -> None:
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        each.close()
