"""Content Credentials that the tests sign themselves: held, broken, not trusted, removed, kept elsewhere."""

import io
import zlib
from pathlib import Path

import pytest
from PIL import Image

from imagetrust.provenance import bounds
from tests.procedural import encoded
from tests.provenance.checks import check
from tests.provenance.files import (
    CAPTURE,
    COMPOSITE,
    TRAINED,
    certificates,
    finding,
    read,
    signed,
    small_photo,
    sources,
    with_wider_exclusion,
)

HEIC = Path(__file__).parents[1] / "data" / "gradient.heic"


def credentials(data: bytes, *, trusted: bool = True) -> dict:
    declared = read(data, trust_anchors=certificates()[2] if trusted else None)
    check(declared)
    assert declared["unreadable"] == []
    return finding(declared, "c2pa")


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "GIF"])
def test_every_format(image_format):
    found = credentials(signed(TRAINED, image_format))
    assert (found["strength"], found["says"]) == ("signed_valid", "generated")
    assert found["values"]["failed_checks"] == []


def test_heic():
    assert credentials(signed(CAPTURE, "HEIF", source=HEIC.read_bytes()))["strength"] == "signed_valid"


@pytest.mark.parametrize(
    ("source_type", "says"),
    [(TRAINED, "generated"), (COMPOSITE, "edited_with_ai"), (CAPTURE, "camera"), (None, "software")],
)
def test_source_type_is_what_it_says(source_type, says):
    assert credentials(signed(source_type))["says"] == says


def test_what_is_told_of_the_signer_and_the_actions():
    values = credentials(signed(TRAINED))["values"]
    assert values["signer"] == {"issuer": "ImageTrust Tests", "common_name": "Test Signer", "algorithm": "Es256"}
    assert values["claim_generator"] == "ImageTrust tests 1"
    assert values["source_types"] == ["trainedAlgorithmicMedia"]
    assert values["actions"] == [
        {"action": "c2pa.created", "software": "Test Program 1", "source_type": "trainedAlgorithmicMedia"}
    ]


def test_signer_on_no_list_is_not_trusted():
    found = credentials(signed(CAPTURE), trusted=False)
    assert (found["strength"], found["says"]) == ("signed_untrusted", "camera")
    assert found["values"]["failed_checks"] == ["signingCredential.untrusted"]


def test_signer_of_another_authority_is_not_trusted():
    found = credentials(signed(CAPTURE, ocsp_url="http://127.0.0.1:9/"))  # its chain has an authority of its own
    assert found["strength"] == "signed_untrusted"


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_changed_pixels_are_noticed(image_format):
    data = bytearray(signed(CAPTURE, image_format))
    if image_format == "PNG":  # a chunk more, since changed pixels would fail their checksum
        data[33:33] = b"\0\0\0\x03tEXtA\0B" + zlib.crc32(b"tEXtA\0B").to_bytes(4, "big")
    else:
        data[{"JPEG": -40, "WEBP": data.find(b"C2PA") - 9, "TIFF": 1000}[image_format]] ^= 1
    found = credentials(bytes(data))
    assert (found["strength"], found["says"]) == ("signed_broken", "camera")
    assert "assertion.dataHash.mismatch" in found["values"]["failed_checks"]
    assert "assertion.dataHash.mismatch" in found["detail"]


def test_changed_statement_is_noticed():
    data = signed(TRAINED)
    assert data.count(b"trainedAlgorithmicMedia") == 1
    found = credentials(data.replace(b"trainedAlgorithmicMedia", b"untrainedAlgorithmicMed"))
    assert found["strength"] == "signed_broken"
    assert found["values"]["failed_checks"] == ["assertion.hashedURI.mismatch"]


def test_manifest_of_another_picture_is_noticed():
    """Credentials of a photograph, moved to a picture that they were not made for."""
    photo, other = signed(CAPTURE, "JPEG"), encoded(small_photo(8), "JPEG")
    start = photo.index(b"\xff\xeb")
    length = int.from_bytes(photo[start + 2 : start + 4], "big")
    moved = other[:2] + photo[start : start + 2 + length] + other[2:]
    assert credentials(moved)["strength"] == "signed_broken"


def test_resaving_removes_them():
    with Image.open(io.BytesIO(signed(TRAINED))) as opened:
        assert "c2pa" not in sources(read(encoded(opened, "JPEG")))


def test_opened_ingredient_passes_on_what_it_is():
    """A generated picture that is opened and changed stays generated; one that is placed in makes a part of it so."""
    generated = signed(TRAINED)
    edited = credentials(signed(None, parent=generated))
    assert (edited["says"], edited["values"]["manifests"]) == ("generated", 2)
    assert edited["values"]["ingredients"] == [
        {"title": "parentOf picture", "relationship": "parentOf", "has_credentials": True}
    ]
    assert credentials(signed(CAPTURE, placed=generated))["says"] == "edited_with_ai"


def test_camera_data_in_the_manifest():
    exif = {"label": "stds.exif", "data": {"@context": {"tiff": "http://ns.adobe.com/tiff/1.0/"}, "tiff:Make": "X"}}
    assert credentials(signed(None, assertions=(exif,)))["says"] == "camera"


DISCLOSURE = {
    "label": "c2pa.ai-disclosure",
    "data": {"modelType": "c2pa.types.model", "modelName": "Example Model", "modelIdentifier": "example:model"},
}


@pytest.mark.parametrize(
    ("source_type", "says"), [(TRAINED, "generated"), (COMPOSITE, "edited_with_ai"), (CAPTURE, "camera")]
)
def test_a_source_type_outweighs_a_disclosure(source_type, says):
    found = credentials(signed(source_type, assertions=(DISCLOSURE,)))
    assert (found["says"], found["values"]["models"]) == (says, ["Example Model"])


def test_a_disclosure_leaves_open_what_the_model_did():
    detail = credentials(signed(None, assertions=(DISCLOSURE,)))["detail"]
    assert "an AI model took part in the picture (Example Model), and not in what" in detail


def opened(**parameters: str) -> dict:
    """Options to sign what was made by opening another file."""
    action = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"], **parameters}}
    return {"action": action, "parent": JPEG, "ingredient": {"label": "parent"}}


JPEG = encoded(small_photo(5), "JPEG")
EMPTY = "http://c2pa.org/digitalsourcetype/empty"


@pytest.mark.parametrize(("source_type", "says"), [(TRAINED, "generated"), (COMPOSITE, "edited_with_ai")])
@pytest.mark.parametrize(
    "options",
    [
        lambda uri: opened(**{"com.adobe.digitalSourceType": uri, "com.adobe.details": "m"}),
        lambda uri: opened(**{"org.example.digitalSourceType": uri}),
        lambda uri: opened() | {"ingredient": {"label": "parent", "digital_source_type": uri}},
        lambda uri: {"assertions": (metadata("c2pa.metadata", "Iptc4xmpExt:DigitalSourceType", uri),)},
        lambda uri: {"assertions": (metadata("stds.iptc", "Iptc4xmpExt:DigitalSourcefileType", [uri]),)},
        lambda uri: {"assertions": (metadata("stds.exif", "Iptc4xmpExt:DigitalSourceType", {"@id": uri}),)},
    ],
)  # fmt: skip
def test_every_place_of_a_source_type(options, source_type, says):
    found = credentials(signed(EMPTY, **options(source_type)))
    assert (found["says"], found["evidence"], found["strength"]) == (says, "signed", "signed_valid")
    assert source_type.rpartition("/")[2] in found["values"]["source_types"]


def metadata(label: str, name: str, value: object) -> dict:
    return {"label": label, "data": {"@context": {name.partition(":")[0]: "http://example.com/"}, name: value}}


def test_source_type_of_what_was_placed_in():
    found = credentials(signed(CAPTURE, placed=JPEG, ingredient={"digital_source_type": TRAINED}))
    assert found["says"] == "edited_with_ai"


@pytest.mark.parametrize(
    ("options", "model"),
    [
        (opened(**{"com.adobe.digitalSourceType": TRAINED, "com.adobe.details": "partner 2"}), "partner 2"),
        ({"assertions": ({"label": "com.adobe.generative-ai",
                          "data": {"description": "Adobe Firefly", "version": "1.0", "prompt": "x"}},)},
         "Adobe Firefly 1.0"),
    ],
)  # fmt: skip
def test_the_model_is_named(options, model):
    found = credentials(signed(EMPTY, **options))
    assert found["says"] == "generated"
    assert found["values"]["models"] == [model] and f"({model})" in found["detail"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"assertions": (metadata("stds.iptc", "Iptc4xmpExt:AISystemUsed", "Example Model"),)}, "generated"),
        ({"assertions": (metadata("stds.iptc", "Iptc4xmpExt:AISystemUsed", "None"),)}, "software"),
        ({"assertions": (DISCLOSURE,)}, "possibly_generated"),
        (
            {"assertions": ({"label": "c2pa.ai-disclosure", "data": {"modelType": "c2pa.types.model"}},)},
            "possibly_generated",
        ),
        ({"action": {"action": "c2pa.created", "softwareAgent": "Bing Image Creator"}}, "generated"),
        ({"action": {"action": "c2pa.opened", "softwareAgent": "Adobe Firefly"}, "parent": JPEG}, "software"),
    ],
)
def test_models_beside_source_types(options, says):
    assert credentials(signed(EMPTY, **options))["says"] == says


@pytest.mark.parametrize("name", ["tiff:Make", "EXIF:Make", "exif:make", "http://ns.adobe.com/tiff/1.0/Make"])
@pytest.mark.parametrize("label", ["stds.exif", "c2pa.metadata", "cawg.metadata"])
@pytest.mark.parametrize(("maker", "says"), [("Example", "camera"), ("Midjourney", "software"), ("Xbox", "software")])
def test_spellings_of_a_camera(name, label, maker, says):
    assert credentials(signed(EMPTY, assertions=(metadata(label, name, maker),)))["says"] == says


def test_a_source_type_outweighs_a_camera_in_the_metadata():
    made = metadata("stds.exif", "tiff:Make", "Example")
    assert credentials(signed(TRAINED, assertions=(made,)))["says"] == "generated"


def test_older_rules_are_no_change_after_signing():
    """As in truepic-20230212-camera.jpg of the C2PA's public test files, whose exclusion is wider than its manifest."""
    found = credentials(with_wider_exclusion(signed(CAPTURE)))
    assert (found["strength"], found["says"], found["values"]["state"]) == ("signed_untrusted", "camera", "outdated")
    assert found["values"]["failed_checks"] == ["assertion.dataHash.mismatch"]
    assert "as it was signed" in found["detail"]


@pytest.mark.parametrize("place", ["pixels", "statement"])
def test_older_rules_excuse_no_change(place):
    data = bytearray(with_wider_exclusion(signed(CAPTURE)))
    if place == "pixels":
        data[-40] ^= 1
    else:
        data[data.index(b"digitalCapture")] ^= 1
    assert credentials(bytes(data))["strength"] == "signed_broken"


def test_an_exclusion_that_reaches_the_pixels_is_no_older_rule(monkeypatch):
    monkeypatch.setattr("imagetrust.provenance.opened_file.OpenedFile.pixels_begin", lambda _: 500)
    assert credentials(with_wider_exclusion(signed(CAPTURE)))["strength"] == "signed_broken"


def test_kept_elsewhere_is_named():
    found = credentials(signed(CAPTURE, remote_url="https://example.com/manifest.c2pa"))
    assert (found["strength"], found["says"]) == ("unsigned", "nothing")
    assert found["values"] == {
        "state": "remote",
        "remote_url": "https://example.com/manifest.c2pa",
        "fetch": "not_allowed",
    }


def test_broken_store_is_noted():
    data = bytearray(signed(CAPTURE, "WEBP"))
    start = data.index(b"jumb")
    data[start + 40 : start + 200] = b"\xff" * 160
    declared = read(bytes(data))
    check(declared)
    assert [note["source"] for note in declared["unreadable"]] == ["c2pa"]


def test_store_over_the_bounds_is_not_checked(monkeypatch):
    monkeypatch.setattr(
        "imagetrust.provenance.content_credentials.c2pa.Reader", lambda *_, **__: pytest.fail("was read")
    )
    boxes = b"".join(b"\0\0\0\x08jumb" for _ in range(bounds.MAX_MANIFEST_BOXES + 1))
    for store, unit in ((boxes, "boxes"), (b"jumb" + b"\0" * bounds.MAX_MANIFEST_BYTES, "bytes")):
        webp = encoded(small_photo(), "WEBP") + b"C2PA" + len(store).to_bytes(4, "little") + store
        (note,) = read(webp)["unreadable"]
        assert note["source"] == "c2pa"
        assert unit in note["unreadable"]


def test_files_without_a_store_never_reach_the_library(monkeypatch):
    monkeypatch.setattr(
        "imagetrust.provenance.content_credentials.c2pa.Reader", lambda *_, **__: pytest.fail("was read")
    )
    assert "c2pa" not in sources(read(encoded(small_photo(), "JPEG")))
