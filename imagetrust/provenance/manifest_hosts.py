"""The operator's list of hosts that manifests may be fetched from, and what a URL asks of which host."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from imagetrust.provenance.bounds import MAX_URL_CHARACTERS

_PORTS = {"https": 443, "http": 80}
_VISIBLE_ASCII = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"[a-z0-9._-]+")


@dataclass(frozen=True)
class Origin:
    """Scheme, host and port, as in RFC 6454: all that decides where a connection goes."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


def allowed_origins(hosts: Iterable[str]) -> frozenset[Origin]:
    """Return the origins that an operator names: HOST or HOST:PORT, meant as https unless http:// stands before it.

    Raises ValueError on an entry that names anything else, such as a path, a user or a pattern.
    """
    if isinstance(hosts, str):  # of which each letter would pass for a host
        raise ValueError(f"manifest hosts are a list, not {hosts!r}")
    return frozenset(_named_origin(host) for host in hosts)


def _named_origin(text: str) -> Origin:
    url = text if "://" in text else f"https://{text}"
    try:
        origin, _ = split_url(url)
        if "[" in url:
            ipaddress.IPv6Address(origin.host)
        elif not _HOST_NAME.fullmatch(origin.host):
            raise ValueError("no host name")
        if any(mark in url.partition("://")[2].removesuffix("/") for mark in "/?#"):
            raise ValueError("more than a host")
    except ValueError:
        raise ValueError(f"{text!r} is not HOST or HOST:PORT, with or without https:// or http:// before it") from None
    return origin


def split_url(url: str) -> tuple[Origin, str]:
    """Return a URL's origin, and the path and query to ask it for.

    Raises ValueError on a URL that is too long, not http or https, not written in visible ASCII as RFC 3986 wants it,
    or that carries a user's name.
    """
    # urlsplit drops line breaks and tabs: what is compared must be what was written.
    if len(url) > MAX_URL_CHARACTERS or not _VISIBLE_ASCII.fullmatch(url):
        raise ValueError("not a plain URL")
    parts = urlsplit(url)
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        raise ValueError("not a URL of a host alone")
    port = _PORTS[parts.scheme] if parts.port is None else parts.port
    query = f"?{parts.query}" if parts.query else ""
    return Origin(parts.scheme, parts.hostname, port), (parts.path or "/") + query
