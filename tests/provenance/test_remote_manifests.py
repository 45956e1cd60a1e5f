"""Manifests kept elsewhere: fetched from the hosts that the operator names, within bounds, and from nowhere else."""

import datetime
import ipaddress
import socket
import threading
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from imagetrust.provenance import allowed_origins, bounds, summarise
from imagetrust.provenance.manifest_hosts import Origin
from tests.provenance.checks import check
from tests.provenance.files import CAPTURE, TRAINED, certificates, finding, read, signed, with_xmp
from tests.provenance.manifest_host import ManifestHost

_GRACE = 0.3  # seconds after a read in which a late connection would be seen
_SHORT = 0.4  # seconds that a fetch may take where a test makes it take all of them
_SLACK = 1.0  # seconds that a busy machine may add


@pytest.fixture
def host():
    host = ManifestHost()
    yield host
    host.close()


@pytest.fixture
def other_host():
    host = ManifestHost()
    yield host
    host.close()


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr("imagetrust.provenance.manifest_fetch.MAX_FETCH_SECONDS", _SHORT)


def credentials(data: bytes, *hosts: str, trusted: bool = True) -> dict:
    """The finding on Content Credentials, where these hosts are allowed."""
    declared = read(data, trust_anchors=certificates()[2] if trusted else None, manifest_hosts=allowed_origins(hosts))
    check(declared)
    assert declared["unreadable"] == []
    return finding(declared, "c2pa")


def pointing_to(url: str) -> bytes:
    """A file that is not signed, whose XMP says that its manifest is kept there."""
    return with_xmp(f"<dcterms:provenance>{url}</dcterms:provenance>")


def not_fetched(found: dict) -> str:
    """Why; and that the finding says nothing beyond that."""
    assert (found["strength"], found["says"], found["values"]["state"]) == ("unsigned", "nothing", "remote")
    assert set(found["values"]) == {"state", "remote_url", "fetch"}
    assert found["values"]["remote_url"] in found["detail"]
    return found["values"]["fetch"]


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_fetched_from_an_allowed_host(host, image_format):
    found = credentials(host.keep(CAPTURE, image_format), host.origin)
    assert (found["strength"], found["says"]) == ("signed_valid", "camera")
    assert found["values"]["signer"]["issuer"] == "ImageTrust Tests"
    assert found["values"]["fetch"] == "done"
    assert found["values"]["fetched_from"] == host.origin
    assert found["values"]["remote_url"] == f"{host.origin}/manifest.c2pa"
    assert found["detail"].endswith(
        f"The signature holds and the signer is trusted. The credentials were fetched from http://{host.name}."
    )
    assert host.connections == 1


def test_it_counts_no_more_than_an_embedded_one(host):
    """The signature decides, not the place: but for where it was found, the finding is the same."""
    remote = credentials(host.keep(TRAINED), host.origin, trusted=False)
    embedded = credentials(signed(TRAINED), trusted=False)
    assert (remote["strength"], remote["says"]) == (embedded["strength"], embedded["says"])
    assert remote["strength"] == "signed_untrusted"
    place = {"fetch", "fetched_from", "remote_url", "bytes"}
    assert remote["values"].keys() - place == embedded["values"].keys() - place
    assert remote["detail"].startswith(embedded["detail"])


def test_it_comes_into_the_summary(host):
    data = host.keep(TRAINED)
    declared = read(data, trust_anchors=certificates()[2], manifest_hosts=allowed_origins([host.origin]))
    assert "made by a generative model (signed by a trusted signer)" in summarise(declared, "generated")
    assert "signed" not in summarise(read(data), "generated")


def test_tampered_picture_is_broken(host):
    data = bytearray(host.keep())
    data[-40] ^= 1
    found = credentials(bytes(data), host.origin)
    assert found["strength"] == "signed_broken"
    assert found["values"]["failed_checks"] == ["assertion.dataHash.mismatch"]
    assert found["values"]["fetched_from"] == host.origin


def test_tampered_manifest_is_broken(host):
    data = host.keep(TRAINED)
    host.kept["manifest.c2pa"] = host.kept["manifest.c2pa"].replace(
        b"trainedAlgorithmicMedia", b"untrainedAlgorithmicMed"
    )
    assert credentials(data, host.origin)["strength"] == "signed_broken"


def test_manifest_of_another_picture_is_broken(host):
    data = host.keep()
    host.keep(CAPTURE, "PNG")
    assert credentials(data, host.origin)["strength"] == "signed_broken"


def test_by_default_nothing_is_fetched(host):
    declared = read(host.keep())
    check(declared)
    found = finding(declared, "c2pa")
    assert not_fetched(found) == "not_allowed"
    assert "were not fetched: the operator does not allow it" in found["detail"]
    assert not host.connected(_GRACE)


def test_an_embedded_manifest_comes_first(host):
    named = pointing_to(f"{host.origin}/manifest.c2pa")
    found = credentials(signed(CAPTURE, source=named), host.origin)
    assert found["strength"] == "signed_valid" and "fetch" not in found["values"]
    assert not host.connected(_GRACE)


@pytest.mark.parametrize(
    "url",
    [
        "http://{other}/manifest.c2pa",  # another port
        "http://127.0.0.1/manifest.c2pa",
        "https://{host}/manifest.c2pa",  # another scheme
        "http://localhost:{port}/manifest.c2pa",  # other names of the same place
        "http://127.0.0.1.:{port}/manifest.c2pa",
        "http://127.1:{port}/manifest.c2pa",
        "http://2130706433:{port}/manifest.c2pa",
        "http://0x7f.0.0.1:{port}/manifest.c2pa",
        "http://[::ffff:127.0.0.1]:{port}/manifest.c2pa",
        "http://0:{port}/manifest.c2pa",
        "http://user@{host}/manifest.c2pa",  # users
        "http://user:password@{host}/manifest.c2pa",
        "http://{host}@{other}/manifest.c2pa",
        "http://{other}#@{host}/manifest.c2pa",
        "http://{other}?@{host}/manifest.c2pa",
        "http://{other}\\@{host}/manifest.c2pa",
        "http://{host}\\@{other}/manifest.c2pa",
        "http://{host}.example.com/manifest.c2pa",
        "http://{host}%2eexample.com/manifest.c2pa",
        "http://{host}0/manifest.c2pa",
        "http://{host}:{port}/manifest.c2pa",
        "http://127.0.0.1:99999/manifest.c2pa",
        "http:///{host}/manifest.c2pa",
        "http://[{host}/manifest.c2pa",
        "http://{host}/a b",  # not a URL as written
        "http://{host}/a&#10;Host: example.com",
        "http://12&#9;7.0.0.1:{port}/manifest.c2pa",
        "http://{host}/caf\u00e9",
        "http://{host}/" + "x" * bounds.MAX_URL_CHARACTERS,
    ],
)
def test_anything_else_is_named_not_fetched(host, other_host, url):
    url = url.format(host=host.name, other=other_host.name, port=host.port)
    found = credentials(pointing_to(url), host.origin)
    assert found["values"]["fetch"] == "not_allowed"
    assert not host.connected(0.05) and not other_host.connected(0.05)


def test_https_is_meant_where_nothing_is_said(host):
    assert not_fetched(credentials(host.keep(), host.name)) == "not_allowed"
    assert not host.connected(_GRACE)


def test_what_is_asked(host, other_host, monkeypatch):
    """The path and query of the URL, without its fragment, credentials or cookies; and not by a proxy."""
    for variable in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, other_host.origin)
    monkeypatch.delenv("NO_PROXY", raising=False)
    credentials(pointing_to(f"HTTP://{host.name}/a/../b;c?d=%65&amp;e=/#f"), host.origin)
    ((path, headers),) = host.requests
    assert path == "/a/../b;c?d=%65&e=/"
    assert headers == {"Host": host.name, "Accept-Encoding": "identity", "User-Agent": "imagetrust-serve"}
    assert not other_host.connected(_GRACE)


@pytest.mark.parametrize("kind", ["silent", "dripping-header", "dripping-body"])
def test_a_slow_host_costs_no_more_than_the_bound(host, short, kind):
    began = time.monotonic()
    found = credentials(pointing_to(f"{host.origin}/{kind}"), host.origin)
    assert _SHORT <= time.monotonic() - began < _SHORT + _SLACK
    assert not_fetched(found) == "timeout"
    assert "took more than 0.4 seconds" in found["detail"]
    assert_no_thread_is_left()


def test_a_host_that_shakes_no_hands_costs_no_more_than_the_bound(short):
    """It takes the connection and never answers the client's first word of TLS."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        name = f"127.0.0.1:{mute.getsockname()[1]}"
        began = time.monotonic()
        assert not_fetched(credentials(pointing_to(f"https://{name}/m"), name)) == "timeout"
        assert time.monotonic() - began < _SHORT + _SLACK
        assert_no_thread_is_left()


def test_a_slow_look_up_of_the_name_costs_no_more_than_the_bound(host, short, monkeypatch):
    """And once it comes, nothing is asked any more."""
    look_up, answered = socket.getaddrinfo, threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *given, **named: answered.wait(10) and look_up(*given, **named))
    began = time.monotonic()
    found = credentials(pointing_to(f"{host.origin}/m"), host.origin)
    assert time.monotonic() - began < _SHORT + _SLACK
    assert not_fetched(found) == "timeout"
    answered.set()
    assert_no_thread_is_left()
    assert host.requests == []


def assert_no_thread_is_left() -> None:
    for thread in threading.enumerate():
        if thread.name == "manifest fetch":
            thread.join(_SLACK)
            assert not thread.is_alive()


@pytest.mark.parametrize("kind", ["announced-large", "endless"])
def test_too_large_is_cut_off(host, kind):
    began = time.monotonic()
    found = credentials(pointing_to(f"{host.origin}/{kind}"), host.origin)
    assert not_fetched(found) == "too_large"
    assert str(bounds.MAX_MANIFEST_BYTES) in found["detail"]
    assert time.monotonic() - began < bounds.MAX_FETCH_SECONDS


def test_too_many_boxes_are_not_read(host, monkeypatch):
    monkeypatch.setattr(
        "imagetrust.provenance.content_credentials.c2pa.Reader", lambda *_, **__: pytest.fail("was read")
    )
    host.kept["m"] = b"\0\0\0\x08jumb" * (bounds.MAX_MANIFEST_BOXES + 1)
    found = credentials(pointing_to(f"{host.origin}/m"), host.origin)
    assert not_fetched(found) == "too_large" and "boxes" in found["detail"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(host, other_host, status):
    """Not to another host, nor to another path of the same one."""
    for target in (f"{other_host.origin}/manifest.c2pa", f"{host.origin}/manifest.c2pa"):
        found = credentials(pointing_to(f"{host.origin}/redirect-{status}-{target}"), host.origin)
        assert not_fetched(found) == "redirect"
    assert len(host.requests) == 2
    assert not other_host.connected(_GRACE)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("missing", "status"), ("cut-off", "connection"), ("no-http", "connection"), ("", "status")],
)
def test_failures_are_findings(host, kind, reason):
    found = credentials(pointing_to(f"{host.origin}/{kind}"), host.origin)
    assert not_fetched(found) == reason
    assert reason != "status" or "status 404" in found["detail"]


@pytest.mark.parametrize("content", [b"", b"<html>", b"\0" * 4096, b"\0\0\0\x20jumb" + b"\xff" * 24])
def test_what_is_no_manifest_is_a_finding(host, content):
    host.kept["m"] = content
    found = credentials(pointing_to(f"{host.origin}/m"), host.origin)
    assert not_fetched(found) == "unreadable"


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        name = f"127.0.0.1:{taken.getsockname()[1]}"
    assert not_fetched(credentials(pointing_to(f"http://{name}/m"), f"http://{name}")) == "connection"


def test_revocation_is_not_asked_for(host, other_host):
    """What is fetched is read under the same settings: its signer's certificate names a place for OCSP."""
    ocsp_url = f"{other_host.origin}/ocsp"
    data = host.keep(ocsp_url=ocsp_url)
    origins = allowed_origins([host.origin, other_host.origin])
    declared = read(data, trust_anchors=certificates(ocsp_url)[2], manifest_hosts=origins)
    assert finding(declared, "c2pa")["strength"] == "signed_valid"
    assert host.connections == 1 and not other_host.connected(_GRACE)


def test_places_that_a_fetched_manifest_names_are_not_asked(host, other_host):
    """An ingredient whose own manifest is kept elsewhere, on a host that is allowed too."""
    ingredient = signed(TRAINED, remote_url=f"{other_host.origin}/m")
    found = credentials(host.keep(None, parent=ingredient), host.origin, other_host.origin)
    assert found["values"]["fetch"] == "done"
    assert host.connections == 1 and not other_host.connected(_GRACE)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """For 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ImageTrust test host")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "host.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def tls_host(certificate):
    host = ManifestHost(certificate)
    yield host
    host.close()


def test_over_tls(tls_host, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    found = credentials(tls_host.keep(), tls_host.name)
    assert found["strength"] == "signed_valid"
    assert found["values"]["fetched_from"] == tls_host.origin


def test_a_slow_host_over_tls(tls_host, certificate, short, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    for kind in ("silent", "dripping-header", "dripping-body"):
        found = credentials(pointing_to(f"{tls_host.origin}/{kind}"), tls_host.name)
        assert not_fetched(found) == "timeout"
        assert_no_thread_is_left()


def test_a_certificate_that_nobody_vouches_for(tls_host):
    found = credentials(tls_host.keep(), tls_host.name)
    assert not_fetched(found) == "certificate"
    assert tls_host.requests == []


def test_a_certificate_for_another_host(tls_host, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    name = f"localhost:{tls_host.port}"
    assert not_fetched(credentials(pointing_to(f"https://{name}/m"), name)) == "certificate"
    assert tls_host.requests == []


@pytest.mark.parametrize(
    ("named", "origin"),
    [
        ("example.com", Origin("https", "example.com", 443)),
        ("Example.COM:8443", Origin("https", "example.com", 8443)),
        ("https://example.com/", Origin("https", "example.com", 443)),
        ("http://example.com", Origin("http", "example.com", 80)),
        ("http://10.0.0.1:8080", Origin("http", "10.0.0.1", 8080)),
        ("[::1]:8443", Origin("https", "::1", 8443)),
    ],
)
def test_hosts_as_operators_name_them(named, origin):
    assert allowed_origins([named]) == {origin}
    assert allowed_origins([str(origin)]) == {origin}


@pytest.mark.parametrize(
    "named",
    [
        "", "*", "*.example.com", "example.com/manifests", "example.com?", "example.com/#a", "user@example.com",
        "ftp://example.com", "//example.com", "example.com:port", "example.com:99999", "exam ple.com", "[::1",
        "[v1.x]", "b\u00fccher.example",
    ],
)  # fmt: skip
def test_anything_else_is_no_host(named):
    with pytest.raises(ValueError, match="is not HOST"):
        allowed_origins([named])


def test_a_text_is_no_list_of_hosts():
    with pytest.raises(ValueError, match="a list"):
        allowed_origins("example.com")
