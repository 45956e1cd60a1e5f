"""What each file of the shared samples declares: real cameras, real signers, and files tampered with on purpose."""

from pathlib import Path

import pytest

from imagetrust.images.decode import decode
from imagetrust.provenance import read_declarations
from tests.provenance.checks import check

SAMPLES = Path(__file__).resolve().parents[3] / "shared" / "samples"

# file -> (camera that the EXIF data name, whether they hold a position)
EXIF = {
    "32-lens_data.jpeg": ("NIKON CORPORATION NIKON D300", False),
    "Apple_iPhone_4.jpg": ("Apple iPhone 4", True),
    "Canon_PowerShot_S40.jpg": ("Canon PowerShot S40", False),
    "DSCN0010.jpg": ("NIKON COOLPIX P6000", True),
    "DSCN0021.jpg": ("NIKON COOLPIX P6000", True),
    "HTC_Desire.jpg": ("HTC Desire", True),
    "Nokia_3110c__Mobile_Phone_.jpg": ("Nokia 3110c", False),
    "Photoshop__4_.jpg": (None, False),
    "Samsung_GT-I9000__Galaxy_S_.jpg": ("SAMSUNG GT-I9000", True),
    "canon-ixus.jpg": ("Canon DIGITAL IXUS", False),
    "fujifilm-finepix40i.jpg": ("FUJIFILM FinePix40i", False),
    "kodak-dc240.jpg": ("EASTMAN KODAK COMPANY KODAK DC240 ZOOM DIGITAL CAMERA", False),
    "nikon-e950.jpg": ("NIKON E950", False),
    "sony-cybershot.jpg": ("SONY CYBERSHOT", False),
}
# file -> (strength, what it says, issuer, checks that failed); signers are on no list, since none is given
SIGNED = {
    "adobe_firefly_c2pa.jpg": ("signed_untrusted", "generated", "Adobe Inc.", ["signingCredential.untrusted"]),
    "c2pa_C.jpg": ("signed_untrusted", "software", "C2PA Test Signing Cert", ["signingCredential.untrusted"]),
    "c2pa_CA.jpg": ("signed_untrusted", "software", "C2PA Test Signing Cert", ["signingCredential.untrusted"]),
    "c2pa_CAICAI_ingredients.jpg": (
        "signed_untrusted", "software", "C2PA Test Signing Cert", ["signingCredential.untrusted"],
    ),
    "c2pa_C_with_CAWG_data.jpg": (
        "signed_untrusted", "camera", "C2PA Test Signing Cert", ["signingCredential.untrusted"],
    ),
    "c2pa_E-sig-CA.jpg": (
        "signed_broken", "software", "C2PA Test Signing Cert",
        ["signingCredential.untrusted", "claimSignature.mismatch"],
    ),
    "c2pa_XCA.jpg": (
        "signed_broken", "software", "C2PA Test Signing Cert",
        ["signingCredential.untrusted", "assertion.dataHash.mismatch"],
    ),
    # Signed without a time stamp by a certificate that has since expired.
    "nikon_c2pa.jpeg": (
        "signed_untrusted", "camera", "NIKON CORPORATION", ["signingCredential.untrusted", "signingCredential.expired"],
    ),
    "openai_gpt_image_c2pa.png": (
        "signed_untrusted", "generated", "OpenAI OpCo, LLC", ["signingCredential.untrusted"],
    ),
}  # fmt: skip
# file -> state of its Content Credentials, what the XMP says
UNSIGNED = {
    "c2pa_no_manifest.jpg": ("removed", "software"),
    "c2pa_remote_manifest.jpg": ("remote", "software"),
    "plain.webp": (None, None),
    "xmp.webp": (None, "software"),
}


def declared_by(folder: str, name: str, **options) -> tuple[dict, dict[str, dict]]:
    path = SAMPLES / folder / name
    if not path.exists():
        pytest.skip(f"needs {folder}/{name} in ../shared/samples, which this checkout does not have")
    data = path.read_bytes()
    declared = read_declarations(data, decode(data), **options)
    check(declared)
    assert declared["unreadable"] == []
    return declared, {finding["source"]: finding for finding in declared["findings"]}


@pytest.mark.parametrize(("name", "expected"), EXIF.items(), ids=EXIF)
def test_camera_files(name, expected):
    camera, has_position = expected
    declared, found = declared_by("exif", name)
    assert "GPS" not in str(declared)
    if camera is None:
        assert "exif" not in found
        return
    assert found["exif"]["says"] == "camera"
    assert found["exif"]["detail"].startswith(f"The EXIF data name the camera {camera}")
    assert "c2pa" not in found and "generation_parameters" not in found
    if "thumbnail" in found:
        assert found["thumbnail"]["values"]["same_content"]
    _, found = declared_by("exif", name, include_places=True)
    position = found["exif"]["values"].get("gps", {})
    assert ("latitude" in position and "longitude" in position) == has_position


def test_positions_are_right():
    """Arezzo, as the file's own degrees, minutes and seconds have it: 43 28' 2.81" N, 11 53' 6.46" E."""
    _, found = declared_by("exif", "DSCN0010.jpg", include_places=True)
    gps = found["exif"]["values"]["gps"]
    assert gps["latitude"] == pytest.approx(43.467448, abs=1e-5)
    assert gps["longitude"] == pytest.approx(11.885127, abs=1e-5)


def test_photoshop_is_recognised_by_its_tables():
    _, found = declared_by("exif", "Photoshop__4_.jpg")
    assert "Photoshop, web high" in found["jpeg_quantisation"]["values"]["matches"]


@pytest.mark.parametrize(("name", "expected"), SIGNED.items(), ids=SIGNED)
def test_signed_files(name, expected):
    strength, says, issuer, failed = expected
    _, found = declared_by("provenance", name)
    credentials = found["c2pa"]
    assert (credentials["strength"], credentials["says"]) == (strength, says)
    assert credentials["values"]["signer"]["issuer"] == issuer
    assert credentials["values"]["failed_checks"] == failed
    assert credentials["values"]["claim_generator"]


@pytest.mark.parametrize(("name", "expected"), UNSIGNED.items(), ids=UNSIGNED)
def test_unsigned_files(name, expected):
    state, says = expected
    _, found = declared_by("provenance", name)
    assert found.get("c2pa", {"values": {"state": None}})["values"]["state"] == state
    assert found.get("xmp", {"says": None})["says"] == says


def test_firefly_names_both_source_types():
    _, found = declared_by("provenance", "adobe_firefly_c2pa.jpg")
    values = found["c2pa"]["values"]
    assert values["source_types"] == ["compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia"]
    assert values["ingredients"] == [
        {"title": "ocsp.jpg", "relationship": "componentOf", "has_credentials": True},
    ]
    assert values["signer"]["time"] == "2025-08-13T16:30:55+00:00"


def test_remote_manifest_is_named():
    _, found = declared_by("provenance", "c2pa_remote_manifest.jpg")
    assert found["c2pa"]["values"]["remote_url"].startswith("https://cai-manifests.adobe.com/manifests/")


def test_ingredients_are_listed():
    _, found = declared_by("provenance", "c2pa_CAICAI_ingredients.jpg")
    assert [one["title"] for one in found["c2pa"]["values"]["ingredients"]] == ["A.jpg", "CAI.jpg"]


@pytest.mark.parametrize(("folder", "expected"), [("exif", set(EXIF)), ("provenance", SIGNED.keys() | UNSIGNED.keys())])
def test_no_sample_is_left_out(folder, expected):
    if not (SAMPLES / folder).exists():
        pytest.skip(f"needs {folder} in ../shared/samples, which this checkout does not have")
    assert {path.name for path in (SAMPLES / folder).iterdir()} == expected
