"""Where a manifest of C2PA states what kind of source the image has, and which models took part.

Actions and their parameters, ingredients, assertions of metadata, and assertions of vendors from before there was a
place for it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from imagetrust.provenance.bounds import MAX_ITEMS
from imagetrust.provenance.finding import Says
from imagetrust.provenance.statements import ROLES, Role, camera_named
from imagetrust.provenance.vocabulary import generator_named, names_something

Manifest = Mapping[str, Any]

_ACTIONS = ("c2pa.actions", "c2pa.actions.v2")
_METADATA = ("stds.exif", "stds.iptc", "c2pa.metadata", "cawg.metadata")
# Assertions that say by their label that a generative model made the image: Firefly's of 2023 and Black Forest Labs'.
_GENERATED = ("com.adobe.generative-ai", "c2pa.ai_generated_content")
# C2PA 2.4, 18.28: a model took part. The source type says in what; without one that stays open.
_DISCLOSURE = "c2pa.ai-disclosure"
# By the last part of a parameter's name, which begins with its vendor: com.adobe.digitalSourceType says for a picture
# by a partner's model what the action's own member says otherwise, com.adobe.details names the model.
_SOURCE_TYPE = "digitalsourcetype"
_MODEL_PARAMETERS = ("details", "modelid", "modelname")
_ROLE_OF_FIELD: Mapping[str, Role] = {
    name.rpartition(":")[2].lower(): role
    for role, names in ROLES["xmp"].items()
    if role in ("source_type", "ai", "maker", "model")
    for name in names
}


def actions(manifest: Manifest) -> list[Mapping[str, Any]]:
    """Return the actions of a manifest, each with what its template and the list of agents add to it."""
    return [action for data in _assertions(manifest, _ACTIONS) for action in _actions_of(data)]


def agent(action: Mapping[str, Any]) -> str:
    """Return name and version of the program that performed an action; empty where it names none."""
    return _named(action.get("softwareAgent"))


def generator(manifest: Manifest) -> str:
    """Return the program that wrote the claim: a list of names since claim version 1.3, a line of text before."""
    for info in (manifest.get("claim_generator_info") or [])[:MAX_ITEMS]:
        if isinstance(info, Mapping) and info.get("name"):
            return _named(info)
    return str(manifest.get("claim_generator") or "")


def source_type_of(action: Mapping[str, Any]) -> str:
    """Return the source type that an action states, itself or in a vendor's parameter; empty where it states none."""
    own = action.get("digitalSourceType")
    return own if isinstance(own, str) else next(_parameters(action, (_SOURCE_TYPE,)), "")


def source_types(manifest: Manifest) -> Iterator[str]:
    """Yield the source types of the image itself, in every place of a manifest."""
    for action in actions(manifest):
        if uri := source_type_of(action):
            yield uri
    yield from _of_ingredients(manifest, "parentOf")
    for data in _assertions(manifest, _METADATA):
        yield from _fields(data).get("source_type", [])


def placed_source_types(manifest: Manifest) -> Iterator[str]:
    """Yield the source types of the pictures that were placed in the image."""
    yield from _of_ingredients(manifest, "componentOf")


def says_beside_source_types(manifest: Manifest) -> Says:
    """Return what a manifest says of a generative model without a source type; "nothing" where it does not."""
    if any(True for _ in _assertions(manifest, _GENERATED)):
        return "generated"
    if any(names_something(text) for data in _assertions(manifest, _METADATA) for text in _fields(data).get("ai", [])):
        return "generated"
    creators = [agent(action) for action in actions(manifest) if action.get("action") == "c2pa.created"]
    if any(map(generator_named, (*creators, generator(manifest)))):
        return "generated"
    return "possibly_generated" if any(True for _ in _assertions(manifest, (_DISCLOSURE,))) else "nothing"


def names_camera(manifest: Manifest) -> bool:
    """Whether an assertion of metadata names a camera, in any spelling: "tiff:Make", "EXIF:Make"."""
    fields = [_fields(data) for data in _assertions(manifest, _METADATA)]
    makers, models = ([text for one in fields for text in one.get(role, [])] for role in _DEVICE)
    return bool(makers) and bool(camera_named(makers[0], models[0] if models else ""))


def models(manifest: Manifest) -> Iterator[str]:
    """Yield the models that a manifest names as having made the image or a part of it."""
    for action in actions(manifest):
        if source_type_of(action):
            yield from _parameters(action, _MODEL_PARAMETERS)
    for data in _assertions(manifest, _GENERATED):
        yield " ".join(str(data[key]) for key in ("description", "version") if data.get(key))
    for data in _assertions(manifest, (_DISCLOSURE,)):
        yield str(data.get("modelName") or data.get("modelIdentifier") or "")


_DEVICE: tuple[Role, Role] = ("maker", "model")


def _assertions(manifest: Manifest, labels: tuple[str, ...]) -> Iterator[Mapping[str, Any]]:
    for assertion in manifest.get("assertions", []):
        # Several of one kind are numbered: "stds.exif__1".
        if str(assertion.get("label")).partition("__")[0] in labels and isinstance(assertion.get("data"), Mapping):
            yield assertion["data"]


def _actions_of(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the actions of one assertion. Templates and agents stand beside them since version 2 (C2PA 2.2, 18.15)."""
    agents = data.get("softwareAgents")
    templates = {
        template.get("action"): template for template in data.get("templates") or [] if isinstance(template, Mapping)
    }
    for action in data.get("actions", []):
        if not isinstance(action, Mapping):
            continue
        added = dict(templates.get("*") or {}) | dict(templates.get(action.get("action")) or {})
        whole = {name: added[name] for name in ("digitalSourceType", "softwareAgent") if name in added} | dict(action)
        index = whole.get("softwareAgentIndex")
        if isinstance(agents, list) and isinstance(index, int) and 0 <= index < len(agents):
            whole.setdefault("softwareAgent", agents[index])
        yield whole


def _named(program: object) -> str:
    if isinstance(program, Mapping):
        return " ".join(str(program[key]) for key in ("name", "version") if program.get(key))
    return str(program or "")


def _parameters(action: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    parameters = action.get("parameters")
    for name, value in parameters.items() if isinstance(parameters, Mapping) else ():
        if str(name).replace(":", ".").rpartition(".")[2].lower() in names and isinstance(value, str) and value:
            yield value


def _of_ingredients(manifest: Manifest, relationship: str) -> Iterator[str]:
    """Yield the source types that C2PA 2.4 lets ingredients state of themselves."""
    for ingredient in manifest.get("ingredients", []):
        uri = ingredient.get("digital_source_type") or ingredient.get("digitalSourceType")
        if isinstance(uri, str) and ingredient.get("relationship") == relationship:
            yield uri


def _fields(data: Mapping[str, Any]) -> dict[Role, list[str]]:
    """Return the texts of metadata in JSON-LD by what their fields are for, whatever the prefixes."""
    found: dict[Role, list[str]] = {}
    for name, value in data.items():
        role = _ROLE_OF_FIELD.get(str(name).replace("#", "/").replace(":", "/").rpartition("/")[2].lower())
        for item in (value if isinstance(value, list) else [value]) if role else []:
            text = item.get("@id") or item.get("@value") if isinstance(item, Mapping) else item
            if role and isinstance(text, str) and text:
                found.setdefault(role, []).append(text)
    return found
