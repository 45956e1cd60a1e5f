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

from imagetrust.provenance.bounds import MAX_MANIFEST_BOXES, MAX_MANIFEST_BYTES, TooLarge, check_size
from imagetrust.provenance.credential_statements import (
    Manifest,
    actions,
    agent,
    generator,
    models,
    names_camera,
    placed_source_types,
    says_beside_source_types,
    source_type_of,
    source_types,
)
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
_ABOUT_THE_SIGNER = ("signingCredential.", "timeStamp.", "cawg.", "claimSignature.outsideValidity")
# Failures in form alone, C2PA 2.2, 15.2.2.3: the library measures older manifests by today's rules. Whatever was
# changed after signing fails a hash or the signature as well, whose codes are none of these.
_ABOUT_THE_RULES = (
    "algorithm.deprecated", "assertion.action.", "assertion.cbor.invalid", "assertion.ingredient.malformed",
    "assertion.json.invalid", "assertion.metadata.disallowed", "assertion.multipleHardBindings",
    "assertion.timestamp.malformed", "claim.malformed", "claim.required.missing", "manifest.multipleParents",
    "manifest.update.",
)  # fmt: skip
_DATA_HASH = "assertion.dataHash."
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
        store = json.loads(reader.json())
        failures = list(_failed_checks(store))
        if _is_matched_and_mismatched(store) and _covers_picture(file, json.loads(reader.detailed_json())):
            # The hash holds; its exclusion is only wider than the manifest, which older rules allowed.
            failures = [(code, code.startswith(_DATA_HASH) or is_form) for code, is_form in failures]
        return _finding(store, failures, len(manifest_store))


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


def _finding(store: Mapping[str, Any], failures: list[tuple[str, bool]], size: int) -> Finding:
    """failures: codes, and whether each is one in form alone."""
    manifests = store["manifests"]
    active = manifests[store["active_manifest"]]
    failed = list(dict.fromkeys(code for code, _ in failures))
    strength, state = _strength(store["validation_state"], failures)
    signature = active.get("signature_info") or {}
    lineage = list(_lineage(active, manifests))
    says = _says(active, manifests, lineage)
    stated = [source_type_name(uri) for manifest in lineage for uri in source_types(manifest)]
    named = [model for manifest in lineage for model in models(manifest) if model]
    values: dict[str, object] = {
        "state": state,
        "failed_checks": failed,
        "claim_generator": generator(active),
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
        "source_types": list(dict.fromkeys(stated)),
        "actions": [_action(action) for action in actions(active)],
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
    if named:
        values["models"] = list(dict.fromkeys(named))
    return Finding("c2pa", says, _detail(state, says, values, failures), values, strength, "signed")


def _failed_checks(store: Mapping[str, Any]) -> Iterator[tuple[str, bool]]:
    """Codes of C2PA 2.2, 15.2.2, of the active manifest first, then of its ingredients; each, whether in form alone."""
    results = store.get("validation_results") or {}
    failures = list((results.get("activeManifest") or {}).get("failure", []))
    for ingredient in results.get("ingredientDeltas") or []:
        failures += (ingredient.get("validationDeltas") or {}).get("failure", [])
    failures += store.get("validation_status") or []
    for failure in failures:
        yield failure["code"], failure["code"].startswith(_ABOUT_THE_RULES)


def _is_matched_and_mismatched(store: Mapping[str, Any]) -> bool:
    """Whether the library says of the active manifest's hash of the file both that it holds and that it does not."""
    active = (store.get("validation_results") or {}).get("activeManifest") or {}
    held, failed = (
        {check.get("url") for check in active.get(kind, []) if check["code"] == _DATA_HASH + code}
        for kind, code in (("success", "match"), ("failure", "mismatch"))
    )
    return bool(failed) and failed <= held


def _covers_picture(file: OpenedFile, store: Mapping[str, Any]) -> bool:
    """Whether what the hash of the file leaves out ends before the first byte that the pixels depend on."""
    begin = file.pixels_begin()
    assertions = store["manifests"][store["active_manifest"]].get("assertion_store") or {}
    ranges = [
        one for label, data in assertions.items() if label.startswith("c2pa.hash.data") for one in data["exclusions"]
    ]
    return bool(ranges) and all(one["start"] + one["length"] <= begin for one in ranges)


def _strength(state: str, failures: list[tuple[str, bool]]) -> tuple[Strength, str]:
    """Return the strength, and the state of the credentials in one word."""
    if state == "Trusted":
        return "signed_valid", "valid"
    forms = [is_form for code, is_form in failures if not code.startswith(_ABOUT_THE_SIGNER)]
    if state == "Invalid" and (not failures or not all(forms)):
        return "signed_broken", "broken"
    return "signed_untrusted", "outdated" if forms else "untrusted"


def _lineage(active: Mapping[str, Any], manifests: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Return the active manifest and those of what it was made from by opening, not those of placed images."""
    waiting, seen = [active], 0
    while waiting and seen < _MAX_ANCESTORS:
        manifest = waiting.pop(0)
        seen += 1
        yield manifest
        opened = {
            (action.get("parameters") or {}).get("instanceId")
            for action in actions(manifest)
            if action.get("action") == "c2pa.opened"
        }
        for ingredient in manifest.get("ingredients", []):
            is_parent = ingredient.get("relationship") == "parentOf" or ingredient.get("instance_id") in opened
            if is_parent and (parent := manifests.get(ingredient.get("active_manifest"))):
                waiting.append(parent)


def _says(active: Manifest, manifests: Mapping[str, Manifest], lineage: list[Manifest]) -> Says:
    stated = [source_type_says(uri) for manifest in lineage for uri in source_types(manifest)]
    stated += [says_beside_source_types(manifest) for manifest in lineage if not _has_source_type(manifest)]
    others = [manifest for manifest in list(manifests.values())[:_MAX_ANCESTORS] if manifest not in lineage]
    placed = [uri for manifest in others for uri in source_types(manifest)]
    placed += [uri for manifest in lineage for uri in placed_source_types(manifest)]
    if any(source_type_says(uri) == "generated" for uri in placed):
        stated.append("edited_with_ai")
    says = weightiest(stated)
    if says != "nothing":
        return says
    if names_camera(active):
        return "camera"
    return "software" if actions(active) else "nothing"


def _has_source_type(manifest: Manifest) -> bool:
    return any(source_type_says(uri) != "nothing" for uri in source_types(manifest))


def _action(action: Mapping[str, Any]) -> dict[str, object]:
    described = {
        "action": action.get("action", ""),
        "software": agent(action),
        "source_type": source_type_name(source_type_of(action)),
        "when": action.get("when", ""),
    }
    return {name: value for name, value in described.items() if value}


def _detail(state: str, says: Says, values: Mapping[str, Any], failures: list[tuple[str, bool]]) -> str:
    signer = values["signer"].get("issuer") or values["signer"].get("common_name") or "an unnamed signer"
    model = f" ({values['models'][0]})" if values.get("models") else ""
    stated = {
        "generated": f"that the picture was made by a generative model{model}",
        "edited_with_ai": f"that a part of the picture comes from a generative model{model}",
        "possibly_generated": f"that an AI model took part in the picture{model}, and not in what",
        "camera": "that a camera took the picture",
        "software": "which program made or changed the picture",
    }.get(says, "nothing about where the picture comes from")
    others = [(code, is_form) for code, is_form in failures if not code.startswith(_ABOUT_THE_SIGNER)]
    broken = dict.fromkeys(code for code, is_form in others if not is_form)
    forms = dict.fromkeys(code for code, is_form in others if is_form)
    holds = {
        "valid": "The signature holds and the signer is trusted.",
        "untrusted": "The signature holds, but the signer is not known to be trustworthy.",
        "outdated": "The signature holds and the picture is as it was signed; "
        f"by rules that are stricter than those of its time it fails {', '.join(forms)}.",
        "broken": f"They do not hold: {', '.join(broken) or 'a check failed'}.",
    }[state]
    return f"The Content Credentials in the name of {signer} state {stated}. {holds}"
