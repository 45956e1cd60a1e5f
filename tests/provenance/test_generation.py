"""The parameters of each generator, in the layouts that they write."""

import json

import pytest

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
JOB = "01234567-89ab-cdef-0123-456789abcdef"


def exif_text(tag: int, text: str, image_format: str) -> bytes:
    return with_exif({tag: text}, image_format=image_format)


def comment(text: str, image_format: str = "JPEG", order: str = "utf-16-be") -> bytes:
    # A tag in the first directory too: Pillow writes no EXIF data into an AVIF that has none there.
    return with_exif({0x010D: "a name"}, {0x9286: user_comment(text, order)}, image_format=image_format)


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
