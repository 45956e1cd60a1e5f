"""The parameters of each generator, in the layouts that they write."""

import io
import json
import struct
import zlib
from functools import partial

import numpy as np
import pytest
from PIL import Image

from imagetrust.provenance import bounds
from tests.procedural import encoded
from tests.provenance.checks import check
from tests.provenance.files import (
    finding,
    png_with_text,
    read,
    small_photo,
    sources,
    user_comment,
    with_exif,
    with_hidden_text,
    with_iptc,
    with_xmp,
)

INFOTEXT = """a cat, <lora:tabby:0.8>
on a mat
Negative prompt: dog, blurry
Steps: 20, Sampler: Euler a, CFG scale: 7.5, Seed: 1234567890123456789, Size: 512x768, Model hash: 6ce0161689, \
Model: sd-v1-5, Lora hashes: "tabby: 0a1b, other: 2c3d", Version: v1.9.4"""
FROM_INFOTEXT = {
    "prompt": "a cat, ‹lora:tabby:0.8› on a mat",
    "negative_prompt": "dog, blurry",
    "steps": "20",
    "sampler": "Euler a",
    "guidance": "7.5",
    "seed": "1234567890123456789",
    "size": "512x768",
    "model_hash": "6ce0161689",
    "model": "sd-v1-5",
    "lora_hashes": "tabby: 0a1b, other: 2c3d",
    "version": "v1.9.4",
}
COMFYUI = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 42, "steps": 25, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal",
            "model": ["4", 0], "positive": ["10", 0], "negative": ["7", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sdxl.safetensors"}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "dog", "clip": ["4", 1]}},
    "10": {"class_type": "ControlNetApply", "inputs": {"conditioning": ["6", 0]}, "is_changed": [float("nan")]},
}  # fmt: skip
FROM_COMFYUI = {
    "prompt": "a cat", "negative_prompt": "dog", "seed": "42", "steps": "25", "guidance": "8.0", "sampler": "euler",
    "scheduler": "normal", "model": "sdxl.safetensors",
}  # fmt: skip
SWARMUI = {
    "sui_image_params": {
        "prompt": "a cat", "negativeprompt": "dog", "model": "flux1-dev", "seed": 7, "steps": 25, "cfgscale": 1.0,
        "width": 1024, "height": 768, "swarm_version": "0.9.1.1",
    }
}  # fmt: skip
FROM_SWARMUI = {
    "prompt": "a cat", "negative_prompt": "dog", "model": "flux1-dev", "seed": "7", "steps": "25", "guidance": "1.0",
    "size": "1024x768", "version": "0.9.1.1",
}  # fmt: skip
EASY_DIFFUSION = {
    "prompt": "a cat", "negative_prompt": "dog", "seed": 9, "use_stable_diffusion_model": "sd-v1-4",
    "sampler_name": "euler_a", "num_inference_steps": 25, "guidance_scale": 7.5, "width": 512, "height": 512,
}  # fmt: skip
FROM_EASY_DIFFUSION = {
    "prompt": "a cat", "negative_prompt": "dog", "seed": "9", "model": "sd-v1-4", "sampler": "euler_a", "steps": "25",
    "guidance": "7.5", "size": "512x512",
}  # fmt: skip
FOOOCUS = {
    "prompt": "a cat", "negative_prompt": "dog", "base_model": "juggernaut", "guidance_scale": 4.0, "steps": 30,
    "seed": "5", "resolution": "(1152, 896)", "sampler": "dpmpp_2m", "scheduler": "karras", "version": "Fooocus v2.5.5",
}  # fmt: skip
FROM_FOOOCUS = {
    "prompt": "a cat", "negative_prompt": "dog", "model": "juggernaut", "guidance": "4.0", "steps": "30", "seed": "5",
    "size": "(1152, 896)", "sampler": "dpmpp_2m", "scheduler": "karras", "version": "Fooocus v2.5.5",
}  # fmt: skip
INVOKEAI = {
    "app_version": "4.2.0", "positive_prompt": "a cat", "negative_prompt": "dog", "width": 1024, "height": 1024,
    "seed": 11, "cfg_scale": 6, "steps": 30, "scheduler": "euler", "model": {"name": "sdxl-base", "hash": "blake3:0"},
}  # fmt: skip
FROM_INVOKEAI = {
    "version": "4.2.0", "prompt": "a cat", "negative_prompt": "dog", "size": "1024x1024", "seed": "11",
    "guidance": "6", "steps": "30", "sampler": "euler", "model": "sdxl-base",
}  # fmt: skip
SD_METADATA = {
    "model": "stable diffusion", "model_weights": "sd-v1-4", "app_id": "invoke-ai/InvokeAI", "app_version": "2.2.0",
    "image": {
        "prompt": [{"prompt": "a cat", "weight": 1.0}], "steps": 50, "cfg_scale": 7.5, "width": 512, "height": 512,
        "seed": 12, "sampler": "k_lms",
    },
}  # fmt: skip
NOVELAI = {
    "Software": "NovelAI", "Source": "Stable Diffusion XL C1E1DE52", "Description": "a cat",
    "Comment": json.dumps({"steps": 28, "seed": 99, "sampler": "k_euler", "scale": 5, "uc": "dog", "width": 832,
                           "height": 1216}),
}  # fmt: skip
FROM_NOVELAI = {
    "prompt": "a cat", "model": "Stable Diffusion XL C1E1DE52", "steps": "28", "seed": "99", "sampler": "k_euler",
    "guidance": "5", "negative_prompt": "dog", "size": "832x1216",
}  # fmt: skip
DRAW_THINGS = {"c": "a cat", "uc": "dog", "model": "sd_v1.5_f16.ckpt", "sampler": "Euler A", "scale": 7.5, "seed": 3,
               "size": "512x512", "steps": 20}  # fmt: skip
FROM_DRAW_THINGS = {
    "prompt": "a cat", "negative_prompt": "dog", "model": "sd_v1.5_f16.ckpt", "sampler": "Euler A", "guidance": "7.5",
    "seed": "3", "size": "512x512", "steps": "20",
}  # fmt: skip
FROM_A_PROMPT = {"prompt": "a cat", "negative_prompt": "dog", "seed": "9", "steps": "25", "guidance": "7.5"}
TENSOR_ART = {
    "models": [{"label": "Example XL", "type": "BASE_MODEL", "hash": "0123"}], "prompt": "a cat",
    "negativePrompt": "dog", "width": 512, "height": 512, "steps": 25, "cfgScale": 7.5, "seed": "9",
    "samplerName": "Euler a",
}  # fmt: skip
FROM_TENSOR_ART = FROM_A_PROMPT | {"sampler": "Euler a", "size": "512x512"}
RUINED_FOOOCUS = {
    "Prompt": "a cat", "Negative": "dog", "steps": 25, "cfg": 7.5, "width": 512, "height": 512, "seed": 9,
    "sampler_name": "dpmpp_2m", "scheduler": "karras", "base_model_name": "example.safetensors", "loras": "",
    "software": "RuinedFooocus",
}  # fmt: skip
FROM_RUINED_FOOOCUS = FROM_A_PROMPT | {
    "sampler": "dpmpp_2m", "scheduler": "karras", "size": "512x512", "model": "example.safetensors",
}  # fmt: skip
MOCHI = (
    "Include in Image: a cat; and a mat; Exclude from Image: dog; Model: example; Steps: 25; Guidance Scale: 7.5; "
    "Seed: 9; Size: 512x512; Scheduler: DPM-Solver++; ML Compute Unit: CPU & GPU; Generator: Mochi Diffusion 5.2"
)
FROM_MOCHI = FROM_A_PROMPT | {
    "prompt": "a cat; and a mat", "model": "example", "size": "512x512", "scheduler": "DPM-Solver++",
    "version": "Mochi Diffusion 5.2",
}  # fmt: skip
SHORT = "a cat\nNegative prompt: dog\nSteps: 25, CFG scale: 7.5, Seed: 9"
CIVITAI = (
    SHORT + ', Civitai resources: [{"type":"checkpoint","weight":0.8,"Steps":1},{"type":"lora, too"}], '
    'Civitai metadata: {"remixOfId":1,"Seed: ":3}, Clip skip: 2'
)
FROM_CIVITAI = FROM_A_PROMPT | {
    "civitai_resources": '[{"type":"checkpoint","weight":0.8,"Steps":1},{"type":"lora, too"}]',
    "civitai_metadata": '{"remixOfId":1,"Seed: ":3}',
    "clip_skip": "2",
}
UNNAMED = {"prompt": "a cat", "negative_prompt": "dog", "seed": 9, "num_inference_steps": 25, "cfg_scale": 7.5}
MFLUX = {
    "mflux_version": "0.11.1", "model": "black-forest-labs/FLUX.1-dev", "base_model": "None", "seed": 2, "steps": 25,
    "guidance": 3.5, "width": 1088, "height": 1408, "quantize": 8, "prompt": "a cat",
}  # fmt: skip
FROM_MFLUX = {
    "prompt": "a cat", "model": "black-forest-labs/FLUX.1-dev", "seed": "2", "steps": "25", "guidance": "3.5",
    "size": "1088x1408", "version": "0.11.1",
}  # fmt: skip
POLLINATIONS = {
    "prompt": "a cat", "width": 1024, "height": 768, "seed": 42, "model": "flux", "enhance": False, "nologo": False,
    "negative_prompt": "dog", "nofeed": False, "safe": False,
}  # fmt: skip
FROM_POLLINATIONS = {"prompt": "a cat", "negative_prompt": "dog", "model": "flux", "seed": "42", "size": "1024x768"}
COMFYUI_MEMBERS = {"prompt": json.dumps(COMFYUI), "workflow": json.dumps({"nodes": []})}
JOB = "01234567-89ab-cdef-0123-456789abcdef"


def exif_text(tag: int, text: str, image_format: str) -> bytes:
    return with_exif({tag: text}, image_format=image_format)


def comment(text: str, image_format: str = "JPEG", order: str = "utf-16-be") -> bytes:
    # A tag in the first directory too: Pillow writes no EXIF data into an AVIF that has none there.
    return with_exif({0x010D: "a name"}, {0x9286: user_comment(text, order)}, image_format=image_format)


def windows_text(tag: int) -> bytes:
    """The web UI's text in one of Windows' own tags."""
    return with_exif({tag: INFOTEXT.encode("utf-16-le") + b"\0\0"})


HIDING = small_photo(4, 160, 200)  # large enough for what is not compressed
CASES = [
    ("Stable Diffusion web UI", FROM_INFOTEXT, lambda: png_with_text({"parameters": INFOTEXT})),
    ("Stable Diffusion web UI", FROM_INFOTEXT, lambda: comment(INFOTEXT)),
    ("Stable Diffusion web UI", FROM_INFOTEXT, lambda: comment(INFOTEXT, "WEBP", "utf-16-le")),
    ("Stable Diffusion web UI", FROM_INFOTEXT, lambda: comment(INFOTEXT, "AVIF")),
    ("ComfyUI", FROM_COMFYUI, lambda: png_with_text({"prompt": json.dumps(COMFYUI), "workflow": '{"nodes": []}'})),
    ("ComfyUI", FROM_COMFYUI, lambda: exif_text(0x0110, "prompt:" + json.dumps(COMFYUI), "WEBP")),
    ("ComfyUI", {}, lambda: png_with_text({"workflow": json.dumps({"nodes": [{"type": "KSampler"}]})})),
    ("InvokeAI", FROM_INVOKEAI, lambda: png_with_text({"invokeai_metadata": json.dumps(INVOKEAI)})),
    (
        "InvokeAI",
        {"prompt": "a cat", "model": "sd-v1-4", "steps": "50", "guidance": "7.5", "seed": "12", "sampler": "k_lms",
         "size": "512x512"},
        lambda: png_with_text({"sd-metadata": json.dumps(SD_METADATA)}),
    ),
    (
        "InvokeAI",
        {"prompt": 'a "big" cat', "steps": "50", "seed": "12", "guidance": "7.5", "sampler": "k_lms",
         "size": "512x640"},
        lambda: png_with_text({"Dream": '"a "big" cat" -s 50 -S 12 -W 512 -H 640 -C 7.5 -A k_lms'}),
    ),
    ("NovelAI", FROM_NOVELAI, lambda: png_with_text(NOVELAI)),
    ("Fooocus", FROM_FOOOCUS, lambda: png_with_text({"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"})),
    ("Fooocus", FROM_FOOOCUS, lambda: comment(json.dumps(FOOOCUS))),
    ("Fooocus", FROM_FOOOCUS, lambda: encoded(small_photo(), "JPEG", comment=json.dumps(FOOOCUS))),
    ("Fooocus", FROM_INFOTEXT, lambda: png_with_text({"parameters": INFOTEXT, "fooocus_scheme": "a1111"})),
    ("SwarmUI", FROM_SWARMUI, lambda: png_with_text({"parameters": json.dumps(SWARMUI)})),
    ("SwarmUI", FROM_SWARMUI, lambda: comment(json.dumps(SWARMUI))),
    ("SwarmUI", FROM_SWARMUI, lambda: exif_text(0x0110, json.dumps(SWARMUI), "JPEG")),
    (
        "Easy Diffusion",
        FROM_EASY_DIFFUSION,
        lambda: png_with_text({key: str(value) for key, value in EASY_DIFFUSION.items()}),
    ),
    ("Easy Diffusion", FROM_EASY_DIFFUSION, lambda: comment(json.dumps(EASY_DIFFUSION))),
    (
        "Draw Things",
        FROM_DRAW_THINGS,
        lambda: with_xmp(
            "<exif:UserComment><rdf:Alt><rdf:li xml:lang='x-default'>"
            + json.dumps(DRAW_THINGS)
            + "</rdf:li></rdf:Alt></exif:UserComment>"
        ),
    ),
    *(
        ("ComfyUI", FROM_COMFYUI, make)
        for make in (
            lambda: comment(json.dumps(COMFYUI_MEMBERS)),
            lambda: comment(json.dumps({"prompt": COMFYUI, "workflow": {}}), "WEBP"),
            lambda: comment(json.dumps(COMFYUI_MEMBERS), "AVIF"),
            lambda: exif_text(0x010F, "Prompt: " + json.dumps(COMFYUI), "WEBP"),
            lambda: exif_text(0x010E, "prompt:" + json.dumps(COMFYUI), "JPEG"),
            lambda: encoded(small_photo(), "JPEG", comment=json.dumps(COMFYUI_MEMBERS)),
        )
    ),
    ("ComfyUI", {}, lambda: exif_text(0x010E, 'Workflow: {"nodes": [{"type": "KSampler"}]}', "WEBP")),
    *(
        ("Tensor.Art", FROM_TENSOR_ART, make)
        for make in (
            lambda: png_with_text({"generation_data": json.dumps(TENSOR_ART)}),
            lambda: png_with_text({"generation_data": json.dumps(TENSOR_ART) + "\0"}),
            lambda: comment(json.dumps(TENSOR_ART)),
        )
    ),
    ("RuinedFooocus", FROM_RUINED_FOOOCUS, lambda: png_with_text({"parameters": json.dumps(RUINED_FOOOCUS)})),
    ("RuinedFooocus", FROM_RUINED_FOOOCUS, lambda: comment(json.dumps(RUINED_FOOOCUS), "WEBP")),
    *(
        ("Mochi Diffusion", FROM_MOCHI, make)
        for make in (
            lambda: with_iptc({65: b"Mochi Diffusion", 120: MOCHI.encode()}),
            lambda: png_with_text({"Description": MOCHI}),
            lambda: exif_text(0x010E, MOCHI, "JPEG"),
            lambda: with_xmp(f"<dc:description>{MOCHI.replace('&', '&amp;')}</dc:description>"),
        )
    ),
    *(
        ("Stable Diffusion web UI", FROM_CIVITAI, make)
        for make in (
            lambda: comment(CIVITAI),
            lambda: png_with_text({"parameters": CIVITAI}),
            lambda: with_xmp(f"<dc:description>{CIVITAI}</dc:description>"),
            lambda: with_iptc({120: CIVITAI.encode()}),
            lambda: encoded(small_photo(), "JPEG", comment=CIVITAI),
            lambda: comment(json.dumps({"parameters": CIVITAI})),
        )
    ),
    ("Draw Things", FROM_DRAW_THINGS, lambda: comment(json.dumps(DRAW_THINGS))),
    ("SwarmUI", FROM_SWARMUI, lambda: exif_text(0x010E, json.dumps(SWARMUI), "WEBP")),
    ("NovelAI", FROM_NOVELAI, lambda: comment(json.dumps(NOVELAI), "WEBP")),
    *(
        ("NovelAI", FROM_NOVELAI, partial(with_hidden_text, json.dumps(NOVELAI), signature, image_format, HIDING))
        for signature in ("stealth_pnginfo", "stealth_pngcomp", "stealth_rgbinfo", "stealth_rgbcomp")
        for image_format in ("PNG", "WEBP")
    ),
    ("SwarmUI", FROM_SWARMUI, lambda: with_hidden_text(json.dumps(SWARMUI), "stealth_pngcomp")),
    ("Stable Diffusion web UI", FROM_INFOTEXT, lambda: with_hidden_text(INFOTEXT, "stealth_rgbcomp")),
    (
        "a tool that hides them in the lowest bits of the pixels",
        {"text": "a cat"},
        lambda: with_hidden_text("a cat", "stealth_pnginfo"),
    ),
    ("a tool that does not name itself", FROM_A_PROMPT, lambda: comment(json.dumps(UNNAMED))),
    (
        "a tool that does not name itself",
        FROM_A_PROMPT,
        lambda: png_with_text({key: str(value) for key, value in UNNAMED.items()}),
    ),
    *(
        ("mflux", FROM_MFLUX, make)
        for make in (
            lambda: with_exif({}, {0x9286: json.dumps(MFLUX).encode()}),
            lambda: exif_text(0x9286, json.dumps(MFLUX), "PNG"),
            lambda: png_with_text({"Comment": json.dumps(MFLUX)}),
        )
    ),
    *(
        ("Pollinations", FROM_POLLINATIONS, make)
        for make in (
            lambda: with_exif({0x010F: "flux", 0x9286: json.dumps(POLLINATIONS)}),
            lambda: comment(json.dumps(POLLINATIONS)),
            lambda: exif_text(0x9286, json.dumps(POLLINATIONS), "WEBP"),
        )
    ),
    ("Higgsfield", {"job": JOB}, lambda: png_with_text({"hf-job-id": JOB})),
    (
        "a tool that does not name itself",
        FROM_A_PROMPT,
        lambda: comment(json.dumps({"generationParams": UNNAMED})),
    ),
    (
        "Stable Diffusion web UI",
        {"prompt": "a cat", "steps": "20", "seed": "3", "app": "SD.Next"},
        lambda: comment("a cat\nSteps: 20, Seed: 3, App: SD.Next"),
    ),
    *(
        (
            "Stable Diffusion web UI",
            {"prompt": "a cat", "steps": "20", "size": "512x512", "version": version},
            partial(comment, f"a cat\nSteps: 20, Size: 512x512, Version: {version}"),
        )
        for version in ("v1.10.1", "f2.0.1v1.10.1-previous-664-gd557aef9", "neo", "classic", "ComfyUI")
    ),
    *(("Stable Diffusion web UI", FROM_INFOTEXT, partial(windows_text, tag)) for tag in range(0x9C9B, 0x9CA0)),
    (
        "Midjourney",
        {"prompt": "a cat", "job": JOB, "ar": "16:9", "v": "6.1", "tile": "yes"},
        lambda: png_with_text({"Description": f"a cat --ar 16:9 --tile --v 6.1 Job ID: {JOB}", "Author": "someone"}),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("tool", "parameters", "make"), CASES, ids=[f"{n} {case[0]}" for n, case in enumerate(CASES)])
def test_dialects(tool, parameters, make):
    declared = read(make())
    check(declared)
    found = finding(declared, "generation_parameters")
    assert (found["says"], found["strength"]) == ("generated", "unsigned")
    assert found["values"]["tool"] == tool
    assert found["values"]["parameters"] == parameters


@pytest.mark.parametrize(
    "texts",
    [
        {"parameters": "Steps: 3 to make a cake"},
        {"parameters": "{"},
        {"parameters": "[" * 5000},
        {"prompt": "a plain word"},
        {"prompt": '{"a": 1}'},
        {"Comment": '{"prompt": 3}'},
        {"Description": "a holiday, Job ID: unknown"},
        {"Dream": "of a cat"},
        {"Software": "Example", "Comment": '{"uc": "x"}'},
        {"invokeai_metadata": "null", "sd-metadata": '{"image": [1]}'},
        {"parameters": "The garden. Steps: 199, Seed: poppy"},
        {"parameters": "A walk. Steps: 12000, Sampler: chocolates, Size: large"},
        {"Description": "Include in Image: your logo"},
        {"Comment": '{"prompt": "say cheese", "seed": 3}'},
        {"Comment": '{"workflow": {"nodes": []}}'},
        {"Description": 'workflow: {"a": 1}'},
        {"Description": 'prompt: {"a": {"b": 1}}'},
        {"hf-job-id": "7"},
        {"Comment": f"A print on canvas, Job ID: {JOB}"},
        {"Comment": '{"prompt": "say cheese", "nologo": "none"}'},
        {"Comment": '{"camera": {"prompt": "say cheese", "seed": 3}}'},
        {"Description": "The stairs. Steps: 12, Version: second"},
    ],
)
def test_what_looks_alike_is_left_alone(texts):
    declared = read(png_with_text(texts))
    check(declared)
    assert "generation_parameters" not in sources(declared)


def test_a_text_over_the_bound_is_left_alone():
    text = INFOTEXT + " " * bounds.MAX_PARAMETER_CHARACTERS
    assert "generation_parameters" not in sources(read(png_with_text({"parameters": text})))


def test_long_prompt_is_cut_and_marked():
    found = finding(read(png_with_text({"parameters": "cat " * 5000 + INFOTEXT})), "generation_parameters")
    prompt = found["values"]["parameters"]["prompt"]
    assert len(prompt) == bounds.MAX_TEXT and prompt.endswith("…")
    assert found["truncated"] is True


def test_an_infotext_behind_other_steps():
    text = "Steps: 3 of them, in stone. Steps: 4, sunny. " + INFOTEXT
    parameters = finding(read(png_with_text({"parameters": text})), "generation_parameters")["values"]["parameters"]
    assert (parameters["steps"], parameters["seed"]) == ("20", "1234567890123456789")


@pytest.mark.parametrize("height", [32, 90, 121, 300])
@pytest.mark.parametrize("signature", ["stealth_pngcomp", "stealth_rgbcomp"])
def test_hidden_texts_at_every_height(signature, height):
    data = with_hidden_text(INFOTEXT, signature, image=small_photo(4, 200, height))
    assert finding(read(data), "generation_parameters")["values"]["found_in"].startswith("stealth:")


@pytest.mark.parametrize("filtered", range(5))
def test_hidden_texts_under_every_filter_of_png(filtered):
    """Rows filtered by hand, since an encoder chooses one filter for most rows."""
    with_text = Image.open(io.BytesIO(with_hidden_text(INFOTEXT, "stealth_pngcomp", image=small_photo(4, 200, 130))))
    pixels = np.asarray(with_text).astype(np.int16)
    height, width, count = pixels.shape
    left, above = np.zeros_like(pixels), np.zeros_like(pixels)
    corner = np.zeros_like(pixels)
    left[:, 1:], above[1:], corner[1:, 1:] = pixels[:, :-1], pixels[:-1], pixels[:-1, :-1]
    estimate = left + above - corner
    distances = np.stack([abs(estimate - one) for one in (left, above, corner)])
    paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
    predicted = (0, left, above, (left + above) // 2, paeth)[filtered]
    rows = ((pixels - predicted) % 256).astype(np.uint8).reshape(height, width * count)
    body = zlib.compress(b"".join(bytes([filtered]) + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    )
    assert finding(read(data), "generation_parameters")["values"]["found_in"] == "stealth:alpha"


@pytest.mark.parametrize("signature", ["stealth_pngcomp", "stealth_rgbcomp"])
def test_a_hidden_text_over_the_bound_is_noted(signature, monkeypatch):
    monkeypatch.setattr("imagetrust.provenance.stealth.MAX_HIDDEN_BYTES", 2000)
    for text in ("a" * 100_000, "".join(map(str, range(2000)))):  # too large unpacked, and packed
        declared = read(with_hidden_text(text, signature, image=small_photo(4, 300, 300)))
        assert [note["source"] for note in declared["unreadable"]] == ["stealth"]


def test_pixels_without_a_signature_are_not_decoded_again(monkeypatch):
    monkeypatch.setattr("imagetrust.provenance.stealth._hidden", lambda *_: pytest.fail("was decoded"))
    for mode in ("RGB", "RGBA", "L", "P"):
        assert "generation_parameters" not in sources(read(encoded(small_photo().convert(mode), "PNG")))
