"""Files that the product answered otherwise than its users expect, and how it answers them now.

tests/provenance/test_places.py has those about places.
"""

from pathlib import Path

import pytest

from imagetrust.provenance import summarise
from tests.provenance.checks import check
from tests.provenance.files import finding, read

CASES = Path(__file__).parents[1] / "data" / "cases"
GENERATED, EDITED, CAMERA = "by a generative model", "a part of it comes from a generative model", "a camera took it"
# file -> (the finding that decides, what it says, what the summary says)
EXPECTED = {
    "aigc_xmp.jpg": ("aigc_label", "generated", GENERATED),
    "aigc_text.png": ("aigc_label", "generated", GENERATED),
    "aigc_usercomment.jpg": ("aigc_label", "generated", GENERATED),
    "grok_signature.jpg": ("exif", "generated", GENERATED),
    "uuid_artist_photo.jpg": ("exif", "camera", CAMERA),
    "make_ideogram.jpg": ("exif", "generated", GENERATED),
    "comfyui_make.webp": ("generation_parameters", "generated", GENERATED),
    "game_photo_mode.jpg": ("exif", "software", "which program"),
    "software_reve.jpg": ("exif", "generated", GENERATED),
    "c2pa_partner_model.jpg": ("c2pa", "generated", GENERATED),
    "c2pa_ingredient_source_type.jpg": ("c2pa", "generated", GENERATED),
    "c2pa_metadata_source_type.jpg": ("c2pa", "generated", GENERATED),
    "c2pa_generative_ai_assertion.jpg": ("c2pa", "generated", GENERATED),
    "c2pa_exif_make_spelling.jpg": ("c2pa", "camera", CAMERA),
    "source_type_qcode.jpg": ("xmp", "generated", GENERATED),
    "source_type_old_name.jpg": ("xmp", "generated", GENERATED),
    "prompt_information.jpg": ("xmp", "generated", GENERATED),
    "ai_system_none.jpg": ("exif", "camera", CAMERA),
    "google_photos_credit.jpg": ("xmp", "edited_with_ai", EDITED),
    "tensor_art.png": ("generation_parameters", "generated", GENERATED),
    "ruined_fooocus.png": ("generation_parameters", "generated", GENERATED),
    "comfyui_usercomment.jpg": ("generation_parameters", "generated", GENERATED),
    "mochi_diffusion.jpg": ("generation_parameters", "generated", GENERATED),
    "civitai_resources.jpg": ("generation_parameters", "generated", GENERATED),
    "stealth_alpha.png": ("generation_parameters", "generated", GENERATED),
    "infotext_dc_description.jpg": ("generation_parameters", "generated", GENERATED),
    "byline_midjourney.jpg": ("exif", "camera", CAMERA),
    "caption_steps_seed.jpg": ("exif", "camera", CAMERA),
    "xmp_overlong.jpg": ("xmp", "generated", GENERATED),
    "xmp_jpeg_header.heic": ("xmp", "generated", GENERATED),
    "xmp_extended.jpg": ("xmp", "generated", GENERATED),
    "xmp.gif": ("xmp", "generated", GENERATED),
    "raw_profile_xmp.png": ("xmp", "generated", GENERATED),
    "exif3_utf8.jpg": ("exif", "generated", GENERATED),
    "samsung_trailer.jpg": ("samsung_trailer", "edited_with_ai", EDITED),
    "text_utf8.png": ("generation_parameters", "generated", GENERATED),
    "usercomment_long_japanese_le.jpg": ("generation_parameters", "generated", GENERATED),
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_decides(name):
    source, says, told = EXPECTED[name]
    declared = read((CASES / name).read_bytes())
    check(declared)
    assert declared["unreadable"] == []
    assert finding(declared, source)["says"] == says
    summary = summarise(declared, "uncertain")
    assert told in summary and "contradicts itself" not in summary


def test_a_contradiction_is_named():
    declared = read((CASES / "xmp_undeclared_prefix.jpg").read_bytes())
    assert (finding(declared, "xmp")["says"], finding(declared, "exif")["says"]) == ("generated", "camera")
    summary = summarise(declared, "uncertain")
    assert GENERATED in summary and "contradicts itself" in summary


def test_credentials_that_cannot_be_read_are_named():
    summary = summarise(read((CASES / "c2pa_unreadable.jpg").read_bytes()), "uncertain")
    assert "Content Credentials that cannot be read" in summary and "declares nothing" not in summary
