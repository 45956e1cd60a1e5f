"""The Python client and the command line against the real server, alone and behind the gate."""

import asyncio
import csv
import io
import json

import msgspec
import pytest

from imagetrust.client import AsyncClient, Client, ClientError, PictureError, TokenError
from imagetrust.client.command import EXIT_CODES, main
from tests.procedural import encoded
from tests.server.test_gate import TOKEN, needs_nginx
from tests.server.test_gated_torchserve import gate, make_gate, url  # noqa: F401  fixtures
from tests.server.test_rest import HEIC, is_valid


@pytest.fixture(params=["alone", pytest.param("behind the gate", marks=needs_nginx)])
def asked(request, server):
    """An address and a token."""
    if request.param == "alone":
        return server.addresses.inference, server.token("inference")
    running = request.getfixturevalue("gate")
    running.set_ready(True)
    return request.getfixturevalue("url"), TOKEN


def test_every_question_is_answered(asked, photo):
    address, token = asked
    data = encoded(photo, "WEBP")

    async def ask_all():
        async with AsyncClient(address, token=token) as client:
            return await asyncio.gather(
                client.authenticity(data), client.generator_type(data), client.verdicts(data), client.explanation(data)
            )

    with Client(address, token=token) as client:
        assert client.ready()
        answers = [
            client.authenticity(data),
            client.generator_type(data),
            client.verdicts(data),
            client.explanation(data),
        ]
        layers = client.explanation(data, method="layercam", class_="gan").inferred.heatmap
        assert (layers.method, layers.class_) == ("layercam", "gan")
        assert client.explanation(HEIC).file.format == "HEIF"
    authenticity, generator_type, verdicts, explanation = answers
    assert verdicts.authenticity.probability_generated == pytest.approx(authenticity.probability_generated, abs=1e-4)
    assert verdicts.generator_type.family == generator_type.family
    assert explanation.inferred.heatmap.overlay_png.startswith(b"\x89PNG")
    kinds = ("authenticity", "generator_type", "verdicts", "explanation")
    for kind, answer, other in zip(kinds, answers, asyncio.run(ask_all()), strict=True):
        assert type(answer) is type(other)
        built = msgspec.to_builtins(answer)
        assert is_valid({"inferred": built} if kind == "verdicts" else built, kind)


@pytest.mark.parametrize(
    ("kind", "code", "ask"),
    [
        (PictureError, "unknown_format", lambda client: client.verdicts(b"hello")),
        (PictureError, "empty_body", lambda client: client.verdicts(b"")),
        (ClientError, "invalid_option", lambda client: client.explanation(HEIC, method="guess")),
    ],
)
def test_a_refusal_says_why(asked, kind, code, ask):
    address, token = asked
    with Client(address, token=token) as client, pytest.raises(ClientError) as raised:
        ask(client)
    assert (type(raised.value), raised.value.status, raised.value.code) == (kind, 400, code)


@pytest.mark.parametrize("token", [None, "wrong-token-of-some-length-0123456789"])
def test_a_wrong_token_is_told_from_a_wrong_picture(asked, photo, token):
    with Client(asked[0], token=token) as client, pytest.raises(TokenError):
        client.verdicts(encoded(photo, "PNG"))


def test_the_command_line_answers_a_folder(asked, photo, tmp_path, monkeypatch, capsys):
    address, token = asked
    monkeypatch.setenv("IMAGETRUST_TOKEN", token)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image_format in (("a.jpg", "JPEG"), ("b.png", "PNG"), ("c.webp", "WEBP")):
        (folder / name).write_bytes(encoded(photo, image_format))
    (folder / "d.jpg").write_bytes(b"hello")
    command = ["check", str(folder), "--server", address]
    code = main([*command, "--csv", "--explain", str(tmp_path / "maps")])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["picture"] for row in rows] == [str(folder / name) for name in ("a.jpg", "b.png", "c.webp", "d.jpg")]
    assert [row["error"] for row in rows] == ["", "", "", "unknown_format"]
    assert code == next(code for verdict, code in EXIT_CODES.items() if verdict in {row["verdict"] for row in rows})
    assert len(list((tmp_path / "maps").iterdir())) == 3
    assert main([*command, "--json"]) == code
    lines = list(map(json.loads, capsys.readouterr().out.splitlines()))
    assert [is_valid({"inferred": line["inferred"]}, "verdicts") for line in lines[:3]] == [True] * 3
    assert is_valid({"error": {"code": lines[3]["error"]["code"], "message": ""}}, "error")
