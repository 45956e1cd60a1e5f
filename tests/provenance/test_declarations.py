"""What decides between a camera, a generator and a program: each kind of field, label and signature."""

import json
from pathlib import Path

import pytest
from PIL import Image

from imagetrust.provenance import summarise
from imagetrust.provenance.finding import EVIDENCE
from tests.procedural import encoded
from tests.provenance.checks import check
from tests.provenance.files import (
    CAPTURE,
    TRAINED,
    certificates,
    finding,
    png_chunk,
    png_with_chunks,
    png_with_text,
    read,
    small_photo,
    sources,
    user_comment,
    with_exif,
    with_iptc,
    with_segments,
    with_xmp,
)

CASES = Path(__file__).parents[1] / "data" / "cases"
MAKE, MODEL, DESCRIPTION, SOFTWARE, ARTIST = 0x010F, 0x0110, 0x010E, 0x0131, 0x013B
SIGNATURE = "Signature: " + "goKC" * 80 + "gg=="
UUID = "00000000-1111-4222-8333-444444444444"
LABEL = {
    "Label": "1", "ContentProducer": "001191000000000000EX0001", "ProduceID": "example-0001", "ReservedCode1": "",
    "ContentPropagator": "", "PropagateID": "", "ReservedCode2": "",
}  # fmt: skip
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
}


def declared_by(data: bytes) -> dict:
    declared = read(data)
    check(declared)
    assert declared["unreadable"] == []
    return declared


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_files_of_the_wild(name):
    source, says, told = EXPECTED[name]
    declared = declared_by((CASES / name).read_bytes())
    assert finding(declared, source)["says"] == says
    summary = summarise(declared, "uncertain")
    assert told in summary and "contradicts itself" not in summary


@pytest.mark.parametrize("field", [MAKE, MODEL, SOFTWARE])
@pytest.mark.parametrize(
    "name",
    ["Midjourney", "Ideogram AI", "Stable Diffusion XL", "NovelAI", "Leonardo.Ai", "DALL-E 3", "sdxl_base.safetensors",
     "Grok Imagine", "FLUX.1 [dev]", "Tensor.Art", "Black Forest Labs"],
)  # fmt: skip
def test_a_generator_is_no_camera(field, name):
    found = finding(declared_by(with_exif({field: name})), "exif")
    assert (found["says"], found["evidence"]) == ("generated", "signature")


@pytest.mark.parametrize("name", ["DALL·E 3", "豆包AI", "即梦"])
def test_names_beyond_ascii(name):
    assert finding(declared_by(with_xmp(f"<xmp:CreatorTool>{name}</xmp:CreatorTool>")), "xmp")["says"] == "generated"


@pytest.mark.parametrize("software", ["reve.com", "Firefly 3", "Ideogram", "ComfyUI 0.3", "openart.ai", "Krea"])
def test_services_name_themselves_as_the_software(software):
    assert finding(declared_by(with_exif({SOFTWARE: software})), "exif")["says"] == "generated"


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        ({SOFTWARE: "Krea Photo Studio"}, "software"),
        ({SOFTWARE: "Editor de imagen"}, "software"),
        ({SOFTWARE: "Editor de imagen 3"}, "software"),
        ({SOFTWARE: "Imagen 3"}, "generated"),
        ({MAKE: "Hawkeye", MODEL: "Firefly 8S"}, "camera"),
        ({MAKE: "Apple", MODEL: "iPhone", SOFTWARE: "Sora Editor"}, "camera"),
        ({MAKE: "N/A", MODEL: "Unknown"}, "nothing"),
        ({MAKE: "None", SOFTWARE: "Example 3"}, "software"),
    ],
)
def test_common_words_are_no_generators_and_fillers_no_cameras(tags, says):
    assert finding(declared_by(with_exif(tags)), "exif")["says"] == says


@pytest.mark.parametrize("field", [MAKE, MODEL])
@pytest.mark.parametrize("text", ['prompt:{"a": 1}', 'Workflow: {"nodes": []}', '["x"]', "x" * 300, "one\ntwo"])
def test_what_is_no_name_is_no_camera(field, text):
    assert finding(declared_by(with_exif({field: text})), "exif")["says"] == "nothing"


@pytest.mark.parametrize(
    ("maker", "model"),
    [
        ("Polyphony Digital Inc.", "Gran Turismo 7"),
        ("Playground Games", "Forza Horizon 5"),
        ("Rockstar Games", "Red Dead Redemption 2"),
        ("NVIDIA", "NVIDIA GeForce RTX 4090"),
        ("Nintendo co., ltd", "Nintendo Switch"),
        ("Sony Interactive Entertainment Inc.", "PlayStation(R)4"),
        ("Sony Computer Entertainmement Inc.", "PlayStation(R)4."),
        ("Microsoft", "Xbox Series X"),
    ],
)
def test_a_game_is_no_camera(maker, model):
    found = finding(declared_by(with_exif({MAKE: maker, MODEL: model})), "exif")
    assert found["says"] == "software" and "game" in found["detail"]
    in_xmp = with_xmp(
        f'<tiff:Make xmlns:tiff="http://ns.adobe.com/tiff/1.0/">{maker}</tiff:Make>'
        f'<tiff:Model xmlns:tiff="http://ns.adobe.com/tiff/1.0/">{model}</tiff:Model>'
    )
    assert finding(declared_by(in_xmp), "xmp")["says"] == "software"


@pytest.mark.parametrize(
    ("maker", "model"), [("Nintendo", "Nintendo 3DS"), ("SONY", "DSC-RX100"), ("NVIDIA", "SHIELD Tablet")]
)
def test_devices_of_makers_of_games_that_photograph_are_cameras(maker, model):
    assert finding(declared_by(with_exif({MAKE: maker, MODEL: model})), "exif")["says"] == "camera"


@pytest.mark.parametrize(
    ("credit", "says"),
    [
        ("Made with Google AI", "generated"),
        ("Edited with Google AI", "edited_with_ai"),
        ("Apple Photos Clean Up", "edited_with_ai"),
        ("Imagined with AI", "generated"),
        ("Image generated by DALL-E 3", "generated"),
        ("Created with Midjourney", "generated"),
        ("Made with Imagen 4", "generated"),
        ("Created by Sora", "nothing"),
        ("AI-generated image", "generated"),
        ("Midjourney", "generated"),
        ("Studio Midjourney Road", "nothing"),
        ("Press office of Stability AI", "nothing"),
        ("Stability AI", "nothing"),  # a company's press photograph
        ("OpenAI / A. Person", "nothing"),
        ("Made with love", "nothing"),
        ("Photo edited by A. Person", "nothing"),
    ],
)
@pytest.mark.parametrize("place", ["exif", "xmp", "iptc", "png_text"])
def test_credits(place, credit, says):
    data = {
        "exif": lambda: with_exif({ARTIST: credit}),
        "xmp": lambda: with_xmp(f"<photoshop:Credit>{credit}</photoshop:Credit>"),
        "iptc": lambda: with_iptc({110: credit.encode()}),
        "png_text": lambda: png_with_text({"Author": credit}),
    }[place]()
    assert finding(declared_by(data), place)["says"] == says


@pytest.mark.parametrize("text", ["Midjourney", "Made with Midjourney in mind", "An exhibition on Stable Diffusion"])
def test_captions_and_keywords_declare_nothing(text):
    camera = {MAKE: "Example", MODEL: "Camera 1"}
    assert finding(declared_by(with_exif({**camera, DESCRIPTION: text})), "exif")["says"] == "camera"
    assert finding(declared_by(with_iptc({120: text.encode(), 25: text.encode()})), "iptc")["says"] == "nothing"
    assert finding(declared_by(with_xmp(f"<dc:description>{text}</dc:description>")), "xmp")["says"] == "nothing"
    assert finding(declared_by(png_with_text({"Title": text})), "png_text")["says"] == "nothing"


@pytest.mark.parametrize(
    ("make", "source"),
    [
        (lambda s, a: with_exif({DESCRIPTION: s, ARTIST: a}), "exif"),
        (lambda s, a: with_exif({DESCRIPTION: s, ARTIST: a}, image_format="WEBP"), "exif"),
        (lambda s, a: with_xmp(f"<dc:description>{s}</dc:description><dc:creator>{a}</dc:creator>"), "xmp"),
        (lambda s, a: with_iptc({120: s.encode(), 80: a.encode()}), "iptc"),
        (lambda s, a: png_with_text({"Description": s, "Author": a}), "png_text"),
    ],
)
def test_pair_of_xai(make, source):
    found = finding(declared_by(make(SIGNATURE, UUID)), source)
    assert found["says"] == "generated" and found["values"]["generator"] == "xAI Grok"
    for signature, artist in (("Signature: A. Person", UUID), (SIGNATURE, "A. Person"), (f"See {SIGNATURE}", UUID)):
        assert finding(declared_by(make(signature, artist)), source)["says"] == "nothing"


def source_type(name: str, value: str) -> bytes:
    return with_xmp(f"<Iptc4xmpExt:{name}>{value}</Iptc4xmpExt:{name}>")


@pytest.mark.parametrize("name", ["DigitalSourceType", "DigitalSourcefileType", "DigitalSourceFileType"])
@pytest.mark.parametrize(
    "form",
    ["http://cv.iptc.org/newscodes/digitalsourcetype/{}", "https://cv.iptc.org/newscodes/digitalsourcetype/{}/",
     "digsrctype:{}", "{}", "http://c2pa.org/digitalsourcetype/{}"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("trainedAlgorithmicMedia", "generated"),
        ("TrainedAlgorithmicMedia", "generated"),
        ("trainedAlgorithmicData", "generated"),
        ("compositeWithTrainedAlgorithmicMedia", "edited_with_ai"),
        ("digitalCapture", "camera"),
        ("computationalCapture", "camera"),
        ("negativeFilm", "camera"),
        ("humanEdits", "software"),
        ("algorithmicallyEnhanced", "software"),
        ("virtualRecording", "software"),
        ("nonsense", "nothing"),
    ],
)
def test_spellings_of_source_types(name, form, code, says):
    assert finding(declared_by(source_type(name, form.format(code))), "xmp")["says"] == says


@pytest.mark.parametrize("name", ["AISystemUsed", "AISystemVersionUsed", "AIPromptInformation", "AIPromptWriterName"])
@pytest.mark.parametrize(
    ("value", "says"),
    [("Example Model 3", "generated"), ("None", "nothing"), ("N/A", "nothing"), ("n.a.", "nothing"), ("-", "nothing"),
     ("Not applicable", "nothing"), ("no", "nothing"), ("not used", "nothing"), ("No AI system was used", "nothing"),
     ("None (not used)", "nothing"), ("None of these foxes", "generated"), ("Nano Banana", "generated")],
)  # fmt: skip
def test_fields_of_iptc_2025(name, value, says):
    found = finding(declared_by(source_type(name, value)), "xmp")
    assert found["says"] == says
    assert says == "nothing" or (found["evidence"] == "field" and value in found["detail"])


@pytest.mark.parametrize(
    "make",
    [
        lambda text: with_xmp(f'<TC260:AIGC xmlns:TC260="http://www.tc260.org.cn/ns/AIGC/1.0/">{text}</TC260:AIGC>'),
        lambda text: with_xmp(f'<T:AIGC xmlns:T="http://www.tc260.org.cn/ns/AIGC/1.0/">{text}</T:AIGC>', "PNG"),
        lambda text: with_xmp(f'<T:AIGC xmlns:T="https://www.tc260.org.cn/ns/AIGC">{text}</T:AIGC>', "WEBP"),
        lambda text: with_exif({}, {0x9286: user_comment(f'{{"AIGC": {text}}}')}),
        lambda text: with_exif({}, {0x9286: b"ASCII\0\0\0" + json.dumps({"AIGC": text}).encode()}),
        lambda text: with_exif({DESCRIPTION: text}),
        lambda text: with_exif({DESCRIPTION: f"AIGC{text}"}),
        lambda text: png_with_text({"AIGC": text}),
        lambda text: png_with_text({"Comment": f'{{"AIGC": {text}}}'}),
        lambda text: png_with_chunks(png_chunk(b"aIGC", text.encode())),
        lambda text: encoded(small_photo(), "JPEG", comment=f"AIGC{text}"),
        lambda text: with_segments([f"AIGC{text}".encode()], 0xEB),
    ],
)
@pytest.mark.parametrize(
    ("label", "says", "means"),
    [
        ("1", "generated", "generated"),
        (1, "generated", "generated"),
        ("2", "possibly_generated", "possible"),
        ("3", "possibly_generated", "suspected"),
        ("7", "nothing", "undefined"),
    ],
)
def test_label_of_gb_45438(make, label, says, means):
    found = finding(declared_by(make(json.dumps({**LABEL, "Label": label}))), "aigc_label")
    assert (found["says"], found["values"]["label"]) == (says, means)
    assert found["values"]["members"] == {
        "Label": str(label), "ContentProducer": "001191000000000000EX0001", "ProduceID": "example-0001",
    }  # fmt: skip
    assert "001191000000000000EX0001" in found["detail"]


def test_label_as_a_structure_of_xmp():
    members = "".join(f"<T:{name}>{value}</T:{name}>" for name, value in LABEL.items() if value)
    found = finding(
        declared_by(
            with_xmp(
                f'<T:AIGC xmlns:T="http://www.tc260.org.cn/ns/AIGC/1.0/" rdf:parseType="Resource">{members}</T:AIGC>'
            )
        ),
        "aigc_label",
    )
    assert (found["says"], found["values"]["members"]["ProduceID"]) == ("generated", "example-0001")


@pytest.mark.parametrize("text", ['{"Label": "1"}', "AIGC", '{"AIGC": 1}', "AIGC{", '{"AIGC": "{"}', '{"Labels": []}'])
def test_what_looks_like_a_label_is_left_alone(text):
    assert "aigc_label" not in sources(declared_by(with_exif({}, {0x9286: user_comment(text)})))


def test_a_possible_label_is_no_certain_one():
    data = png_with_text({"AIGC": json.dumps({**LABEL, "Label": "3"})})
    assert "may have been made by a generative model" in summarise(declared_by(data), "uncertain")
    assert "speaks against it" in summarise(declared_by(data), "real")
    assert "the two agree" in summarise(declared_by(data), "generated")


def statement(says: str, evidence: str, strength: str = "unsigned") -> dict:
    return {"source": "x", "strength": strength, "says": says, "evidence": evidence, "detail": "x", "values": {}}


@pytest.mark.parametrize(("stronger", "weaker"), list(zip(EVIDENCE, EVIDENCE[1:], strict=False)))
def test_the_order_of_evidence_decides(stronger, weaker):
    strength = "signed_untrusted" if stronger == "signed" else "unsigned"
    for one, other, told in (("camera", "generated", CAMERA), ("generated", "camera", GENERATED)):
        findings = [statement(other, weaker), statement(one, stronger, strength)]
        summary = summarise({"findings": findings, "unreadable": []}, "uncertain")
        assert told in summary and "contradicts itself" in summary


def test_evidence_of_each_kind():
    declared = read(
        png_with_text(
            {"parameters": "a cat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1", "AIGC": json.dumps(LABEL)}
        )
    )
    assert finding(declared, "generation_parameters")["evidence"] == "signature"
    assert finding(declared, "aigc_label")["evidence"] == "field"
    assert "evidence" not in finding(declared, "png_text")
    assert finding(read(with_exif({MAKE: "Example"})), "exif")["evidence"] == "device"
    assert finding(read(source_type("DigitalSourceType", CAPTURE)), "xmp")["evidence"] == "field"
    signed_file = (CASES / "c2pa_partner_model.jpg").read_bytes()
    assert finding(read(signed_file, trust_anchors=certificates()[2]), "c2pa")["evidence"] == "signed"


def test_a_source_type_outweighs_the_camera_beside_it():
    exif = Image.Exif()
    exif[MAKE] = "Example"
    xmp = source_type("DigitalSourceType", TRAINED)
    packet = xmp[xmp.index(b"<x:xmpmeta") : xmp.index(b"</x:xmpmeta>") + 12]
    declared = declared_by(encoded(small_photo(), "JPEG", exif=exif, xmp=packet))
    assert GENERATED in summarise(declared, "real")
