"""Builds the archives: `python -m archive_scripts.build`.

Each .mar holds an endpoint's handler, the package `handlers`, the weights and cards it needs, and its TorchServe
settings: it runs on a bare TorchServe with the packages of requirements/serving.txt and no checkout of this project.
The same input gives the same bytes, on any machine and at any time.
"""

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
import yaml

from archive_scripts import capacity
from archive_scripts.capacity import Machine, this_machine
from archive_scripts.networks import write_exact_network
from handlers.card import read_card
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

_MANIFEST = "MAR-INF/MANIFEST.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can hold


class BuildError(Exception):
    """An archive cannot be built; the message says what is missing."""


def model_names(endpoint: str) -> tuple[str, ...]:
    """The released models that an endpoint's handler declares."""
    module = importlib.import_module(f"handlers.{endpoint}")
    (handler,) = (value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__)
    return handler.model_names


def build(
    endpoint: str,
    released: Path,
    model_store: Path,
    settings: dict[str, object] | None = None,
    trust_anchors: Path | None = None,
    machine: Machine | None = None,
) -> Path:
    """Builds `<model_store>/<endpoint>.mar` from the released weights and returns its path.

    settings: TorchServe settings that replace those of archive_scripts/endpoints.yaml, such as deviceIds;
        those of "handler" one by one.
    machine: what `auto` is made of there; this one where not given.
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
        if file_sha256(weights) != cards[name].weights_sha256:
            raise BuildError(f"{weights} is not the file that {card_file.name} describes")
    version = cards.get(endpoint, next(iter(cards.values()))).version

    model_store.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="imagetrust-build-") as folder:
        staging = Path(folder)
        content = staging / "content"
        for package in ("handlers", "imagetrust"):
            shutil.copytree(ROOT / package, content / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name in cards:
            shutil.copy(released / f"{name}.safetensors", content)
            shutil.copy(released / f"{name}.json", content)
        _add_networks([Classifier(released, name, torch.device("cpu")) for name in cards], released, content)
        if trust_anchors:
            shutil.copy(trust_anchors, content / TRUST_ANCHORS)
        config = staging / "model-config.yaml"
        config.write_text(
            yaml.safe_dump(_settings(endpoint, settings or {}, machine or this_machine()), sort_keys=True)
        )
        _run_archiver(endpoint, version, content, config, staging)
        made = staging / f"{endpoint}.mar"
        target = model_store / f"{endpoint}.mar"
        temporary = model_store / f".{endpoint}.mar.{os.getpid()}"
        try:
            _rewrite_reproducibly(made, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    return target


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


def _settings(endpoint: str, replaced: dict[str, object], machine: Machine) -> dict[str, object]:
    described = yaml.safe_load((ROOT / "archive_scripts" / "endpoints.yaml").read_text())
    every, own = described["every"], described[endpoint]
    handler = every["handler"] | own.get("handler", {}) | replaced.get("handler", {})
    automatic = capacity.settings(endpoint, machine)
    return _without_auto(every | own | replaced, automatic) | {"handler": _without_auto(handler, automatic)}


def _without_auto(settings: dict[str, object], automatic: dict[str, int]) -> dict[str, object]:
    # What the rule does not know keeps the word, for the handler to understand.
    return {name: automatic.get(name, value) if value == "auto" else value for name, value in settings.items()}


def _run_archiver(endpoint: str, version: str, content: Path, config: Path, staging: Path) -> None:
    # The archiver stages under the temporary folder by the model's name: a folder of our own keeps builds apart.
    scratch = staging / "archiver"
    scratch.mkdir()
    command = [
        sys.executable, "-m", "model_archiver.model_packaging",
        "--model-name", endpoint, "--version", version,
        "--handler", str(ROOT / "handlers" / f"{endpoint}.py"),
        "--extra-files", str(content), "--config-file", str(config),
        "--export-path", str(staging), "--archive-format", "zip-store",
    ]  # fmt: skip
    done = subprocess.run(command, env=os.environ | {"TMPDIR": str(scratch)}, capture_output=True, text=True)
    if done.returncode or not (staging / f"{endpoint}.mar").exists():
        raise BuildError(f"torch-model-archiver failed on {endpoint}:\n{done.stdout}{done.stderr}")


def _rewrite_reproducibly(made: Path, target: Path) -> None:
    """Sorts the entries and fixes their times: the archiver writes the hour of the build into both."""
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == _MANIFEST:
                manifest = json.loads(content)
                manifest["createdOn"] = "01/01/1980 00:00:00"
                content = json.dumps(manifest, indent=2, sort_keys=True).encode()
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.external_attr = 0o644 << 16
            # Weights hardly shrink; storing them keeps building and loading quick.
            entry.compress_type = (
                zipfile.ZIP_STORED if name.endswith((".safetensors", ".bin")) else zipfile.ZIP_DEFLATED
            )
            archive.writestr(entry, content)


def _pair(text: str) -> tuple[str, str]:
    endpoint, _, value = text.partition("=")
    if endpoint not in ENDPOINTS or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not ENDPOINT=VALUE with an endpoint of {', '.join(ENDPOINTS)}")
    return endpoint, value


def main() -> None:
    parser = argparse.ArgumentParser(description="Builds the archives from released weights.")
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of weights and cards")
    parser.add_argument("--model-store", type=Path, default=MODEL_STORE, help="where the archives go")
    parser.add_argument("--devices", type=_pair, action="append", default=[], metavar="ENDPOINT=IDS",
                        help="GPUs that an endpoint's workers take in turn, such as authenticity=0,1")  # fmt: skip
    parser.add_argument("--workers", type=_pair, action="append", default=[], metavar="ENDPOINT=N",
                        help="workers that start with the server")  # fmt: skip
    parser.add_argument("--cores", type=int, help="of the machine that will serve, where it is another one")
    parser.add_argument("--gpus", type=int, help="of the machine that will serve, where it is another one")
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
        for endpoint, count in arguments.workers:
            replaced[endpoint] |= {"minWorkers": int(count), "maxWorkers": max(4, int(count))}
    except ValueError as error:
        parser.error(f"numbers expected: {error}")
    try:
        allowed_origins(arguments.manifest_hosts)
    except ValueError as error:
        parser.error(str(error))
    if arguments.manifest_hosts:
        replaced["explanation"]["handler"] = {"manifest_hosts": arguments.manifest_hosts}
    found = this_machine()
    machine = Machine(
        cores=found.cores if arguments.cores is None else arguments.cores,
        gpus=found.gpus if arguments.gpus is None else arguments.gpus,
    )
    for endpoint in ENDPOINTS:
        try:
            archive = build(
                endpoint,
                arguments.released,
                arguments.model_store,
                replaced[endpoint],
                arguments.trust_anchors,
                machine,
            )
        except (BuildError, ValueError) as error:
            sys.exit(f"error: {error}")
        print(f"built {archive}  {archive.stat().st_size / 1e6:.1f} MB  sha256 {file_sha256(archive)[:12]}")
    print(f"for {machine.cores} core(s) and {machine.gpus} GPU(s). Next: make serve")


if __name__ == "__main__":
    main()
