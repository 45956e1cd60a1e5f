"""What a caller sees over REST, from the real server."""

import base64
import gzip
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from jsonschema import Draft202012Validator
from PIL import Image

import imagetrust
from archive_scripts.build import ENDPOINTS
from clients.rest import ask
from imagetrust import limits
from server.samples import photograph
from tests.procedural import encoded

HEIC = Path(__file__).parent.parent / "data" / "gradient.heic"
SCHEMA = json.loads((Path(imagetrust.__file__).parent / "answer.schema.json").read_text())


def post(server, endpoint, **request):
    headers = server.headers() | request.pop("headers", {})
    url = f"{server.addresses.inference}/predictions/{endpoint}"
    return requests.post(url, headers=headers, timeout=60, **request)


def raw(body: bytes, content_type: str = "image/jpeg") -> dict:
    """What `post` sends as it is."""
    return {"data": body, "headers": {"Content-Type": content_type}}


def as_json(data: bytes) -> str:
    return json.dumps({"image": base64.b64encode(data).decode()})


def is_valid(answer: dict, kind: str) -> bool:
    Draft202012Validator({"$ref": f"#/$defs/{kind}", "$defs": SCHEMA["$defs"]}).validate(answer)
    return True


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF"])
def test_every_format_on_every_endpoint(server, photo, endpoint, image_format):
    status, answer = ask(server.addresses.inference, endpoint, encoded(photo, image_format), server.token("inference"))
    assert status == 200 and is_valid(answer, endpoint)
    if endpoint == "explanation":
        assert answer["file"]["format"] == image_format


def test_options_in_headers_and_form_alike(server, photo):
    data, address, token = encoded(photo, "JPEG"), server.addresses.inference, server.token("inference")
    status, answer = ask(address, "explanation", data, token, options={"detail": "verdicts"})
    assert status == 200 and is_valid(answer, "verdicts")
    form = post(server, "explanation", files={"image": data}, data={"detail": "verdicts"})
    assert form.json() == answer
    status, refused = ask(address, "explanation", data, token, options={"detail": "all"})
    assert (status, refused["error"]["code"]) == (400, "invalid_option")


def test_heic(server):
    _, answer = ask(server.addresses.inference, "explanation", HEIC.read_bytes(), server.token("inference"))
    assert answer["file"]["format"] == "HEIF"


def test_a_real_photograph(server):
    path = photograph()
    status, answer = ask(server.addresses.inference, "explanation", path.read_bytes(), server.token("inference"))
    assert status == 200 and is_valid(answer, "explanation")
    overlay = Image.open(io.BytesIO(base64.b64decode(answer["inferred"]["heatmap"]["overlay_png"])))
    with Image.open(path) as original:
        assert overlay.size == (256, round(256 * original.height / original.width))
    probabilities = answer["inferred"]["generator_type"]["probabilities"]
    assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)


def test_the_same_picture_however_it_is_sent(server, photo):
    data = encoded(photo, "PNG")
    text = base64.b64encode(data).decode()
    sent = [
        post(server, "authenticity", **raw(data, "image/png")),
        post(server, "authenticity", **raw(data, "application/octet-stream")),
        post(server, "authenticity", files={"image": ("photo.png", data, "image/png")}),
        post(server, "authenticity", files={"data": data}),
        post(server, "authenticity", json={"image": text}),
        post(server, "authenticity", json={"image": f"data:image/png;base64,{text}"}),
    ]
    assert [answer.status_code for answer in sent] == [200] * len(sent)
    assert all(answer.headers["Content-Type"] == "application/json" for answer in sent)
    logits = [answer.json()["logits"] for answer in sent]
    assert all(each == pytest.approx(logits[0], abs=1e-4) for each in logits)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize(
    ("code", "request_of"),
    [
        ("unknown_format", lambda photo: raw(b"hello")),
        ("broken_picture", lambda photo: raw(encoded(photo, "JPEG")[:300])),
        ("unsupported_format", lambda photo: raw(encoded(photo, "JPEG2000"))),
        ("too_small", lambda photo: raw(encoded(photo.resize((90, 5)), "PNG"))),
        ("too_many_pixels", lambda photo: raw(encoded(Image.new("1", (9000, 9000)), "PNG"))),
        ("too_many_bytes", lambda photo: raw(bytes(limits.MAX_BYTES + 1))),
        ("no_image_field", lambda photo: {"json": {"picture": "AAAA"}}),
        ("invalid_base64", lambda photo: {"json": {"image": "not base64!"}}),
        ("invalid_json", lambda photo: raw(b'{"image": ', "application/json")),
        ("no_image_field", lambda photo: {"files": {"one": encoded(photo, "PNG"), "two": encoded(photo, "PNG")}}),
    ],
)  # fmt: skip
def test_bad_requests_get_400_and_a_reason(server, photo, endpoint, code, request_of):
    answer = post(server, endpoint, **request_of(photo))
    assert answer.status_code == 400
    assert is_valid(answer.json(), "error") and answer.json()["error"]["code"] == code


@pytest.mark.parametrize(
    "request_of",
    [
        lambda data: {"data": data, "headers": {"Content-Type": ""}},
        lambda data: raw(data, "Image/PNG; charset=binary"),
        lambda data: raw(data, "application/json"),
        lambda data: raw(base64.encodebytes(data), "text/plain"),
        lambda data: raw(as_json(data).encode("utf-8-sig"), "application/json"),
        lambda data: raw(as_json(data).encode("utf-16"), "Application/JSON"),
        lambda data: {"data": {"image": base64.b64encode(data).decode()}},
        lambda data: {"files": {"image": base64.encodebytes(data)}},
        lambda data: {"files": {"image[]": data}},
    ],
)  # fmt: skip
def test_what_clients_send_is_honoured(server, photo, request_of):
    data = encoded(photo, "PNG")
    answer = post(server, "authenticity", **request_of(data))
    assert answer.status_code == 200, answer.text
    assert answer.json()["logits"] == pytest.approx(
        post(server, "authenticity", **raw(data)).json()["logits"], abs=1e-4
    )


@pytest.mark.parametrize(
    ("code", "word", "request_of"),
    [
        ("several_pictures", "one picture", lambda data: {"files": [("image", data), ("image", data)]}),
        ("several_pictures", "one picture", lambda data: {"files": [("image[]", data), ("image[]", data)]}),
        ("unsupported_encoding", "gzip",
         lambda data: {"data": gzip.compress(data), "headers": {"Content-Encoding": "gzip"}}),
        ("no_image_field", "application/octet-stream",
         lambda data: {"data": {"picture": base64.b64encode(data).decode()}}),
        ("invalid_option", "'detial'", lambda data: {"files": {"image": data}, "data": {"detial": "verdicts"}}),
        ("invalid_option", "'detial'", lambda data: {"data": data, "headers": {"ImageTrust-Detial": "verdicts"}}),
        ("invalid_option", "must be one of", lambda data: {"files": {"data": data}, "data": {"class": "dog"}}),
    ],
)  # fmt: skip
def test_what_would_be_ignored_is_refused(server, photo, code, word, request_of):
    answer = post(server, "explanation", **request_of(encoded(photo, "PNG")))
    assert answer.status_code == 400 and is_valid(answer.json(), "error")
    assert answer.json()["error"]["code"] == code and word in answer.json()["error"]["message"]


def test_an_option_beside_a_picture_of_another_name(server, photo):
    answer = post(server, "explanation", files={"data": encoded(photo, "PNG")}, data={"class": "diffusion"})
    assert answer.status_code == 200 and answer.json()["inferred"]["heatmap"]["class"] == "diffusion"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_kserves_protocols(server, photo, endpoint):
    text = base64.b64encode(encoded(photo, "PNG")).decode()
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}
    first = requests.post(
        f"{server.addresses.inference}/v1/models/{endpoint}:predict",
        json={"instances": [{"image": {"b64": text}}]},
        headers=server.headers(),
        timeout=60,
    )
    second = requests.post(
        f"{server.addresses.inference}/v2/models/{endpoint}/infer",
        json={"id": "7", "inputs": [tensor]},
        headers=server.headers(),
        timeout=60,
    )
    assert (first.status_code, second.status_code) == (200, 200)
    (answer,) = first.json()["predictions"]
    assert is_valid(answer, endpoint) and is_valid(first.json(), "kserve_v1") and is_valid(second.json(), "kserve_v2")
    assert is_valid(json.loads(second.json()["outputs"][0]["data"][0]), endpoint)
    assert second.json()["model_name"] == endpoint and second.json()["id"] == "7"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_one_broken_of_eight_sent_together(server, photo, endpoint):
    """Sent at once, so that they share batches: seven are answered, the broken one alone is refused."""
    pictures = [encoded(photo, "JPEG", quality=60 + index) for index in range(8)]
    pictures[5] = pictures[5][:250]
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda data: ask(server.addresses.inference, endpoint, data, server.token("inference")), pictures)
        )
    assert [status for status, _ in answers] == [200] * 5 + [400] + [200] * 2
    assert answers[5][1]["error"]["code"] == "broken_picture"
    assert all(is_valid(answer, endpoint) for status, answer in answers if status == 200)


@pytest.mark.parametrize("endpoint", ["authenticity", "generator_type"])
def test_explanations_by_torchserves_own_route(server, photo, endpoint):
    url = f"{server.addresses.inference}/explanations/{endpoint}"
    files = {"image": encoded(photo, "PNG")}
    answer = requests.post(url, headers=server.headers(), files=files, data={"class": "real"}, timeout=60)
    assert answer.status_code == 200 and is_valid(answer.json(), endpoint)
    assert answer.json()["heatmap"]["class"] == "real"
    wrong = requests.post(url, headers=server.headers(), files=files, data={"class": "dog"}, timeout=60)
    assert wrong.status_code == 400 and wrong.json()["error"]["code"] == "invalid_option"


def test_over_the_request_limit(server):
    answer = post(server, "authenticity", **raw(bytes(30 * 1024 * 1024)))
    assert answer.status_code == 413


def test_unknown_model(server, photo):
    assert post(server, "nothing", **raw(encoded(photo, "PNG"))).status_code == 404


def test_workers_log_a_line_at_each_request_and_no_more(server, photo):
    """That of the request, in a log of its own: what a worker says at its start and of errors is not lost in them."""
    log = server.logs / "model_log.log"
    requests_log = server.logs / "request_log.log"
    before, lines = log.stat().st_size, len(requests_log.read_text().splitlines()) if requests_log.exists() else 0
    for _ in range(3):
        ask(server.addresses.inference, "authenticity", encoded(photo, "PNG"), server.token("inference"))
    time.sleep(0.3)
    assert log.stat().st_size == before
    assert len(requests_log.read_text().splitlines()) == lines + 3


def test_metrics_are_prometheus_text(server, photo):
    ask(server.addresses.inference, "authenticity", encoded(photo, "PNG"), server.token("inference"))
    text = requests.get(f"{server.addresses.metrics}/metrics", timeout=10).text
    assert "ts_inference_requests_total" in text and 'model_name="authenticity"' in text
