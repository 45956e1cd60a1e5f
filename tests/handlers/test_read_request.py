"""Wherever the picture lies in a request, it is found; where it does not, the error says what was expected."""

import base64
import json

import pytest

from archive_scripts.build import ROOT
from handlers.read_request import Repeated, read_request
from imagetrust import limits
from imagetrust.errors import RequestError

PICTURE = b"\x89PNG stand-in"
BASE64 = base64.b64encode(PICTURE).decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"body": PICTURE},
        {"body": bytearray(PICTURE)},
        {"image": PICTURE},
        {"data": PICTURE},
        {"upload": bytearray(PICTURE), "note": "a text field beside it"},
        {"body": {"image": BASE64}},
        {"body": {"image": f"data:image/png;base64,{BASE64}"}},
        {"body": {"image": BASE64[:4] + "\n" + BASE64[4:]}},
        {"image": BASE64},
        {"image": BASE64.encode()},
        {"image": f"data:image/png;base64,{BASE64}".encode()},
        {"data": bytearray(BASE64, "ascii"), "class": b"gan"},
        {"body": f"\n{BASE64}\n".encode()},
        {"body": PICTURE, "model_name": "authenticity"},
        {"body": {"data": BASE64}},
        {"image[]": PICTURE},
        {"upload": PICTURE, "class": b"gan"},
        {"body": {"instances": [{"image": {"b64": BASE64}}]}},
        {"body": {"instances": [{"b64": BASE64}]}},
        {"body": {"instances": [{"data": BASE64, "class": "gan"}]}},
        {"body": {"instances": [BASE64]}},
        {"body": {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [BASE64]}]}},
    ],
)
def test_found(fields):
    assert read_request(fields).image == PICTURE


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "empty_body"),
        ({"body": {}}, "no_image_field"),
        ({"body": {"picture": BASE64}}, "no_image_field"),
        ({"body": {"image": 7}}, "invalid_base64"),
        ({"body": {"image": None}}, "invalid_base64"),
        ({"body": {"image": "!!!"}}, "invalid_base64"),
        ({"body": {"image": BASE64[:-1]}}, "invalid_base64"),
        ({"body": b'{"image": '}, "invalid_json"),
        ({"body": b'{"image": "\xff"}'}, "invalid_json"),
        ({"body": [1, 2]}, "no_picture"),
        ({"body": [{"image": BASE64}]}, "no_picture"),
        ({"body": 7}, "no_picture"),
        ({"body": None}, "no_picture"),
        ({"body": "a JSON string"}, "invalid_base64"),
        ({"body": {"image": [BASE64]}}, "invalid_base64"),
        ({"body": {"image": {"b64": BASE64}}}, "invalid_base64"),
        ({"image": [BASE64]}, "no_picture"),
        ({"first": PICTURE, "second": PICTURE}, "no_image_field"),
        ({"note": "only text"}, "no_image_field"),
        ({"image": Repeated([PICTURE, PICTURE])}, "several_pictures"),
        ({"image[]": Repeated([PICTURE, PICTURE])}, "several_pictures"),
        ({"upload": Repeated([PICTURE] * 3)}, "several_pictures"),
        ({"image": PICTURE, "data": PICTURE}, "several_pictures"),
        ({"image": PICTURE, "other": bytes(999)}, "several_pictures"),
        ({"image": PICTURE, "class": Repeated([b"gan", b"real"])}, "invalid_option"),
        ({"body": {"image": BASE64, "data": BASE64}}, "several_pictures"),
        ({"image": b"data:image/png;base64,!!!!"}, "invalid_base64"),
        ({"body": {"instances": []}}, "no_image_field"),
        ({"body": {"instances": BASE64}}, "no_image_field"),
        ({"body": {"instances": [{"picture": BASE64}]}}, "no_image_field"),
        ({"body": {"instances": [{"image": BASE64, "b64": BASE64}]}}, "several_pictures"),
        ({"body": {"instances": [BASE64, BASE64]}}, "several_pictures"),
        ({"body": {"instances": [7]}}, "invalid_base64"),
        ({"body": {"instances": [{"image": {"b64": 7}}]}}, "invalid_base64"),
        ({"body": {"inputs": []}}, "no_image_field"),
        ({"body": {"inputs": {}}}, "no_image_field"),
        ({"body": {"inputs": [7]}}, "no_picture"),
        ({"body": {"inputs": [{"name": "image", "datatype": "FP32", "data": [1.0]}]}}, "no_picture"),
        ({"body": {"inputs": [{"name": "image", "datatype": "BYTES", "data": [BASE64] * 2}]}}, "several_pictures"),
        ({"body": {"inputs": [{"name": "image", "datatype": "BYTES", "data": [[BASE64]]}]}}, "invalid_base64"),
        ({"body": {"inputs": [], "id": 7}}, "invalid_json"),
        ({"body": {"inputs": [], "parameters": []}}, "no_image_field"),
        ({"body": b'{"a":' * 100_000}, "invalid_json"),
        ({"body": b'{"image": "AAAA", "image": "AAAA"}'}, "invalid_json"),
        ({"body": b'{"instances": [{"b64": "AAAA", "b64": "AAAA"}]}'}, "invalid_json"),
        ({"body": b'\xff\xfe{\0"'}, "invalid_json"),
        ({"body": {"image": "A" * (limits.MAX_BYTES * 4 // 3 + 8)}}, "too_many_bytes"),
    ],
)
def test_refused(fields, code):
    with pytest.raises(RequestError) as caught:
        read_request(fields)
    assert caught.value.code == code
    assert caught.value.as_json()["error"]["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"image": PICTURE, "class": bytearray(b"gan")},
        {"image": PICTURE, "class": "gan"},
        {"body": {"image": BASE64, "class": "gan"}},
    ],
)
def test_options(fields):
    request = read_request(fields)
    assert request.image == PICTURE
    assert request.choice("class", ("real", "gan"), "real") == "gan"
    assert request.choice("method", ("gradcam", "eigencam"), "gradcam") == "gradcam"


@pytest.mark.parametrize("name", ["ImageTrust-Class", "imagetrust-class", "IMAGETRUST-CLASS"])
def test_options_in_headers(name):
    request = read_request({"body": PICTURE}, {name: "gan", "class": "no option", "Authorization": "Bearer x"})
    assert (request.image, request.options, request.heatmap) == (PICTURE, {"class": "gan"}, False)
    assert read_request({"image": PICTURE, "class": "real"}, {name: "gan"}).options == {"class": "real"}
    with pytest.raises(RequestError, match="must be one of real"):
        read_request({"body": PICTURE}, {name: "dog"}).choice("class", ("real", "gan"), "real")


@pytest.mark.parametrize("allowed", [("real", "gan"), {"real": 1, "gan": 2}, {"real", "gan"}])
@pytest.mark.parametrize("value", ["dog", b"\xff\xfe", 7, 1.5, None, True, ["gan"], {"a": 1}, "x" * 10_000])
def test_options_that_are_not_offered(value, allowed):
    with pytest.raises(RequestError) as caught:
        read_request({"body": {"image": BASE64, "class": value}}).choice("class", allowed, "real")
    assert caught.value.code == "invalid_option" and len(caught.value.message) < 200


@pytest.mark.parametrize("name", ["Explain", "EXPLAIN", "eXplain"])
def test_only_torchserve_says_that_a_request_came_by_explanations(name):
    """It sets `explain` on every request, whatever a client's header of another spelling says."""
    assert not read_request({"body": PICTURE}, {name: "True"}).heatmap
    assert not read_request({"body": PICTURE}, {"explain": "False", name: "True"}).heatmap
    assert not read_request({"body": PICTURE}, {name: "True", "explain": "False"}).heatmap
    assert read_request({"body": PICTURE}, {name: "False", "explain": "True"}).heatmap


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "text/plain", "", "image/jpeg"]
)
def test_json_in_any_encoding_and_under_any_type(encoding, content_type):
    body = json.dumps({"image": BASE64, "class": "gan", "note": "é"}, ensure_ascii=False, indent=1).encode(encoding)
    request = read_request({"body": body}, {"Content-Type": content_type})
    assert (request.image, request.options) == (PICTURE, {"class": "gan", "note": "é"})


def test_the_bodies_of_the_cases():
    folder = ROOT / "tests" / "data" / "cases"
    for name in ("body_with_bom.json", "kserve_v1.json"):
        request = read_request({"body": (folder / name).read_bytes()}, {"content-type": "application/json"})
        assert request.image[8:12] == b"WEBP" and not request.options


@pytest.mark.parametrize("body", [b'"no base64!"', b"[1, 2]", b'[{"image": "AAAA"}]'])
def test_other_json_is_no_picture(body):
    with pytest.raises(RequestError) as caught:
        read_request({"body": body}, {"content-type": "application/json"})
    assert caught.value.code in ("no_picture", "invalid_base64")


@pytest.mark.parametrize("start", [b"{", b"[", b'"', b"\xff\xfe", b"\xef\xbb\xbf", b"data", b"A" * 16, b" "])
def test_a_picture_is_handed_on_as_it_is(start):
    """Whatever its bytes look like, unless they are text that says what it is."""
    data = start + b"\x89PNG\r\n\x1a\n\xff\0" * 20
    if start == b"{":
        with pytest.raises(RequestError, match="JSON"):
            read_request({"body": data})
    else:
        assert read_request({"body": data}, {"content-type": "image/png"}).image == data


def test_a_form_of_curls_default_type():
    """Its pluses have become spaces; base64 has none."""
    picture = bytes(range(256)) * 3
    text = base64.b64encode(picture).decode()
    assert "+" in text
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert read_request({"image": text.replace("+", " ").encode()}, headers).image == picture
    for fields in ({"{image: 7}": b""}, {"\x89PNG": b"\r\n", "b": b"c"}):
        with pytest.raises(RequestError, match="Content-Type: application/octet-stream") as caught:
            read_request(fields, headers)
        assert caught.value.code == "no_image_field"


def test_a_message_does_not_repeat_a_body():
    with pytest.raises(RequestError) as caught:
        read_request({"n" * 10_000 + str(index): "text" for index in range(99)})
    assert len(caught.value.message) < 1000


@pytest.mark.parametrize("name", ["Content-Encoding", "content-encoding"])
@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "ZSTD", "x" * 10_000])
def test_an_encoded_body_is_refused_by_name(name, encoding):
    with pytest.raises(RequestError) as caught:
        read_request({"body": PICTURE}, {name: encoding})
    assert caught.value.code == "unsupported_encoding" and encoding.lower()[:40] in caught.value.message
    assert len(caught.value.message) < 200
    assert read_request({"body": PICTURE}, {name: "identity"}).image == PICTURE


def test_a_multipart_body_that_is_no_form():
    body = b"--b\r\nContent-Type: image/png\r\n\r\n\x89PNG\r\n--b--"
    with pytest.raises(RequestError, match="multipart/form-data"):
        read_request({"body": body}, {"Content-Type": "multipart/related; boundary=b"})


def test_options_in_the_bodies_of_kserve():
    instance = read_request({"body": {"instances": [{"image": BASE64, "class": "gan"}], "method": "gradcam"}})
    assert instance.options == {"class": "gan", "method": "gradcam"}
    tensors = [
        {"name": "image", "shape": [1], "datatype": "BYTES", "data": [BASE64]},
        {"name": "class", "shape": [1], "datatype": "BYTES", "data": ["gan"]},
    ]
    request = read_request({"body": {"inputs": tensors, "parameters": {"method": "gradcam"}, "id": "7"}})
    assert request.options == {"class": "gan", "method": "gradcam"} and request.image == PICTURE


def test_answers_are_wrapped_as_the_protocol_has_it():
    answer = {"label": "real"}
    assert read_request({"body": PICTURE}).wrap("authenticity", "0.5", answer) == answer
    first = {"body": {"instances": [BASE64]}}
    assert read_request(first).wrap("authenticity", "0.5", answer) == {"predictions": [answer]}
    assert read_request(first, {"explain": "True"}).wrap("authenticity", "0.5", answer) == {"explanations": [answer]}
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [BASE64]}
    wrapped = read_request({"body": {"inputs": [tensor], "id": "7"}}).wrap("authenticity", "0.5", answer)
    assert (wrapped["model_name"], wrapped["model_version"], wrapped["id"]) == ("authenticity", "0.5", "7")
    (output,) = wrapped["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1]) and json.loads(output["data"][0]) == answer
