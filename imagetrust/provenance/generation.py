"""Recognises and parses the parameters that generators of images leave in a file's texts.

Each text is looked at by itself, wherever it stands ("png_text:parameters", "exif:UserComment", "stealth:alpha", ...),
since savers and services move the same text from one field to another. What is spread over several of a PNG's texts has
a recogniser of its own. The common names of parameters are prompt, negative_prompt, model, sampler, steps, guidance,
seed and size; values are text, since a seed of 64 bits is no number in every reader of JSON.

The layouts are those that the tools write: AUTOMATIC1111/stable-diffusion-webui (modules/infotext_utils.py),
comfyanonymous/ComfyUI (nodes.py, SaveImage), invoke-ai/InvokeAI (docs on metadata), lllyasviel/Fooocus
(modules/meta_parser.py), runew0lf/RuinedFooocus (modules/imagesave), mcmonkeyprojects/SwarmUI (docs/Image Metadata
Format.md), easydiffusion (ui/easydiffusion/utils/save_utils.py), godly-devotion/MochiDiffusion (SDImage's metadata),
filipstrand/mflux (utils/generated_image.py), pollinations/pollinations (image.pollinations.ai, writeExifMetadata.js),
and for NovelAI, Draw Things, Tensor.Art, Midjourney and Higgsfield their files.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imagetrust.provenance.bounds import MAX_PARAMETER_CHARACTERS, MAX_VALUES
from imagetrust.provenance.finding import NOTHING, Finding, Reading

Texts = Mapping[str, str]
Parameters = dict[str, str]
Found = tuple[str, Parameters]  # where the parameters stand, and the parameters
Object = Mapping[str, Any]
Objects = Mapping[str, Object]  # by the place of the text that holds it

_PNG = "png_text:"
_HIDDEN = "stealth:"  # places of texts that imagetrust/provenance/stealth.py finds
_MAX_CHARACTERS = 4 * MAX_PARAMETER_CHARACTERS  # of all texts together


def read_generation_parameters(texts: Texts) -> Reading:
    """One finding of the first tool that recognises its parameters among the texts."""
    bounded: dict[str, str] = {}
    left = _MAX_CHARACTERS
    for place, text in texts.items():
        if 0 < len(text) <= min(MAX_PARAMETER_CHARACTERS, left):
            bounded[place] = text.strip("\0")
            left -= len(text)
    objects = {place: data for place, text in bounded.items() if (data := _json(text))}
    # What a tool spreads over several texts of a PNG is an object as well.
    objects["png_text:"] = {place.removeprefix(_PNG): text for place, text in bounded.items() if place.startswith(_PNG)}
    for tool, recognise in RECOGNISERS.items():
        if found := recognise(bounded, objects):
            place, parameters = found
            values = {"tool": tool, "found_in": place, "parameters": {k: v for k, v in parameters.items() if v}}
            detail = f"The file carries generation parameters of {tool}."
            finding = Finding("generation_parameters", "generated", detail, values, evidence="signature")
            return Reading((finding,))
    return NOTHING


@dataclass(frozen=True)
class _Layout:
    """An object of JSON that a tool writes, wherever it stands.

    needs: by which members it is told apart, one of several sets: of each the type, or what its text must contain.
    names: what the tool calls the common parameters. inside: the member that holds them, where one does.
    """

    needs: tuple[Mapping[str, type | str], ...]
    names: Mapping[str, str]
    inside: str = ""

    def __call__(self, texts: Texts, objects: Objects) -> Found | None:
        for place, data in objects.items():
            if any(all(_fits(data.get(name), form) for name, form in need.items()) for need in self.needs):
                inner = data[self.inside] if self.inside else data
                return place, _renamed(inner, self.names) | _size(inner)
        return None


def _fits(value: object, form: type | str) -> bool:
    if isinstance(form, str):
        return form in str(value)[:4096]
    return value is not None and isinstance(value, form)


_SWARMUI = _Layout(
    ({"sui_image_params": dict},),
    {"negativeprompt": "negative_prompt", "cfgscale": "guidance", "swarm_version": "version"},
    inside="sui_image_params",
)
_RUINED_FOOOCUS = _Layout(
    ({"software": "RuinedFooocus"}, {"Prompt": str, "base_model_name": str}),
    {
        "Prompt": "prompt", "Negative": "negative_prompt", "cfg": "guidance", "base_model_name": "model",
        "sampler_name": "sampler",
    },
)  # fmt: skip
_FOOOCUS = _Layout(
    (
        {"prompt": object, "base_model": object},
        {"prompt": object, "version": "Fooocus"},
        {"prompt": object, "software": "Fooocus"},
    ),
    {
        "base_model": "model", "base_model_name": "model", "guidance_scale": "guidance", "cfg": "guidance",
        "resolution": "size",
    },
)  # fmt: skip
_EASY_DIFFUSION = _Layout(
    (
        {"prompt": object, "use_stable_diffusion_model": str},
        {"prompt": object, "stable_diffusion_model": str},
        {"Prompt": object, "Stable Diffusion model": str},  # the names that the program shows
    ),
    {
        "use_stable_diffusion_model": "model", "stable_diffusion_model": "model", "sampler_name": "sampler",
        "num_inference_steps": "steps", "guidance_scale": "guidance", "Stable Diffusion model": "model",
        "Prompt": "prompt", "Negative Prompt": "negative_prompt", "Sampler": "sampler", "Guidance Scale": "guidance",
        "Inference Steps": "steps", "Seed": "seed",
    },
)  # fmt: skip
_MFLUX = _Layout(({"mflux_version": str, "prompt": str},), {"mflux_version": "version"})
_POLLINATIONS = _Layout(({"prompt": str, "nologo": bool},), {})
_DRAW_THINGS = _Layout(({"c": str, "sampler": str},), {"c": "prompt", "uc": "negative_prompt", "scale": "guidance"})
_TENSOR_ART = _Layout(
    ({"prompt": str, "workEngine": str}, {"prompt": str, "models": "BASE_MODEL"}, {"prompt": str, "baseModel": dict}),
    {"negativePrompt": "negative_prompt", "cfgScale": "guidance", "samplerName": "sampler"},
)
# What tools that nobody lists call the parameters that only a generator takes.
_UNNAMED = {
    "negative_prompt": "negative_prompt", "negativePrompt": "negative_prompt", "seed": "seed", "steps": "steps",
    "num_inference_steps": "steps", "cfg": "guidance", "cfg_scale": "guidance", "cfgScale": "guidance",
    "guidance": "guidance", "guidance_scale": "guidance", "sampler": "sampler", "sampler_name": "sampler",
    "scheduler": "scheduler",
}  # fmt: skip
_ENOUGH = 3  # of them beside a prompt


def _fooocus(texts: Texts, objects: Objects) -> Found | None:
    if found := _FOOOCUS(texts, objects):
        return found
    if "png_text:fooocus_scheme" in texts and (parameters := _infotext(texts.get("png_text:parameters", ""))):
        return "png_text:parameters", parameters
    return None


def _invokeai(texts: Texts, objects: Objects) -> Found | None:
    for place, data in objects.items():
        is_its_own = place == "png_text:invokeai_metadata" or {"positive_prompt", "app_version"} <= data.keys()
        if not is_its_own:
            continue
        model = data.get("model")
        named = {"model": (model.get("name") or model.get("model_name")) if isinstance(model, Mapping) else model}
        names = {
            "positive_prompt": "prompt", "cfg_scale": "guidance", "scheduler": "sampler", "app_version": "version",
        }  # fmt: skip
        return place, _renamed({**data, **named}, names) | _size(data)
    old = objects.get("png_text:sd-metadata", {})
    if isinstance(image := old.get("image"), Mapping):
        prompt = image.get("prompt")
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], Mapping):
            prompt = prompt[0].get("prompt")
        data = {**image, "prompt": prompt, "model": old.get("model_weights")}
        return "png_text:sd-metadata", _renamed(data, {"cfg_scale": "guidance"}) | _size(data)
    if dream := re.fullmatch(r'\s*"(.*)"((?:\s+-\S.*)?)', texts.get("png_text:Dream", ""), re.DOTALL):
        flags = dict(re.findall(r"-([sSWHCA])\s*(\S+)", dream[2]))
        letters = {"s": "steps", "S": "seed", "C": "guidance", "A": "sampler"}
        parameters = {"prompt": dream[1]} | {name: flags[letter] for letter, name in letters.items() if letter in flags}
        if {"W", "H"} <= flags.keys():
            parameters["size"] = f"{flags['W']}x{flags['H']}"
        return "png_text:Dream", parameters
    return None


def _novelai(texts: Texts, objects: Objects) -> Found | None:
    """Its PNG texts; in a WebP and in the lowest bits the same members are one object."""
    for place, chunks in objects.items():
        if chunks.get("Software") != "NovelAI":
            continue
        comment = chunks.get("Comment")
        data = comment if isinstance(comment, Mapping) else _json(comment if isinstance(comment, str) else None)
        described = _renamed(chunks, {"Description": "prompt", "Source": "model"})
        names = {"uc": "negative_prompt", "scale": "guidance"}
        return place, described | _renamed(data, names) | _size(data)
    return None


def _mochi_diffusion(texts: Texts, objects: Objects) -> Found | None:
    for place, text in texts.items():
        if text.lstrip().startswith("Include in Image:") and "Generator:" in text:
            # Prompts may hold semicolons of their own.
            pieces = re.split(rf"(?:^\s*|;\s*)({'|'.join(_MOCHI_NAMES)}): ?", text)
            found = {_MOCHI_NAMES[name]: value.strip() for name, value in zip(pieces[1::2], pieces[2::2], strict=True)}
            return place, {name: value for name, value in found.items() if name}
    return None


_MOCHI_NAMES = {
    "Include in Image": "prompt", "Exclude from Image": "negative_prompt", "Model": "model", "Steps": "steps",
    "Guidance Scale": "guidance", "Seed": "seed", "Size": "size", "Scheduler": "scheduler", "Generator": "version",
    "Upscaler": "", "ML Compute Unit": "", "Starting Image": "", "Strength": "",
}  # fmt: skip


def _comfyui(texts: Texts, objects: Objects) -> Found | None:
    graphs = list(_graphs(texts, objects))
    for place, _, graph in graphs:
        if any(isinstance(node, Mapping) and "class_type" in node for node in graph.values()):
            return place, _comfyui_parameters(graph)
    for place, name, graph in graphs:
        nodes = graph.get("nodes")
        if name == "workflow" and isinstance(nodes, list) and (place == f"{_PNG}workflow" or _are_nodes(nodes)):
            return place, {}
    return None


def _graphs(texts: Texts, objects: Objects) -> Iterator[tuple[str, str, Object]]:
    """Place, name and object of what may be a graph.

    A text called so, one that begins with its name, as savers write into the fields for a camera, or a member of an
    object, text or object itself.
    """
    for place, text in texts.items():
        if labelled := re.match(r"\s*(prompt|workflow)\s*:\s*(?=\{)", text, re.IGNORECASE):
            yield place, labelled[1].lower(), _json(text[labelled.end() :])
    for place, data in objects.items():
        yield place, place.rpartition(":")[2].lower(), data
        for name in ("prompt", "workflow"):
            inner = data.get(name)
            yield place, name, inner if isinstance(inner, Mapping) else _json(inner if isinstance(inner, str) else None)


def _are_nodes(nodes: list[Any]) -> bool:
    return any(isinstance(node, Mapping) and "type" in node for node in nodes[:MAX_VALUES])


def _web_ui(texts: Texts, objects: Objects) -> Found | None:
    inner = {
        place: text
        for place, data in objects.items()
        if place != _PNG and isinstance(text := data.get("parameters"), str)
    }
    for place, text in (*texts.items(), *inner.items()):
        if parameters := _infotext(text):
            return place, parameters
    return None


def _midjourney(texts: Texts, objects: Objects) -> Found | None:
    for place, text in texts.items():
        job = _JOB.search(text)
        prompt, *options = re.split(r"\s--(?=[a-z])", text[: job.start()].strip() if job else "")
        if job and (options or place == f"{_PNG}Description"):  # print houses number their jobs too
            parameters = {"prompt": prompt.strip(), "job": job[1]}
            for option in options[:MAX_VALUES]:
                name, _, value = option.strip().partition(" ")
                parameters[name] = value or "yes"
            return place, parameters
    return None


def _higgsfield(texts: Texts, objects: Objects) -> Found | None:
    """Find the job's identifier, which its PNG files have under this keyword, whichever model made them."""
    place = f"{_PNG}hf-job-id"
    return (place, {"job": texts[place]}) if _UUID.fullmatch(texts.get(place, "")) else None


def _unnamed(texts: Texts, objects: Objects) -> Found | None:
    for place, whole in objects.items():
        inner = [value for value in list(whole.values())[:MAX_VALUES] if isinstance(value, Mapping)]
        for data in (whole, *inner):
            parameters = _renamed(data, _UNNAMED)
            if isinstance(data.get("prompt"), str) and len(parameters.keys() & set(_UNNAMED.values())) >= _ENOUGH:
                return place, parameters | _size(data)
    return None


def _hidden(texts: Texts, objects: Objects) -> Found | None:
    for place, text in texts.items():
        if place.startswith(_HIDDEN) and text.strip():
            return place, {"text": text}
    return None


# In this order: what says more of itself comes first.
RECOGNISERS: Mapping[str, Callable[[Texts, Objects], Found | None]] = {
    "SwarmUI": _SWARMUI,
    "mflux": _MFLUX,
    "Pollinations": _POLLINATIONS,
    "RuinedFooocus": _RUINED_FOOOCUS,
    "Fooocus": _fooocus,
    "InvokeAI": _invokeai,
    "NovelAI": _novelai,
    "Easy Diffusion": _EASY_DIFFUSION,
    "Draw Things": _DRAW_THINGS,
    "Tensor.Art": _TENSOR_ART,
    "Mochi Diffusion": _mochi_diffusion,
    "Stable Diffusion web UI": _web_ui,
    "ComfyUI": _comfyui,
    "Midjourney": _midjourney,
    "Higgsfield": _higgsfield,
    "a tool that does not name itself": _unnamed,
    "a tool that hides them in the lowest bits of the pixels": _hidden,
}

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_JOB = re.compile(rf"\bJob ID: ({_UUID.pattern})")
_COMMON = ("prompt", "negative_prompt", "model", "sampler", "steps", "guidance", "seed", "size", "version", "scheduler")
_INFOTEXT_NAMES = {"CFG scale": "guidance"}
# What the web UI writes behind "Steps: 20", with the form of each. Captions have one of them by chance.
_INFOTEXT_FORMS = {
    "Sampler": re.compile(r"\S.*"),
    "CFG scale": re.compile(r"\d+(?:\.\d+)?"),
    "Seed": re.compile(r"-?\d+"),
    "Size": re.compile(r"\d+x\d+"),
    "Model hash": re.compile(r"[0-9a-fA-F]{6,64}"),
    "Version": re.compile(r"(?:v\d|f\d|neo|classic|ComfyUI)[\w.+-]*"),  # the web UI's, Forge's, its forks' and savers'
    "App": re.compile(r"SD\.Next"),
}
_ENOUGH_FORMS = 2
_INFOTEXT_NAME = re.compile(r"([A-Za-z][\w /-]{0,60}): *")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_PLAIN = re.compile(r"[^,\n]*")
_MAX_STARTS = 8  # of a text, at which its last line is tried, from the end
_MAX_INFOTEXT_ITEMS = 4 * MAX_VALUES
_DECODER = json.JSONDecoder()


def _json(text: str | None) -> Mapping[str, Any]:
    """Return the object that a text holds; an empty one where it holds none."""
    if not text or not text.lstrip().startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _renamed(data: Object, names: Mapping[str, str]) -> Parameters:
    """Return the common parameters of an object, those given under the tool's own names renamed."""
    found = {names.get(str(key), str(key)): value for key, value in data.items()}
    return {
        name: found[name] if isinstance(found[name], str) else json.dumps(found[name])
        for name in _COMMON
        if found.get(name) not in (None, "", [], {})
    }


def _size(data: Object) -> Parameters:
    return {"size": f"{data['width']}x{data['height']}"} if {"width", "height"} <= data.keys() else {}


def _infotext(text: str) -> Parameters:
    """Return the web UI's text: prompt, "Negative prompt: ...", and a last line "Steps: 20, Sampler: Euler a, ..."."""
    for found in reversed(list(re.finditer(r"\bSteps: (?=\d)", text))[-_MAX_STARTS:]):  # prompts may speak of steps
        items = list(_infotext_items(text[found.start() :]))
        if _is_infotext(dict(reversed(items))):
            prompt, _, negative = text[: found.start()].partition("Negative prompt:")
            parameters = {"prompt": prompt.strip(), "negative_prompt": negative.strip()}
            for name, value in items:
                parameters.setdefault(_INFOTEXT_NAMES.get(name, name.lower().replace(" ", "_")), value)
            return parameters
    return {}


def _is_infotext(items: Mapping[str, str]) -> bool:
    forms = sum(bool(form.fullmatch(items.get(name, ""))) for name, form in _INFOTEXT_FORMS.items())
    return items.get("Steps", "").isdecimal() and forms >= _ENOUGH_FORMS


def _infotext_items(line: str) -> Iterator[tuple[str, str]]:
    """Name and value of 'Name: value, Name: "quoted, value", Name: [{"json": 1}], ...'."""
    position = 0
    for _ in range(_MAX_INFOTEXT_ITEMS):
        named = _INFOTEXT_NAME.search(line, position)
        if not named:
            return
        value, position = _infotext_value(line, named.end())
        yield named[1].strip(), value


def _infotext_value(line: str, start: int) -> tuple[str, int]:
    if line[start : start + 1] in ("[", "{"):
        try:
            _, end = _DECODER.raw_decode(line, start)
        except (ValueError, RecursionError):
            pass
        else:
            return line[start:end], end
    if quoted := _QUOTED.match(line, start):
        return quoted[1], quoted.end()
    plain = _PLAIN.match(line, start)
    return (plain[0].strip(), plain.end()) if plain else ("", start)


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
