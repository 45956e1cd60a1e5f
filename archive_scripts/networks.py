"""A trunk's network in fp32 as OpenVINO reads it, made from the released weights when an archive is built."""

import tempfile
from pathlib import Path

from handlers.classifier import Classifier
from handlers.engine import exact_file
from handlers.openvino_trunk import save_network, to_openvino
from handlers.trunk import PixelTrunk

_converted: dict[str, tuple[bytes, bytes]] = {}  # by trunk id: archives share trunks, and a conversion takes seconds


def write_exact_network(classifier: Classifier, folder: Path) -> None:
    """Write a classifier's trunk into a folder: its .xml, and the .bin beside it."""
    trunk_id, preprocessing = classifier.trunk_id, classifier.card.preprocessing
    if trunk_id not in _converted:
        with tempfile.TemporaryDirectory(prefix="imagetrust-network-") as scratch:
            network = Path(scratch) / "network.xml"
            save_network(to_openvino(PixelTrunk(classifier.trunk, preprocessing), preprocessing.size), network)
            _converted[trunk_id] = network.read_bytes(), network.with_suffix(".bin").read_bytes()
    target = folder / exact_file(trunk_id)
    for path, content in zip((target, target.with_suffix(".bin")), _converted[trunk_id], strict=True):
        path.write_bytes(content)
