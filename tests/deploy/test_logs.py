"""What the logs hold of a request, and what they never hold: the picture, where it was taken, a token."""

import base64
import io
import json
import time

import pytest
import requests
from PIL import Image

from clients.rest import ask
from tests.procedural import encoded
from tests.server.test_gate import TOKEN, gate_before, needs_nginx

GPS = 0x8825
LATITUDE, LONGITUDE = (52.0, 31.0, 12.34), (13.0, 24.0, 36.78)
PLACES = ("31.0, 12.34", "52.52", "13.41", "52.5201", "Brandenburger")
SECRET = "a-query-that-nobody-may-read"


@pytest.fixture(scope="module")
def picture(photo) -> bytes:
    """A JPEG that says where it was taken, in words too."""
    exif = Image.Exif()
    exif.get_ifd(GPS).update({1: "N", 2: LATITUDE, 3: "E", 4: LONGITUDE})
    exif[0x010E] = "Brandenburger Tor 52.5201, 13.4102"  # ImageDescription
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", exif=exif.tobytes())
    return buffer.getvalue()


@pytest.fixture(scope="module")
def gate(server, tmp_path_factory):
    running = gate_before(server, tmp_path_factory.mktemp("l"), {"alice": TOKEN})
    running.start()
    yield running
    running.stop(5)


@pytest.fixture(scope="module")
def through(gate):
    """Send a body through the gate and return the status."""

    def sent(name: str, body: bytes, content_type: str = "image/jpeg", endpoint: str = "explanation") -> int:
        place = {"ImageTrust-Place": "shown"} if endpoint == "explanation" else {}
        return requests.post(
            f"http://{gate.settings.rest}/predictions/{endpoint}", data=body, timeout=60,
            headers={
                "Authorization": f"Bearer {TOKEN}", "Content-Type": content_type, "X-Request-Id": name,
            }
            | place,
        ).status_code  # fmt: skip

    return sent


def lines_of(path) -> list[dict]:
    time.sleep(0.3)  # Java and nginx write a line when the answer is out
    return [json.loads(line) for line in path.read_text().splitlines()]


@needs_nginx
def test_the_gate_and_the_handlers_call_a_request_alike(server, gate, through, picture):
    assert through("night-1", picture) == 200
    assert through("night-2", b"hello", endpoint="authenticity") == 400
    worker = {line["id"]: line for line in lines_of(server.logs / "request_log.log")}
    before = {line["id"]: line for line in lines_of(gate.access_log)}
    assert before["night-1"]["status"] == worker["night-1"]["status"] == 200
    assert before["night-2"]["status"] == worker["night-2"]["status"] == 400
    first = worker["night-1"]
    assert (first["model"], first["version"], first["code"]) == ("explanation", "0.3", "answered")
    stages = ["queue", "decode", "preprocess", "provenance", "inference", "explanation"]
    assert list(first["seconds"]) == stages and all(spent >= 0 for spent in first["seconds"].values())
    assert sum(first["seconds"].values()) <= before["night-1"]["seconds"] + 0.05
    assert worker["night-2"]["code"] == "unknown_format"


@needs_nginx
def test_nothing_private_stands_in_any_log(server, gate, through, picture):
    text = base64.b64encode(picture).decode()
    asked = [
        through("private-1", picture),
        through("private-2", picture[: len(picture) // 2]),
        through("private-3", json.dumps({"image": text}).encode(), "application/json"),
        through("private-4", json.dumps({"image": text[:-7] + "!!"}).encode(), "application/json"),
        through("private-5", json.dumps({"image": text, "place": "there"}).encode(), "application/json"),
    ]
    assert asked == [200, 400, 200, 400, 400]
    token = server.token("inference")
    for address, bearer in ((server.addresses.inference, token), (f"http://{gate.settings.rest}", TOKEN)):
        requests.post(
            f"{address}/predictions/explanation?comment={SECRET}", data=picture, timeout=60,
            headers={"Authorization": f"Bearer {bearer}", "Content-Type": "image/jpeg"},
        )  # fmt: skip
    requests.post(
        f"http://{gate.settings.rest}/predictions/explanation", headers={"Authorization": "Bearer wrong-" + SECRET}
    )
    ask(server.addresses.inference, "explanation", picture, "wrong-" + SECRET)
    time.sleep(0.5)
    private = (
        TOKEN,
        token,
        server.token("management"),
        SECRET,
        *PLACES,
        text[100:140],
        text[-40:],
        repr(picture[2000:2010])[2:-1],
    )
    logs = [path for folder in (server.logs, gate.folder / "logs") for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in logs} >= {
        "request_log.log",
        "model_log.log",
        "access_log.log",
        "ts_log.log",
        "access.log",
    }
    for path in logs:
        content = path.read_bytes()
        for word in private:
            assert word.encode() not in content, (path.name, word)
        assert picture[300:330] not in content


def test_every_line_is_an_object_of_json(server, photo):
    """Of Java's logs and of the handlers'; what programs print before their logging is up is console.log."""
    ask(server.addresses.inference, "authenticity", encoded(photo, "PNG"), server.token("inference"))
    for name in ("ts_log.log", "model_log.log", "access_log.log", "request_log.log"):
        assert all(isinstance(line, dict) for line in lines_of(server.logs / name))


def test_what_a_caller_calls_himself_cannot_break_a_line(server, photo):
    name = 'a","status":500,"x":"' + "b" * 90
    data, token = encoded(photo, "PNG"), server.token("inference")
    assert ask(server.addresses.inference, "authenticity", data, token, request_id=name)[0] == 200
    line = lines_of(server.logs / "request_log.log")[-1]
    assert (line["id"], line["status"]) == ("-", 200)
