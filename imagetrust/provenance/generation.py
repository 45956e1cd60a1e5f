"""Recognises and parses the parameters that generators of images leave in a file's texts.

One recogniser for each tool, in RECOGNISERS. Each is given all texts by where they stand ("png_text:parameters",
"exif:UserComment", ...) and returns where it found its parameters and the parameters, or None. The common names of
parameters are prompt, negative_prompt, model, sampler, steps, guidance, seed and size; values are text, since a
seed of 64 bits is no number in every reader of JSON.

The layouts are those that the tools write: AUTOMATIC1111/stable-diffusion-webui (modules/infotext_utils.py),
comfyanonymous/ComfyUI (nodes.py, SaveImage), invoke-ai/InvokeAI (docs on metadata), lllyasviel/Fooocus
(modules/meta_parser.py), mcmonkeyprojects/SwarmUI (docs/Image Metadata Format.md), easydiffusion
(ui/easydiffusion/utils/save_utils.py), and for NovelAI, Draw Things and Midjourney their files.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from imagetrust.provenance.bounds import MAX_PARAMETER_CHARACTERS
from imagetrust.provenance.finding import NOTHING, Finding, Reading

Texts = Mapping[str, str]
Found = tuple[str, dict[str, str]]  # where the parameters stand, and the parameters


def read_generation_parameters(texts: Texts) -> Reading:
    """One finding of the first tool that recognises its parameters among the texts."""
    bounded = {place: text for place, text in texts.items() if 0 < len(text) <= MAX_PARAMETER_CHARACTERS}
    for tool, recognise in RECOGNISERS.items():
        if found := recognise(bounded):
            place, parameters = found
            values = {"tool": tool, "found_in": place, "parameters": {k: v for k, v in parameters.items() if v}}
            detail = f"The file carries generation parameters of {tool}."
            return Reading((Finding("generation_parameters", "generated", detail, values),))
    return NOTHING


def _swarmui(texts: Texts) -> Found | None:
    for place in ("png_text:parameters", "exif:UserComment", "exif:Model"):
        if isinstance(data := _json(texts.get(place)).get("sui_image_params"), Mapping):
            return place, _renamed(
                data, negativeprompt="negative_prompt", cfgscale="guidance", swarm_version="version"
            ) | _size(data)
    return None


def _fooocus(texts: Texts) -> Found | None:
    for place in ("png_text:parameters", "png_text:Comment", "exif:UserComment", "jpeg_comment:"):
        data = _json(texts.get(place))
        if "prompt" in data and ("base_model" in data or "Fooocus" in str(data.get("version", ""))):
            return place, _renamed(data, base_model="model", guidance_scale="guidance", resolution="size")
    if "png_text:fooocus_scheme" in texts and (parameters := _infotext(texts.get("png_text:parameters", ""))):
        return "png_text:parameters", parameters
    return None


def _invokeai(texts: Texts) -> Found | None:
    if data := _json(texts.get("png_text:invokeai_metadata")):
        model = data.get("model")
        named = {"model": (model.get("name") or model.get("model_name")) if isinstance(model, Mapping) else model}
        return "png_text:invokeai_metadata", _renamed(
            {**data, **named},
            positive_prompt="prompt",
            cfg_scale="guidance",
            scheduler="sampler",
            app_version="version",
        ) | _size(data)
    if isinstance(image := _json(texts.get("png_text:sd-metadata")).get("image"), Mapping):
        prompt = image.get("prompt")
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], Mapping):
            prompt = prompt[0].get("prompt")
        model = _json(texts["png_text:sd-metadata"]).get("model_weights")
        data = {**image, "prompt": prompt, "model": model}
        return "png_text:sd-metadata", _renamed(data, cfg_scale="guidance") | _size(data)
    if dream := re.fullmatch(r'\s*"(.*)"((?:\s+-\S.*)?)', texts.get("png_text:Dream", ""), re.DOTALL):
        flags = dict(re.findall(r"-([sSWHCA])\s*(\S+)", dream[2]))
        letters = {"s": "steps", "S": "seed", "C": "guidance", "A": "sampler"}
        parameters = {"prompt": dream[1]} | {name: flags[letter] for letter, name in letters.items() if letter in flags}
        if {"W", "H"} <= flags.keys():
            parameters["size"] = f"{flags['W']}x{flags['H']}"
        return "png_text:Dream", parameters
    return None


def _novelai(texts: Texts) -> Found | None:
    if texts.get("png_text:Software") != "NovelAI":
        return None
    data = _json(texts.get("png_text:Comment"))
    parameters = _renamed(data, uc="negative_prompt", scale="guidance") | _size(data)
    described = {"prompt": texts.get("png_text:Description", ""), "model": texts.get("png_text:Source", "")}
    return "png_text:Comment", described | parameters


def _easy_diffusion(texts: Texts) -> Found | None:
    chunks = {place.partition(":")[2]: text for place, text in texts.items() if place.startswith("png_text:")}
    for place, data in (("png_text:prompt", chunks), ("exif:UserComment", _json(texts.get("exif:UserComment")))):
        # Some files hold the names that the program shows: "Negative Prompt", "Stable Diffusion model".
        named = {str(key).lower().replace(" ", "_"): value for key, value in data.items()}
        model = named.get("use_stable_diffusion_model") or named.get("stable_diffusion_model")
        if model and "prompt" in named:
            named["model"] = model
            return place, _renamed(
                named, sampler_name="sampler", num_inference_steps="steps", guidance_scale="guidance"
            ) | _size(named)
    return None


def _draw_things(texts: Texts) -> Found | None:
    data = _json(texts.get("xmp:exif:UserComment"))
    if "c" not in data or "sampler" not in data:
        return None
    return "xmp:exif:UserComment", _renamed(data, c="prompt", uc="negative_prompt", scale="guidance")


def _comfyui(texts: Texts) -> Found | None:
    # Its nodes for WebP write "prompt:{...}" and "workflow:{...}" into EXIF fields meant for the camera.
    for place in ("png_text:prompt", "exif:Model", "exif:Make", "exif:ImageDescription", "exif:UserComment"):
        nodes = _json(texts.get(place, "").removeprefix("prompt:").removeprefix("Prompt:"))
        if any(isinstance(node, Mapping) and "class_type" in node for node in nodes.values()):
            return place, _comfyui_parameters(nodes)
    for place in ("png_text:workflow", "exif:Make", "exif:ImageDescription"):
        if isinstance(
            _json(texts.get(place, "").removeprefix("workflow:").removeprefix("Workflow:")).get("nodes"), list
        ):
            return place, {}
    return None


def _web_ui(texts: Texts) -> Found | None:
    for place in ("png_text:parameters", "exif:UserComment", "exif:ImageDescription", "jpeg_comment:"):
        if parameters := _infotext(texts.get(place, "")):
            return place, parameters
    return None


def _midjourney(texts: Texts) -> Found | None:
    for place in ("png_text:Description", "exif:ImageDescription", "xmp:dc:description"):
        text = texts.get(place, "")
        if job := re.search(r"\bJob ID: ([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})", text):
            prompt, *options = re.split(r"\s--(?=[a-z])", text[: job.start()].strip())
            parameters = {"prompt": prompt.strip(), "job": job[1]}
            for option in options:
                name, _, value = option.strip().partition(" ")
                parameters[name] = value or "yes"
            return place, parameters
    return None


# In this order: what shares a place with another tool and says more of itself comes first.
RECOGNISERS: Mapping[str, Callable[[Texts], Found | None]] = {
    "SwarmUI": _swarmui,
    "Fooocus": _fooocus,
    "InvokeAI": _invokeai,
    "NovelAI": _novelai,
    "Easy Diffusion": _easy_diffusion,
    "Draw Things": _draw_things,
    "Stable Diffusion web UI": _web_ui,
    "ComfyUI": _comfyui,
    "Midjourney": _midjourney,
}

_COMMON = ("prompt", "negative_prompt", "model", "sampler", "steps", "guidance", "seed", "size", "version", "scheduler")
_INFOTEXT_NAMES = {"CFG scale": "guidance"}


def _json(text: str | None) -> Mapping[str, Any]:
    """Return the object that a text holds; an empty one where it holds none."""
    if not text or not text.lstrip().startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _renamed(data: Mapping[str, Any], **names: str) -> dict[str, str]:
    """Return the common parameters of an object, those given under the tool's own name renamed."""
    found = {names.get(str(key), str(key)): value for key, value in data.items()}
    return {
        name: found[name] if isinstance(found[name], str) else json.dumps(found[name])
        for name in _COMMON
        if found.get(name) not in (None, "", [], {})
    }


def _size(data: Mapping[str, Any]) -> dict[str, str]:
    return {"size": f"{data['width']}x{data['height']}"} if {"width", "height"} <= data.keys() else {}


def _infotext(text: str) -> dict[str, str]:
    """Return the web UI's text: prompt, "Negative prompt: ...", and a last line "Steps: 20, Sampler: Euler a, ..."."""
    start = text.rfind("Steps: ")
    if start < 0 or not any(name in text[start:] for name in ("Sampler: ", "CFG scale: ", "Seed: ")):
        return {}
    prompt, _, negative = text[:start].partition("Negative prompt:")
    parameters = {"prompt": prompt.strip(), "negative_prompt": negative.strip()}
    for name, value in _infotext_items(text[start:]):
        parameters.setdefault(_INFOTEXT_NAMES.get(name, name.lower().replace(" ", "_")), value)
    return parameters


def _infotext_items(line: str) -> Iterator[tuple[str, str]]:
    """Name and value of "Name: value, Name: "quoted, value", ..."."""
    for item in re.finditer(r'([A-Za-z][\w /-]{0,60}): *("(?:[^"\\]|\\.)*"|[^,\n]*)', line):
        value = item[2].strip()
        yield item[1].strip(), value[1:-1] if value.startswith('"') and value.endswith('"') else value


def _comfyui_parameters(nodes: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of the first sampler in the graph, and the prompts that it is wired to."""
    inputs = {
        str(number): node["inputs"]
        for number, node in nodes.items()
        if isinstance(node, Mapping) and isinstance(node.get("inputs"), Mapping)
    }
    parameters: dict[str, Any] = {}
    for values in inputs.values():
        if "positive" in values and ("seed" in values or "noise_seed" in values or "steps" in values):
            parameters["prompt"] = _wired_text(inputs, values["positive"])
            parameters["negative_prompt"] = _wired_text(inputs, values.get("negative"))
            break
    for name, keys in {
        "seed": ("seed", "noise_seed"),
        "steps": ("steps",),
        "guidance": ("cfg", "guidance"),
        "sampler": ("sampler_name",),
        "scheduler": ("scheduler",),
        "model": ("ckpt_name", "unet_name"),
    }.items():
        for values in inputs.values():
            literal = next((values[key] for key in keys if isinstance(values.get(key), (str, int, float))), None)
            if literal is not None:
                parameters[name] = str(literal)
                break
    if not parameters.get("prompt"):
        texts = (values.get("text") for values in inputs.values())
        parameters["prompt"] = next((text for text in texts if isinstance(text, str) and text), "")
    return parameters


def _wired_text(inputs: Mapping[str, Mapping[str, Any]], wire: Any) -> str:
    """Return the text at the end of a wire [node, output], through the nodes that only pass a conditioning on."""
    for _ in range(8):
        if not isinstance(wire, list) or not wire:
            break
        values = inputs.get(str(wire[0]), {})
        for key in ("text", "text_g", "prompt", "conditioning", "positive", "string", "value"):
            if key in values:
                wire = values[key]
                break
        else:
            return ""
    return wire if isinstance(wire, str) else ""
