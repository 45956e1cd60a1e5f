"""From a picture, or its address, to a result."""

import json

import pytest

from tests.ui.results import explanation
from ui.checking import Checker, TokenFileError, read_token
from ui.fetching import FetchError
from ui.settings import SERVER_FOLDER, read_settings


def test_the_token_of_a_servers_folder(tmp_path):
    file = tmp_path / "key_file.json"
    file.write_text(json.dumps({"management": {"key": "m"}, "inference": {"key": "abc"}, "API": {"key": "x"}}))
    assert read_token(file) == "abc"


def test_a_token_alone(tmp_path):
    (tmp_path / "token").write_text("abc\n")
    assert read_token(tmp_path / "token") == "abc"


@pytest.mark.parametrize("content", [None, b"", b"\n", b"two words", b"{", b"{}", b'{"inference": 3}', b"\xff\xfe"])
def test_a_file_without_a_token_is_named_for_what_it_is(tmp_path, content):
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TokenFileError):
        read_token(file)
    checked = Checker("http://127.0.0.1:9", lambda: read_token(file)).check("photo.jpg", b"picture")
    assert checked.code == "no_token" and checked.fault.title == "This screen has no token"


def test_a_server_that_is_not_there():
    checked = Checker("http://127.0.0.1:9", lambda: "abc").check("photo.jpg", b"picture")
    assert checked.answer is None and checked.fault.title == "The server does not answer"


class Web:
    """Stands for the web: one address has a picture."""

    def fetch(self, url: str) -> bytes:
        if url != "https://example.com/a/cat.jpg?size=3":
            raise FetchError("not_public", "Inside.")
        return b"picture"


@pytest.mark.parametrize(
    "url, name, code",
    [("https://example.com/a/cat.jpg?size=3", "cat.jpg", ""), ("https://inside/x.png", "x.png", "not_public")],
)
def test_an_address(monkeypatch, url, name, code):
    checker = Checker("http://127.0.0.1:9", lambda: "abc", Web())
    monkeypatch.setattr(checker._client, "explanation", lambda data: explanation() if data == b"picture" else None)
    checked = checker.check_address(url)
    assert (checked.name, checked.code, checked.answer is None) == (name, code, bool(code))


def test_addresses_are_off_where_the_operator_does_not_allow_them():
    settings = read_settings([])
    assert settings.token_file.parent == SERVER_FOLDER and settings.host == "127.0.0.1"
    assert not settings.checker().fetches and read_settings(["--fetch-addresses"]).checker().fetches
    assert settings.checker().check_address("https://example.com/cat.jpg").code == "off"
