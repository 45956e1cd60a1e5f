"""Reading a file opens no connection, whatever the file names: a manifest, a revocation service, an XML entity."""

import io
import socket
import threading

import c2pa
import pytest

from tests.provenance.checks import check
from tests.provenance.files import (
    CAPTURE,
    MEDIA_TYPES,
    certificates,
    finding,
    read,
    signed,
    with_xmp,
)

_GRACE = 0.3  # seconds after a read in which a late connection would be seen


class Listener:
    """A socket on this machine that counts who connects, and answers none of them."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            connection.close()
            with self._changed:
                self.connections += 1
                self._changed.notify_all()

    def connected(self, within: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.connections > 0, within)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def no_sockets(monkeypatch):
    """What Python itself would open; the library's native code is watched by the listener."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("opened a connection"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("looked up a name"))


def remote(url: str, image_format: str = "JPEG") -> bytes:
    return signed(CAPTURE, image_format, remote_url=f"{url}/manifest.c2pa")


def test_the_library_by_itself_would_fetch(listener):
    """The control: without our settings the same file does make it connect, and the listener sees it."""
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/jpeg", io.BytesIO(remote(listener.url)), context=c2pa.Context())
    assert listener.connected(within=5)


def test_an_empty_list_of_hosts_alone_stops_it(listener):
    """The second lock holds without the first."""
    context = c2pa.Context.from_dict({"core": {"allowed_network_hosts": []}})
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/jpeg", io.BytesIO(remote(listener.url)), context=context)
    assert not listener.connected(_GRACE)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_remote_manifest_is_named_not_fetched(listener, no_sockets, image_format):
    declared = read(remote(listener.url, image_format))
    assert finding(declared, "c2pa")["values"]["remote_url"] == f"{listener.url}/manifest.c2pa"
    assert not listener.connected(_GRACE)


def test_remote_manifest_beside_an_embedded_one(listener, no_sockets):
    """XMP that names a remote manifest, in a file that the library does read."""
    named = with_xmp(f"<dcterms:provenance>{listener.url}/manifest.c2pa</dcterms:provenance>")
    assert finding(read(signed(CAPTURE, source=named)), "c2pa")["strength"] == "signed_untrusted"
    assert not listener.connected(_GRACE)


@pytest.mark.parametrize("trusted", [True, False])
def test_revocation_is_not_asked_for(listener, no_sockets, trusted):
    data = signed(CAPTURE, ocsp_url=listener.url)
    anchors = certificates(listener.url)[2] if trusted else None
    found = finding(read(data, trust_anchors=anchors), "c2pa")
    assert found["strength"] == ("signed_valid" if trusted else "signed_untrusted")
    assert not listener.connected(_GRACE)


def test_the_library_would_ask_for_revocation(listener):
    """The control: with OCSP switched on, the same file does make it connect."""
    settings = {"verify": {"ocsp_fetch": True}, "trust": {"trust_anchors": certificates(listener.url)[2]}}
    data = signed(CAPTURE, ocsp_url=listener.url)
    with c2pa.Reader("image/jpeg", io.BytesIO(data), context=c2pa.Context.from_dict(settings)):
        assert listener.connected(within=5)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE a [<!ENTITY e SYSTEM "{url}/entity">]>',
        '<!DOCTYPE a SYSTEM "{url}/a.dtd">',
        '<!DOCTYPE a [<!ENTITY % e SYSTEM "{url}/e.dtd"> %e;]>',
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY e0 "boom">'
        + "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
        + '<!ENTITY e "&e9;">]>',
    ],
    ids=["external entity", "external DTD", "parameter entity", "local file", "billion laughs"],
)
def test_entities_are_inert(listener, no_sockets, head, image_format):
    data = with_xmp("<xmp:CreatorTool>&e;</xmp:CreatorTool>", image_format, head=head.format(url=listener.url))
    declared = read(data)
    check(declared)
    assert [note["source"] for note in declared["unreadable"]] == ["xmp"]
    assert "root:" not in str(declared) and "boom" not in str(declared)
    assert not listener.connected(0.05)


def test_every_media_type_is_known_to_the_library():
    assert set(MEDIA_TYPES.values()) <= set(c2pa.Reader.get_supported_mime_types())
