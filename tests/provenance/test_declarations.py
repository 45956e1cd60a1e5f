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
    exif_tiff,
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
GENERATED, CAMERA = "by a generative model", "a camera took it"


def declared_by(data: bytes) -> dict:
    declared = read(data)
    check(declared)
    assert declared["unreadable"] == []
    return declared


@pytest.mark.parametrize("field", [MAKE, MODEL, SOFTWARE])
@pytest.mark.parametrize(
    "name",
    ["Midjourney", "Ideogram AI", "Stable Diffusion XL", "NovelAI", "Leonardo.Ai", "DALL-E 3", "sdxl_base.safetensors",
     "Grok Imagine", "FLUX.1 [dev]", "Tensor.Art", "Black Forest Labs", "stable-diffusion-webui", "Adobe_Firefly/1.0",
     "Amazon Titan Image Generator G1", "Higgsfield AI", "fal-ai/flux", "Pollinations.AI", "Kling AI"],
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
        ({MAKE: "Hawkeye", MODEL: "Firefly 8"}, "camera"),
        ({MODEL: "Firefly 3"}, "generated"),
        ({MAKE: "Ideogram", MODEL: "Ideogram 2.0"}, "generated"),
        ({MAKE: "Apple", MODEL: "iPhone", SOFTWARE: "Sora Editor"}, "camera"),
        ({MAKE: "N/A", MODEL: "Unknown"}, "nothing"),
        ({MAKE: "None", SOFTWARE: "Example 3"}, "software"),
    ],
)
def test_common_words_are_no_generators_and_fillers_no_cameras(tags, says):
    assert finding(declared_by(with_exif(tags)), "exif")["says"] == says


@pytest.mark.parametrize("kind", [2, 129])
@pytest.mark.parametrize("name", ["ComfyUI 0.3", "豆包"])
@pytest.mark.parametrize(("tag", "says"), [(0xA43A, True), (0xA43B, True), (0xA43C, True), (0xA439, False)])
def test_programs_of_exif_3(tag, says, name, kind):
    """CameraFirmware is a camera's own program."""
    block = exif_tiff({}, photo={tag: (kind, name.encode() + b"\0")})
    found = finding(declared_by(with_segments([b"Exif\0\0" + block])), "exif")
    assert found["says"] == ("generated" if says else "nothing")


@pytest.mark.parametrize("kind", [2, 129])
@pytest.mark.parametrize("name", ["豆包", "即梦AI", "DALL·E 3"])
def test_names_in_utf_8(name, kind):
    block = exif_tiff({SOFTWARE: (kind, name.encode() + b"\0")})
    found = finding(declared_by(with_segments([b"Exif\0\0" + block])), "exif")
    assert (found["says"], found["values"]["software"]) == ("generated", name)


@pytest.mark.parametrize("tag", [0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F])
def test_texts_of_windows(tag):
    label = {tag: json.dumps({"AIGC": LABEL}).encode("utf-16-le") + b"\0\0"}
    assert finding(declared_by(with_exif(label)), "aigc_label")["says"] == "generated"
    for text, says in (("Midjourney", "generated" if tag == 0x9C9D else "nothing"), ("A. Person", "nothing")):
        found = finding(declared_by(with_exif({tag: text.encode("utf-16-le") + b"\0\0"})), "exif")
        assert found["says"] == says


@pytest.mark.parametrize(
    ("source", "says"),
    [("Example Scanner 4850", "nothing"), ("Luma AI", "generated"), ("NovelAI Diffusion V4.5", "generated")],
)
def test_the_source_of_a_png_is_no_program(source, says):
    assert finding(declared_by(png_with_text({"Source": source})), "png_text")["says"] == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Generated by Stable Diffusion", "generated"),
        ("Edited with Google AI", "edited_with_ai"),
        ("Created with GIMP", "software"),
        ("CREATOR: gd-jpeg v1.0", "software"),
        ("Midjourney was here", "nothing"),
    ],
)
@pytest.mark.parametrize("image_format", ["JPEG", "GIF"])
def test_comments(image_format, text, says):
    found = finding(declared_by(encoded(small_photo(), image_format, comment=text)), "jpeg_comment")
    assert found["says"] == says


def test_the_model_of_the_parameters_is_no_camera():
    parameters = json.dumps({"prompt": "a cat", "model": "flux", "nologo": True})
    assert finding(declared_by(with_exif({MAKE: "flux", 0x9286: parameters})), "exif")["says"] == "nothing"
    assert finding(declared_by(with_exif({MAKE: "Example", 0x9286: parameters})), "exif")["says"] == "camera"
    settings = json.dumps({"model": "Example", "iso": 100})
    assert finding(declared_by(with_exif({MAKE: "Example", 0x9286: settings})), "exif")["says"] == "camera"


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
        ("Trained Algorithmic Media", "generated"),
        ("trained_algorithmic_media", "generated"),
        ("Created using Generative AI", "generated"),
        ("Edited using Generative AI", "edited_with_ai"),
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


@pytest.mark.parametrize(
    ("agents", "says"),
    [
        (["Adobe Firefly 1.0"], "generated"),
        (["Adobe Firefly 1.0", "Adobe Photoshop 25.0"], "generated"),
        (["Adobe Photoshop 25.0", "Adobe Firefly 1.0"], "edited_with_ai"),
        (["Adobe Photoshop 25.0", "Adobe Photoshop Camera Raw 16.0"], "software"),
    ],
)
def test_a_generator_in_the_history(agents, says):
    steps = "".join(f'<rdf:li stEvt:action="saved" stEvt:softwareAgent="{agent}"/>' for agent in agents)
    found = finding(declared_by(with_xmp(f"<xmpMM:History><rdf:Seq>{steps}</rdf:Seq></xmpMM:History>")), "xmp")
    assert (found["says"], found["values"]["programs"]) == (says, agents)


@pytest.mark.parametrize("name", ["AISystemUsed", "AISystemVersionUsed", "AIPromptInformation", "AIPromptWriterName"])
@pytest.mark.parametrize(
    ("value", "says"),
    [("Example Model 3", "generated"), ("None", "nothing"), ("N/A", "nothing"), ("n.a.", "nothing"), ("-", "nothing"),
     ("Not applicable", "nothing"), ("no", "nothing"), ("not used", "nothing"), ("No AI system was used", "nothing"),
     ("Keine", "nothing"), ("Aucun", "nothing"), ("无", "nothing"), ("なし", "nothing"),
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


@pytest.mark.parametrize("tag", [DESCRIPTION, 0x9286])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"product": "dreamina", "exportType": "generation"}, "generated"),
        ({"product": "dreamina_oversea", "source_type": "dreamina_oversea", "exportType": "generation"}, "generated"),
        ({"product": "aweme", "aigc_info": {"aigc_type": 1, "is_sticker_aigc": 0}}, "possibly_generated"),
        ({"aigc_info": {"aigc_label_type": 1}}, "possibly_generated"),
        ({"aigc_info": {"aigc_label_type": 2}}, "possibly_generated"),
        ({"aigc_info": '{"aigc_label_type": 2}'}, "possibly_generated"),
        ({"product": "dreamina", "exportType": "image_export"}, "nothing"),
        ({"product": "doubao"}, "nothing"),
        ({"product": "retouch"}, "nothing"),
        ({"product": "lv", "exportType": "image_export"}, "nothing"),
        ({"product": "lv", "exportType": "generation"}, "nothing"),
        ({"product": "aweme", "aigc_info": {"aigc_type": 0}}, "nothing"),
        ({"product": "aweme", "aigc_info": {"aigc_type": 10}}, "nothing"),
        ({"aigc_info": {"aigc_label_type": 0}}, "nothing"),
        ({"aigc_info": {"aigc_label_type": 9}}, "nothing"),
        ({"aigc_info": [1]}, "nothing"),
    ],
)
def test_objects_of_apps_by_bytedance(tag, data, says):
    declared = declared_by(with_exif({MAKE: "Example", tag: json.dumps({"data": data})}))
    assert finding(declared, "exif")["says"] == "camera"
    if says == "nothing":
        assert "aigc_label" not in sources(declared)
    else:
        found = finding(declared, "aigc_label")
        assert (found["says"], found["evidence"]) == (says, "field")


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
