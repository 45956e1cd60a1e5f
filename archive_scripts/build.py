"""Builds the archives: `python -m archive_scripts.build`.

Each .mar holds an endpoint's handler, the packages `handlers` and `imagetrust`, the weights and cards it needs, and its
TorchServe settings: it runs on a bare TorchServe with the packages of requirements/serving.txt and no checkout of this
project.
The same input gives the same bytes, on any machine and at any time.
"""

import argparse
import importlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
import yaml

from archive_scripts.networks import write_exact_network
from handlers.card import check_servable, read_card
from handlers.classifier import Classifier
from handlers.engine import gate_file, quantised_file
from handlers.explanation import TRUST_ANCHORS
from handlers.gate import missed
from handlers.network import file_sha256
from imagetrust.provenance import allowed_origins

ROOT = Path(__file__).resolve().parent.parent
ENDPOINTS = ("authenticity", "generator_type", "explanation")
MODEL_STORE = ROOT / "model_store"
RELEASED = MODEL_STORE / "released"
PACKAGES = ("handlers", "imagetrust")  # that an archive carries


class BuildError(Exception):
    """An archive cannot be built; the message says what is missing."""


def model_names(endpoint: str) -> tuple[str, ...]:
    """Return the released models that an endpoint's handler declares."""
    module = importlib.import_module(f"handlers.{endpoint}")
    (handler,) = (value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
    return handler.model_names


def build(
    endpoint: str,
    released: Path,
    model_store: Path,
    settings: dict[str, object] | None = None,
    trust_anchors: Path | None = None,
) -> Path:
    """Build `<model_store>/<endpoint>.mar` from the released weights and return its path.

    settings: TorchServe settings that replace those of archive_scripts/endpoints.yaml, such as deviceIds;
        those of "handler" one by one.
    trust_anchors: certificates, PEM, of the authorities whose signers of Content Credentials count as trusted.
    Raises BuildError where weights, card or a setting is missing or they do not belong together, and where a fast
    network that is released beside them changes more than handlers/gate.py allows.
    """
    cards = {}
    for name in model_names(endpoint):
        weights, card_file = released / f"{name}.safetensors", released / f"{name}.json"
        for file in (weights, card_file):
            if not file.is_file():
                raise BuildError(f"{endpoint} needs {file}, which is not there")
        cards[name] = read_card(card_file)
        check_servable(cards[name])
        if file_sha256(weights) != cards[name].weights_sha256:
            raise BuildError(f"{weights} is not the file that {card_file.name} describes")
    version = cards.get(endpoint, next(iter(cards.values()))).version

    model_store.mkdir(parents=True, exist_ok=True)
    target, temporary = model_store / f"{endpoint}.mar", model_store / f".{endpoint}.mar.{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="imagetrust-build-") as folder:
        content = Path(folder)
        for name in cards:
            shutil.copy(released / f"{name}.safetensors", content)
            shutil.copy(released / f"{name}.json", content)
        _add_networks([Classifier(released, name, torch.device("cpu")) for name in cards], released, content)
        if trust_anchors:
            shutil.copy(trust_anchors, content / TRUST_ANCHORS)
        files = {path.name: path for path in content.iterdir()} | packed_code(endpoint)
        try:
            write_archive(temporary, endpoint, version, _settings(endpoint, settings or {}), files)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    return target


def packed_code(endpoint: str) -> dict[str, Path]:
    """Return the files of the packages that an archive carries, and its handler, by their path in the archive."""
    found = {
        path.relative_to(ROOT): path
        for package in PACKAGES
        for kind in ("*.py", "*.json")
        for path in (ROOT / package).rglob(kind)
    }
    # Editors leave hidden copies.
    shown = {name.as_posix(): path for name, path in found.items() if not any(part[0] == "." for part in name.parts)}
    return shown | {f"{endpoint}.py": ROOT / "handlers" / f"{endpoint}.py"}


def _add_networks(classifiers: list[Classifier], released: Path, content: Path) -> None:
    """Each trunk's network in fp32, and the quantised one where it is released and passed its gate."""
    for classifier in {one.trunk_id: one for one in classifiers}.values():
        write_exact_network(classifier, content)
        gate_path = released / gate_file(classifier.trunk_id)
        if not gate_path.exists():
            continue  # a model fresh from training is served in fp32 until training.quantise has measured it
        gate = json.loads(gate_path.read_text())
        refused = _faults(gate, released, classifier.trunk_id)
        if refused:
            raise BuildError(
                f"{gate_path.name} does not pass the gate: {'; '.join(refused)}.\n"
                f"Run training.quantise again, --without what missed it, or remove the file to serve in fp32."
            )
        for file in (gate_path, *(released / name for name in gate["files"])):
            shutil.copy(file, content)


def _faults(gate: dict, released: Path, trunk_id: str) -> list[str]:
    """Why a trunk's fast precisions may not go into an archive; empty where they may."""
    lines = [
        f"{precision}: {line}" for precision in gate["bands"] for line in missed(gate["figures"].get(precision, {}))
    ]
    if "int8" in gate["bands"] and quantised_file(trunk_id) not in gate["files"]:
        lines.append(f"{quantised_file(trunk_id)} is not described")
    for name, digest in gate["files"].items():
        if not (released / name).is_file():
            lines.append(f"{name} is missing")
        elif file_sha256(released / name) != digest:
            lines.append(f"{name} is not the file that was measured")
    return lines


def _settings(endpoint: str, replaced: dict[str, object]) -> dict[str, object]:
    described = yaml.safe_load((ROOT / "archive_scripts" / "endpoints.yaml").read_text())
    every, own = described["every"], described[endpoint]
    handler = every["handler"] | own.get("handler", {}) | replaced.get("handler", {})
    return every | own | replaced | {"handler": handler}


def write_archive(
    target: Path, endpoint: str, version: str, settings: dict[str, object], files: dict[str, Path]
) -> None:
    """Write the .mar of an endpoint: a zip of its files, settings and manifest, in a fixed order and without times.

    files: by their path in the archive; among them the handler, `<endpoint>.py`.
    """
    manifest = {
        "createdOn": "01/01/1980 00:00:00",
        "runtime": "python",
        "model": {
            "modelName": endpoint,
            "modelVersion": version,
            "handler": f"{endpoint}.py",
            "configFile": "model-config.yaml",
        },
    }
    contents: dict[str, bytes | Path] = files | {
        "MAR-INF/MANIFEST.json": json.dumps(manifest, indent=2, sort_keys=True).encode(),
        "model-config.yaml": yaml.safe_dump(settings, sort_keys=True).encode(),
    }
    with zipfile.ZipFile(target, "w") as archive:
        for name, content in sorted(contents.items()):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))  # the earliest time that a zip can hold
            entry.external_attr = 0o644 << 16
            # Weights hardly shrink; storing them keeps building and loading quick.
            stored = name.endswith((".safetensors", ".bin"))
            archive.writestr(
                entry,
                content.read_bytes() if isinstance(content, Path) else content,
                zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED,
            )


def _pair(text: str) -> tuple[str, str]:
    endpoint, _, value = text.partition("=")
    if endpoint not in ENDPOINTS or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not ENDPOINT=VALUE with an endpoint of {', '.join(ENDPOINTS)}")
    return endpoint, value


def main() -> None:
    """Build all archives from the command line."""
    parser = argparse.ArgumentParser(description="Builds the archives from released weights.")
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of weights and cards")
    parser.add_argument("--model-store", type=Path, default=MODEL_STORE, help="where the archives go")
    parser.add_argument("--devices", type=_pair, action="append", default=[], metavar="ENDPOINT=IDS",
                        help="GPUs that an endpoint's workers take in turn, such as authenticity=0,1")  # fmt: skip
    parser.add_argument("--trust-anchors", type=Path, metavar="PEM",
                        help="authorities whose signers of Content Credentials count as trusted")  # fmt: skip
    parser.add_argument("--manifest-hosts", nargs="+", action="extend", default=[], metavar="HOST[:PORT]",
                        help="hosts from which Content Credentials kept elsewhere are fetched, by https; "
                             "http://HOST[:PORT] without encryption")  # fmt: skip
    arguments = parser.parse_args()
    if arguments.trust_anchors and not arguments.trust_anchors.is_file():
        parser.error(f"{arguments.trust_anchors} is not a file")
    replaced: dict[str, dict[str, object]] = {endpoint: {} for endpoint in ENDPOINTS}
    try:
        for endpoint, ids in arguments.devices:
            replaced[endpoint]["deviceIds"] = [int(number) for number in ids.split(",")]
    except ValueError as error:
        parser.error(f"numbers expected: {error}")
    try:
        allowed_origins(arguments.manifest_hosts)
    except ValueError as error:
        parser.error(str(error))
    if arguments.manifest_hosts:
        replaced["explanation"]["handler"] = {"manifest_hosts": arguments.manifest_hosts}
    for endpoint in ENDPOINTS:
        try:
            archive = build(
                endpoint,
                arguments.released,
                arguments.model_store,
                replaced[endpoint],
                arguments.trust_anchors,
            )
        except (BuildError, ValueError) as error:
            sys.exit(f"error: {error}")
        print(f"built {archive}  {archive.stat().st_size / 1e6:.1f} MB  sha256 {file_sha256(archive)[:12]}")
    print("Next: make serve")


if __name__ == "__main__":
    main()
