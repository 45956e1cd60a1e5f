"""C2PA Content Credentials: who signed what about this image, and whether it still holds.

Dearer than all other readers together, hence by itself; the library is called only where there is a manifest store.
"""

import io
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import c2pa

from imagetrust.provenance.bounds import MAX_ITEMS, MAX_MANIFEST_BOXES, MAX_MANIFEST_BYTES, TooLarge, check_size
from imagetrust.provenance.finding import NOTHING, Finding, Reading, Says, Strength
from imagetrust.provenance.manifest_fetch import NotFetched, fetch_manifest
from imagetrust.provenance.manifest_hosts import Origin, split_url
from imagetrust.provenance.opened_file import OpenedFile
from imagetrust.provenance.vocabulary import source_type_name, source_type_says, weightiest

# Pillow's formats -> the names that c2pa knows. It has none for BMP, which can carry neither a manifest nor XMP.
_MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "AVIF": "image/avif",
    "HEIF": "image/heif",
    "TIFF": "image/tiff",
    "GIF": "image/gif",
}
# The purposes for which a signer's certificate may be made out: what C2PA 2.2, 14.5.1 and its trust list's store.cfg
# name. Without the last one the library calls the newest signers' certificates invalid.
_PURPOSES = (
    "1.3.6.1.5.5.7.3.4",  # e-mail protection
    "1.3.6.1.5.5.7.3.36",  # document signing
    "1.3.6.1.4.1.311.76.59.1.9",  # Microsoft's C2PA signing
    "1.3.6.1.4.1.62558.2.1",  # C2PA claim signing
)
# Failures that leave image and statement as they were signed, and only the signer in doubt.
_ABOUT_THE_SIGNER = ("signingCredential.", "timeStamp.", "cawg.")
_ACTIONS = ("c2pa.actions", "c2pa.actions.v2")
_CAMERA_DATA = ("stds.exif", "c2pa.metadata", "cawg.metadata")
_MAX_ANCESTORS = 32


def read_content_credentials(
    file: OpenedFile, provenance: str | None, trust_anchors: str | None, manifest_hosts: Collection[Origin]
) -> Reading:
    """One finding where the file carries Content Credentials or says where they are kept.

    provenance: where the file's XMP says that its manifest is kept.
    trust_anchors: certificates, PEM, of the authorities whose signers are trusted; without any, no signer is.
    manifest_hosts: where a manifest that the file does not hold may be fetched from. No other connection is opened.
    Raises TooLarge on a manifest store in the file that is over the bound, C2paError on one that cannot be read.
    """
    if manifest_store := file.manifest_store():
        check_size(len(manifest_store), MAX_MANIFEST_BYTES)
        try:
            return Reading((_checked(file, manifest_store, trust_anchors, is_embedded=True),))
        except c2pa.C2paError.ManifestNotFound:
            if b"c2pa" in manifest_store:  # else JUMBF of another kind, such as JPEG 360
                raise
    if not provenance:
        return NOTHING
    if provenance.lower().startswith(("http://", "https://")):
        return Reading((_kept_at(provenance, file, trust_anchors, manifest_hosts),))
    # A place inside the file, "self#jumbf=...", that is empty.
    detail = "The file says that it carried Content Credentials; they have been removed."
    return Reading((Finding("c2pa", "nothing", detail, {"state": "removed", "provenance": provenance}),))


def _checked(file: OpenedFile, manifest_store: bytes, trust_anchors: str | None, *, is_embedded: bool) -> Finding:
    """Return what a manifest store says of the file, and whether it holds."""
    # Of the store as put together, in which no box is split over blocks, and of the file, should the library find more.
    boxes = max(manifest_store.count(b"jumb"), file.data.count(b"jumb"))
    check_size(boxes, MAX_MANIFEST_BOXES, "boxes")
    with c2pa.Reader(
        _MEDIA_TYPES[str(file.header.format)],
        io.BytesIO(file.data),
        manifest_data=None if is_embedded else manifest_store,
        context=_context(trust_anchors),
    ) as reader:
        return _finding(json.loads(reader.json()), len(manifest_store))


@lru_cache(maxsize=2)
def _context(trust_anchors: str | None) -> c2pa.Context:
    """Return the library's settings. It would fetch manifests by default, unbounded; here nothing makes it connect."""
    trust = {"trust_config": "\n".join(_PURPOSES)}
    if trust_anchors:
        trust["trust_anchors"] = trust_anchors
    return c2pa.Context.from_dict(
        {
            "version": 1,
            "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
            # Identity assertions may name documents on the web (did:web); they are not resolved. An empty list of
            # hosts is a second lock on the same door.
            "core": {"decode_identity_assertions": False, "allowed_network_hosts": []},
            "trust": trust,
        }
    )


def _kept_at(url: str, file: OpenedFile, trust_anchors: str | None, manifest_hosts: Collection[Origin]) -> Finding:
    """Return what the manifest at a URL says, or why it does not come into it. It counts like one in the file."""
    try:
        manifest_store = fetch_manifest(url, manifest_hosts)
        finding = _checked(file, manifest_store, trust_anchors, is_embedded=False)
    except NotFetched as error:
        fetch: str
        fetch, problem = error.reason, f"they were not fetched: {error}"
    except TooLarge as error:
        fetch, problem = "too_large", f"what was fetched from there was not read: {error}"
    except c2pa.C2paError:
        fetch, problem = "unreadable", "what was fetched from there cannot be read"
    else:
        origin, _ = split_url(url)
        where = {"fetch": "done", "fetched_from": str(origin), "remote_url": url}
        detail = f"{finding.detail} The credentials were fetched from {origin}."
        return replace(finding, detail=detail, values={**finding.values, **where})
    detail = f"The file says that its Content Credentials are kept at {url}; {problem}."
    return Finding("c2pa", "nothing", detail, {"state": "remote", "remote_url": url, "fetch": fetch})


def _finding(store: Mapping[str, Any], size: int) -> Finding:
    manifests = store["manifests"]
    active = manifests[store["active_manifest"]]
    failed = list(dict.fromkeys(_failed_checks(store)))
    strength = _strength(store["validation_state"], failed)
    signature = active.get("signature_info") or {}
    lineage = list(_lineage(active, manifests))
    statements = [(source_type_name(uri), agent) for manifest in lineage for uri, agent in _source_types(manifest)]
    says = _says(active, manifests, lineage)
    values: dict[str, object] = {
        "state": {"signed_valid": "valid", "signed_untrusted": "untrusted", "signed_broken": "broken"}[strength],
        "failed_checks": failed,
        "claim_generator": _generator(active),
        "signer": {
            name: signature[key]
            for name, key in (
                ("issuer", "issuer"),
                ("common_name", "common_name"),
                ("time", "time"),
                ("algorithm", "alg"),
            )
            if signature.get(key)
        },
        "source_types": list(dict.fromkeys(name for name, _ in statements)),
        "actions": [_action(action) for action in _actions(active)],
        "ingredients": [
            {
                "title": ingredient.get("title", ""),
                "relationship": ingredient.get("relationship", ""),
                "has_credentials": bool(ingredient.get("active_manifest")),
            }
            for ingredient in active.get("ingredients", [])
        ],
        "manifests": len(manifests),
        "bytes": size,
    }
    return Finding("c2pa", says, _detail(strength, says, values, failed), values, strength)


def _failed_checks(store: Mapping[str, Any]) -> Iterator[str]:
    """Codes of C2PA 2.2, 15.2.2, of the active manifest first, then of its ingredients."""
    results = store.get("validation_results") or {}
    for failure in (results.get("activeManifest") or {}).get("failure", []):
        yield failure["code"]
    for ingredient in results.get("ingredientDeltas") or []:
        for failure in (ingredient.get("validationDeltas") or {}).get("failure", []):
            yield failure["code"]
    for failure in store.get("validation_status") or []:
        yield failure["code"]


def _strength(state: str, failed: list[str]) -> Strength:
    if state == "Trusted":
        return "signed_valid"
    if state == "Invalid" and not (failed and all(code.startswith(_ABOUT_THE_SIGNER) for code in failed)):
        return "signed_broken"
    return "signed_untrusted"


def _lineage(active: Mapping[str, Any], manifests: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return the active manifest and those of what it was made from by opening, not those of placed images."""
    waiting, seen = [active], 0
    while waiting and seen < _MAX_ANCESTORS:
        manifest = waiting.pop(0)
        seen += 1
        yield manifest
        opened = {
            (action.get("parameters") or {}).get("instanceId")
            for action in _actions(manifest)
            if action.get("action") == "c2pa.opened"
        }
        for ingredient in manifest.get("ingredients", []):
            is_parent = ingredient.get("relationship") == "parentOf" or ingredient.get("instance_id") in opened
            if is_parent and (parent := manifests.get(ingredient.get("active_manifest"))):
                waiting.append(parent)


def _says(active: Mapping[str, Any], manifests: Mapping[str, Any], lineage: list[Mapping[str, Any]]) -> Says:
    stated = [source_type_says(uri) for manifest in lineage for uri, _ in _source_types(manifest)]
    placed = [manifest for manifest in list(manifests.values())[:_MAX_ANCESTORS] if manifest not in lineage]
    if any(source_type_says(uri) == "generated" for manifest in placed for uri, _ in _source_types(manifest)):
        stated.append("edited_with_ai")
    if (says := weightiest(stated)) != "nothing":
        return says
    if any(_names_camera(assertion) for assertion in active.get("assertions", [])):
        return "camera"
    return "software" if _actions(active) else "nothing"


def _names_camera(assertion: Mapping[str, Any]) -> bool:
    data = assertion.get("data")
    return assertion.get("label") in _CAMERA_DATA and isinstance(data, Mapping) and bool(data.get("tiff:Make"))


def _actions(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        action
        for assertion in manifest.get("assertions", [])
        if assertion.get("label") in _ACTIONS and isinstance(assertion.get("data"), Mapping)
        for action in assertion["data"].get("actions", [])
        if isinstance(action, Mapping)
    ]


def _source_types(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """URI and the name of the program that states it."""
    for action in _actions(manifest):
        if isinstance(uri := action.get("digitalSourceType"), str):
            yield uri, _agent(action)


def _action(action: Mapping[str, Any]) -> dict[str, object]:
    described = {
        "action": action.get("action", ""),
        "software": _agent(action),
        "source_type": source_type_name(str(action.get("digitalSourceType") or "")),
        "when": action.get("when", ""),
    }
    return {name: value for name, value in described.items() if value}


def _agent(action: Mapping[str, Any]) -> str:
    agent = action.get("softwareAgent")
    if isinstance(agent, Mapping):
        return " ".join(str(agent[key]) for key in ("name", "version") if agent.get(key))
    return str(agent or "")


def _generator(manifest: Mapping[str, Any]) -> str:
    """Return the program that wrote the claim: a list of names since claim version 1.3, a line of text before."""
    for info in (manifest.get("claim_generator_info") or [])[:MAX_ITEMS]:
        if isinstance(info, Mapping) and info.get("name"):
            return " ".join(str(info[key]) for key in ("name", "version") if info.get(key))
    return str(manifest.get("claim_generator") or "")


def _detail(strength: Strength, says: Says, values: Mapping[str, Any], failed: list[str]) -> str:
    signer = values["signer"].get("issuer") or values["signer"].get("common_name") or "an unnamed signer"
    stated = {
        "generated": "that the picture was made by a generative model",
        "edited_with_ai": "that a part of the picture comes from a generative model",
        "camera": "that a camera took the picture",
        "software": "which program made or changed the picture",
        "nothing": "nothing about where the picture comes from",
    }[says]
    broken = [code for code in failed if not code.startswith(_ABOUT_THE_SIGNER)]
    holds = {
        "signed_valid": "The signature holds and the signer is trusted.",
        "signed_untrusted": "The signature holds, but the signer is not known to be trustworthy.",
        "signed_broken": f"They do not hold: {', '.join(broken) or 'a check failed'}.",
    }[strength]
    return f"The Content Credentials in the name of {signer} state {stated}. {holds}"
