"""Addresses on the web: what is fetched, from whom, and how much."""

import socket
import ssl
import threading
import time

import pytest

from tests.provenance.manifest_host import ManifestHost
from tests.ui.certificates import write_certificate
from ui.fetching import Fetcher, FetchError, is_public, resolve

PUBLIC, NAME = "93.184.216.34", "pictures.example"


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_public_addresses(address):
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1", "239.1.2.3", "240.0.0.1",
        "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1",
        "ff0e::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::c0a8:101", "64:ff9b::a9fe:a9fe", "3fff::1", "192.88.99.1",
        "4000::1", "2002:7f00:1::", "2001:0:1::1", "2001:10::1", "not an address", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not is_public(address)


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    pem = write_certificate(tmp_path_factory.mktemp("host") / "host.pem", NAME)
    host = ManifestHost(pem)
    host.certificate = pem
    host.kept["cat.jpg"] = b"a picture"
    host.kept["largest.jpg"], host.kept["too-large.jpg"] = bytes(5000), bytes(5001)
    yield host
    host.close()


def fetcher(host, addresses=("127.0.0.1",), accepted=("127.0.0.1",), seconds=5.0) -> Fetcher:
    """A fetcher whose resolver knows one host, of these addresses, and which may connect to the accepted ones."""
    names = {NAME: list(addresses), "inside.example": ["10.0.0.5"]}
    return Fetcher(
        resolver=lambda name, port: names.get(name, []),
        accepts=lambda address: address in accepted,
        port=host.port,
        context=ssl.create_default_context(cafile=host.certificate),
        seconds=seconds,
        max_bytes=5000,
    )


def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(FetchError) as error:
        fetcher.fetch(url)
    return error.value.code


def test_a_picture_is_fetched(host):
    assert fetcher(host).fetch(f"https://{NAME}/cat.jpg?size=2#top") == b"a picture"
    path, headers = host.requests[-1]
    assert path == "/cat.jpg?size=2" and headers["Host"] == NAME
    assert "Authorization" not in headers and "Cookie" not in headers


def test_a_picture_of_the_largest_size_is_fetched(host):
    assert len(fetcher(host).fetch(f"https://{NAME}/largest.jpg")) == 5000


@pytest.mark.parametrize(
    "url, code",
    [
        (f"http://{NAME}/cat.jpg", "not_https"), ("ftp://x/y", "not_https"), ("file:///etc/passwd", "not_https"),
        ("cat.jpg", "no_address"), ("", "no_address"), ("https://", "no_address"), ("https:///x", "no_address"),
        (f"https://someone:secret@{NAME}/cat.jpg", "no_address"), (f"https://{NAME}:8443/cat.jpg", "no_address"),
        (f"https://{NAME}/a b", "no_address"), (f"https://{NAME}/a\r\nX: y", "no_address"),
        ("https://[::1", "no_address"),
        (f"https://{NAME}/{'x' * 3000}", "no_address"), ("https://" + "x" * 64 + ".example/", "no_address"),
        ("https://nobody.example/cat.jpg", "unknown_host"), ("https://inside.example/cat.jpg", "not_public"),
    ],
)  # fmt: skip
def test_addresses_that_are_refused_unasked(host, url, code):
    before = host.connections
    assert refusal(fetcher(host), url) == code
    assert host.connections == before


@pytest.mark.parametrize("others", [["10.0.0.1"], ["::1"], ["127.0.0.1", "169.254.169.254"]])
def test_one_inner_address_among_a_hosts_is_enough_to_refuse(host, others):
    before = host.connections
    assert refusal(fetcher(host, ["127.0.0.1", *others]), f"https://{NAME}/cat.jpg") == "not_public"
    assert host.connections == before


def test_the_next_address_is_taken_where_one_takes_no_connection(host):
    both = ["127.0.0.2", "127.0.0.1"]  # the host listens on the second alone
    assert fetcher(host, both, both).fetch(f"https://{NAME}/cat.jpg") == b"a picture"


@pytest.mark.parametrize("inner", ["https://127.0.0.1/", "https://localhost/", "https://[::1]/", "https://2130706433/"])
def test_the_system_finds_no_public_address_for_this_machine(inner):
    assert refusal(Fetcher(), inner) in ("not_public", "unknown_host")


def test_a_name_is_looked_up_once(host):
    """A host whose second answer is an inner address (DNS rebinding) is not asked for one."""
    asked = []
    once = fetcher(host)
    looked_up = Fetcher(
        lambda name, port: asked.append(name) or ["127.0.0.1"],
        once.accepts, once.port, once.context, once.seconds, once.max_bytes,
    )  # fmt: skip
    looked_up.fetch(f"https://{NAME}/cat.jpg")
    assert asked == [NAME]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_where_it_leads_to_the_public_web(host, status):
    assert fetcher(host).fetch(f"https://{NAME}/redirect-{status}-cat.jpg") == b"a picture"


@pytest.mark.parametrize(
    "target, code",
    [
        ("https://inside.example/cat.jpg", "not_public"), (f"http://{NAME}/cat.jpg", "not_https"),
        ("file:///etc/passwd", "not_https"), ("https://nobody.example/", "unknown_host"),
        ("//inside.example/", "not_public"),
    ],
)  # fmt: skip
def test_a_redirect_is_checked_like_an_address(host, target, code):
    assert refusal(fetcher(host), f"https://{NAME}/redirect-302-{target}") == code


def test_redirects_end(host):
    assert (
        refusal(fetcher(host), f"https://{NAME}/redirect-302-redirect-302-" + "redirect-302-" * 5 + "x")
        == "not_fetched"
    )


@pytest.mark.parametrize(
    "path, code",
    [
        ("too-large.jpg", "too_many_bytes"), ("announced-large", "too_many_bytes"), ("endless", "too_many_bytes"),
        ("cut-off", "not_fetched"), ("no-http", "not_fetched"), ("nothing", "not_fetched"),
    ],
)  # fmt: skip
def test_content_is_bounded(host, path, code):
    assert refusal(fetcher(host), f"https://{NAME}/{path}") == code


@pytest.mark.parametrize("path", ["silent", "dripping-header", "dripping-body"])
def test_time_is_bounded(host, path):
    begin = time.monotonic()
    assert refusal(fetcher(host, seconds=0.6), f"https://{NAME}/{path}") == "slow_site"
    assert time.monotonic() - begin < 3


def test_a_handshake_is_bounded_in_time(host):
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes the connection and says nothing
        slow = fetcher(host, seconds=0.5)
        asking = Fetcher(slow.resolver, slow.accepts, mute.getsockname()[1], slow.context, 0.5)
        begin = time.monotonic()
        assert refusal(asking, f"https://{NAME}/") == "slow_site"
        assert time.monotonic() - begin < 3


def test_a_look_up_is_bounded_in_time(host):
    answered = threading.Event()
    known = fetcher(host)
    slow = Fetcher(lambda name, port: answered.wait(10) and [], known.accepts, known.port, known.context, 0.3)
    assert refusal(slow, f"https://{NAME}/") == "slow_site"
    answered.set()


def test_the_certificate_must_be_the_hosts(host):
    known = fetcher(host)
    names = Fetcher(lambda name, port: ["127.0.0.1"], known.accepts, known.port, known.context, 5)
    assert refusal(names, "https://other.example/cat.jpg") == "not_fetched"
    unknown = Fetcher(lambda name, port: ["127.0.0.1"], known.accepts, known.port, seconds=5)
    assert refusal(unknown, f"https://{NAME}/cat.jpg") == "not_fetched"


def test_the_systems_resolver_gives_addresses():
    assert "127.0.0.1" in resolve("localhost", 443)
