"""What decoding large JPEGs at a part of their size changes in the answers, and what it saves:

    python -m training.decoding --pictures FOLDER

Takes the JPEGs of a folder, photographs of any size, each as it is and saved anew at sizes that the web uses, and
compares the released model's calibrated log odds after decoding in full with those after decoding for the network.
"""

import argparse
import io
import math
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from handlers.classifier import Classifier
from handlers.decode import Picture, decode
from handlers.errors import RequestError
from handlers.preprocessing import picture_to_pixels
from handlers.trunk import PixelTrunk, TorchTrunk
from handlers.verdicts import verdict
from training.release import RELEASED

LONGER_SIDES = (None, 1600, 1024, 800)  # None: the file as it is
GAPS = (1.0, 1.25, 1.5, 2.0, 3.0)  # how much more than the network's size decoding shall leave


def variants(path: Path) -> list[bytes]:
    """The file's bytes, and those of smaller copies where it is large enough; none where it is no large JPEG."""
    data = path.read_bytes()
    try:
        picture = decode(data)
    except RequestError:
        return []
    if picture.format != "JPEG":
        return []
    made = []
    for side in LONGER_SIDES:
        if side is None:
            made.append(data)
        elif max(picture.size) > side:
            buffer = io.BytesIO()
            small = picture.image.copy()
            small.thumbnail((side, side), Image.Resampling.LANCZOS)
            small.save(buffer, "JPEG", quality=85)
            made.append(buffer.getvalue())
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True, help="a folder of JPEGs, searched to its depth")
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of weights and cards")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    classifier = Classifier(arguments.released, "authenticity", torch.device("cpu"))
    card = classifier.card
    trunk = TorchTrunk(PixelTrunk(classifier.trunk, card.preprocessing), classifier.device)

    def probability(picture: Picture) -> float:
        pixels = picture_to_pixels(picture.image, card.preprocessing)[None]
        return float(classifier.probabilities(classifier.logits(trunk(pixels)))[0, 1])

    rows: dict[float, list[tuple[float, float, float, float]]] = {gap: [] for gap in GAPS}
    files = [path for path in sorted(arguments.pictures.rglob("*")) if path.is_file()]
    for data in (data for path in files for data in variants(path)):
        started = time.process_time()
        whole = decode(data)
        whole_took = time.process_time() - started
        expected = probability(whole)
        for gap, measured in rows.items():
            started = time.process_time()
            part = decode(data, math.ceil(gap * card.preprocessing.size / card.preprocessing.crop))
            took = time.process_time() - started
            if part.image.size != whole.image.size:
                measured.append((expected, probability(part), whole_took, took))

    print("| gap | pictures decoded in part | mean change of log odds | 95 % of changes | verdicts changed | time |")
    print("|---|---|---|---|---|---|")
    for gap, measured in rows.items():
        if not measured:
            continue
        expected, found, whole_took, took = np.array(measured).T
        change = np.abs(np.log(expected / (1 - expected)) - np.log(found / (1 - found)))
        moved = [
            verdict(a, card.thresholds) != verdict(b, card.thresholds) for a, b in zip(expected, found, strict=True)
        ]
        print(
            f"| {gap} | {len(measured)} | {change.mean():.3f} | {np.quantile(change, 0.95):.3f} "
            f"| {sum(moved)} | {np.median(took / whole_took):.2f} |"
        )


if __name__ == "__main__":
    main()
