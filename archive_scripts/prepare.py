"""From a release to the folder that a predictor serves from: `python -m archive_scripts.prepare RELEASE FOLDER`.

The network in fp32, as OpenVINO reads it, is made from the weights here; what is quantised travels with the release.
"""

import argparse
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

import msgspec
import safetensors.torch

from archive_scripts.self_test import write_self_test
from imagetrust.files import file_sha256
from imagetrust.models.clip import ORIGINAL
from imagetrust.models.config import CONFIG, PRETRAINED, WEIGHTS, ModelConfig
from imagetrust.models.int8_weights import packed
from imagetrust.models.model import Model, pretrained_file
from imagetrust.models.registry import backbone_of
from imagetrust.runtime.openvino import save_network, to_openvino
from imagetrust.runtime.precision_gate import EXACT_NETWORK, GATE, INT8_NETWORK, Gate
from imagetrust.runtime.torch import PixelNetwork


class BuildError(Exception):
    """A release cannot be served; the message says what is missing."""


def prepare(release: Path, folder: Path, trust_anchors: Path | None = None) -> Model:
    """Write what serves a release into a folder that is not there yet, and return the model.

    trust_anchors: certificates, PEM, of the authorities whose signers of Content Credentials count as trusted.
    Raises BuildError where a file is missing, does not belong to the others, or a quantised network fails its gate.
    """
    for name in (CONFIG, WEIGHTS):
        if not (release / name).is_file():
            raise BuildError(f"{release / name} is not there")
    try:
        config = Model(release).config
        gate = Gate.read(release, config.weights_sha256)
    except ValueError as error:
        raise BuildError(str(error)) from error
    if gate and (failures := _failures(gate, release, backbone_of(config.backbone).quantised)):
        raise BuildError(
            f"{release / GATE} does not pass: {'; '.join(failures)}.\n"
            "Run training.quantise again, or remove the file to serve in fp32."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        staging = Path(scratch) / folder.name
        staging.mkdir()
        for name in (WEIGHTS, *((GATE, *gate.files) if gate else ())):
            shutil.copyfile(release / name, staging / name)
        if trust_anchors:
            shutil.copyfile(trust_anchors, staging / "trust_anchors.pem")
        if config.pretrained_sha256:
            config = _with_pretrained(config, staging)
        config.write(staging)
        network = PixelNetwork(Model(staging).network, config.preprocessing)
        save_network(to_openvino(network, config.preprocessing.size), staging / EXACT_NETWORK)
        write_self_test(staging)
        staging.rename(folder)
    return Model(folder)


def _with_pretrained(config: ModelConfig, folder: Path) -> ModelConfig:
    """Write the pretrained weights that a release builds on into a folder, and return the description that fits them.

    Raises BuildError where they cannot be had, or are others than the release was made with and nobody asked for them.
    """
    try:
        content = pretrained_file(backbone_of(config.backbone))
    except (OSError, RuntimeError, ValueError) as error:
        raise BuildError(str(error)) from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != config.pretrained_sha256:
        if ORIGINAL not in os.environ:
            raise BuildError(f"the pretrained {config.backbone} has SHA-256 {digest}, not {config.pretrained_sha256}")
        print(f"Taken from {os.environ[ORIGINAL]}: answers will differ a little from what the release's report says.")
    safetensors.torch.save_file(packed(safetensors.torch.load(content)), folder / PRETRAINED)
    return msgspec.structs.replace(config, pretrained_sha256=file_sha256(folder / PRETRAINED))


def _failures(gate: Gate, release: Path, quantised: bool) -> list[str]:
    """Why the fast precisions of a gate may not be served; empty where they may.

    quantised: whether int8 takes a network of its own (imagetrust.models.backbone).
    """
    lines = [f"{precision}: {line}" for precision in gate.margins for line in gate.failures(precision)]
    if quantised and "int8" in gate.margins and INT8_NETWORK not in gate.files:
        lines.append(f"{INT8_NETWORK} is not described")
    for name, digest in gate.files.items():
        if not (release / name).is_file():
            lines.append(f"{name} is missing")
        elif file_sha256(release / name) != digest:
            lines.append(f"{name} is not the file that was measured")
    return lines


def main() -> None:
    """Prepare one release from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("release", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    model = prepare(arguments.release, arguments.folder)
    print(f"{arguments.folder} serves {model.config.backbone} {model.config.version}.")


if __name__ == "__main__":
    main()
