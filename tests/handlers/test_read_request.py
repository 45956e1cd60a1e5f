"""Wherever the picture lies in a request, it is found; where it does not, the error says what was expected."""

import base64

import pytest

from handlers.torchserve import read_request
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
