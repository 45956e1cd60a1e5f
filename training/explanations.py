"""Asks whether the heat maps mean something: `python -m training.explanations --data ROOT --released FOLDER --out F`.

Deletion and insertion (Petsiuk et al. 2018, arXiv 1806.07421): cells of the picture are blurred away, or put back into
a blurred picture, hottest first; the area under the curve of the class's probability says how much the map found.
Pointing: a generated patch is pasted into a photograph, or the reverse; does the hottest place lie in the patch?
Both beside two controls: a random map, and one that is hottest in the middle. A map that does not beat them says
nothing about this model.
"""

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from tqdm import tqdm

from handlers.classifier import Classifier
from handlers.decode import decode
from handlers.heatmap import METHODS, heat
from handlers.preprocessing import picture_to_pixels, pixels_to_tensor
from training.data import SPLITS, Record, labelled, read_artifact, split
from training.evaluate import conditions
from training.files import replace_json
from training.metrics import wilson_interval
from training.recipe import seed_of

CONTROLS = ("random", "middle")
PATCH_SHARE = 0.4  # of each side: a sixth of the picture
STEPS = 12  # points of a curve


def control(name: str, shape: tuple[int, int], draw: np.random.Generator) -> np.ndarray:
    """A map (rows, columns) that knows nothing of the picture."""
    if name == "random":
        return draw.random(shape, dtype=np.float32)
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    return np.exp(-(rows**2 + columns**2)).astype(np.float32)


class Model:
    """A classifier on squares of pixels: probabilities of a class, and maps."""

    def __init__(self, classifier: Classifier) -> None:
        self.classifier = classifier
        self.size = classifier.card.preprocessing.size

    def square(self, record: Record) -> np.ndarray:
        """What the network sees of a picture, before it is normalised: (size, size, 3) uint8."""
        return picture_to_pixels(decode(record.path.read_bytes()).image, self.classifier.card.preprocessing)

    def features(self, squares: list[np.ndarray]) -> torch.Tensor:
        """(N, channels, rows, columns)."""
        return self.classifier.features(
            [pixels_to_tensor(pixels.copy(), self.classifier.card.preprocessing) for pixels in squares]
        )

    def probabilities(self, features: torch.Tensor) -> np.ndarray:
        """(N, classes), calibrated."""
        return self.classifier.probabilities(self.classifier.logits(features)).cpu().numpy()

    def map(self, name: str, features: torch.Tensor, class_index: int, draw: np.random.Generator) -> np.ndarray:
        """A method's or a control's map of one picture."""
        if name in CONTROLS:
            return control(name, tuple(features.shape[1:]), draw)
        return heat(name, features, self.classifier.head, class_index)


def curve_areas(model: Model, pixels: np.ndarray, drawn: np.ndarray, class_index: int) -> tuple[float, float]:
    """(deletion, insertion): mean probability of the class while cells are taken away, or put back, hottest first."""
    blurred = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(model.size / 16)))
    cell_of = np.asarray(
        Image.fromarray(np.arange(drawn.size, dtype=np.int32).reshape(drawn.shape)).resize(
            (model.size, model.size), Image.Resampling.NEAREST
        )
    )
    rank = np.empty(drawn.size, int)
    rank[np.argsort(-drawn.ravel(), kind="stable")] = np.arange(drawn.size)
    hottest_first = rank[cell_of][:, :, None]
    counts = np.linspace(0, drawn.size, STEPS)
    deleted = [np.where(hottest_first < count, blurred, pixels) for count in counts]
    inserted = [np.where(hottest_first < count, pixels, blurred) for count in counts]
    curve = model.probabilities(model.features(deleted + inserted))[:, class_index]
    return float(curve[:STEPS].mean()), float(curve[STEPS:].mean())


def composite(base: np.ndarray, patch: np.ndarray, draw: random.Random) -> tuple[np.ndarray, tuple[int, int, int]]:
    """`base` with a square of `patch` from the same place, and (left, top, side) of it, in pixels."""
    side = round(len(base) * PATCH_SHARE)
    left, top = draw.randint(0, len(base) - side), draw.randint(0, len(base) - side)
    made = base.copy()
    made[top : top + side, left : left + side] = patch[top : top + side, left : left + side]
    return made, (left, top, side)


def points_into(drawn: np.ndarray, box: tuple[int, int, int], size: int) -> bool:
    """Whether the middle of the map's hottest cell lies in the box."""
    left, top, side = box
    row, column = np.unravel_index(drawn.argmax(), drawn.shape)
    y, x = (row + 0.5) * size / drawn.shape[0], (column + 0.5) * size / drawn.shape[1]
    return bool(left <= x < left + side and top <= y < top + side)


def score(classifier: Classifier, items: list[tuple[Record, int]], count: int, seed: int) -> dict[str, dict]:
    """All figures for `count` pictures and as many composites of each kind, by method and control."""
    model, draw, noise = Model(classifier), random.Random(seed), np.random.default_rng(seed)
    names = (*METHODS, *CONTROLS)
    chosen = draw.sample(items, min(count, len(items)))
    areas: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for record, _ in tqdm(chosen, desc="deletion, insertion"):
        pixels = model.square(record)
        features = model.features([pixels])
        class_index = int(model.probabilities(features)[0].argmax())
        for name in names:
            drawn = model.map(name, features[0], class_index, noise)
            areas[name].append(curve_areas(model, pixels, drawn, class_index))

    by_label = [[record for record, label in items if label == wanted] for wanted in (0, 1)]
    hits: dict[str, dict[str, list[bool]]] = {kind: {name: [] for name in names} for kind in ("generated", "real")}
    for kind, (bases, patches, class_index) in {
        "generated": (*by_label, 1),  # a generated patch in a photograph
        "real": (*by_label[::-1], 0),
    }.items():
        for _ in tqdm(range(count), desc=f"pointing at what is {kind}"):
            made, box = composite(model.square(draw.choice(bases)), model.square(draw.choice(patches)), draw)
            features = model.features([made])
            for name in names:
                hits[kind][name].append(points_into(model.map(name, features[0], class_index, noise), box, model.size))
    return {
        name: {
            "deletion": float(np.mean([deletion for deletion, _ in areas[name]])),
            "insertion": float(np.mean([insertion for _, insertion in areas[name]])),
            **{
                f"pointing_{kind}": {
                    "accuracy": float(np.mean(hits[kind][name])),
                    "accuracy_95": wilson_interval(sum(hits[kind][name]), count),
                }
                for kind in hits
            },
        }
        for name in names
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--released", type=Path, required=True, help="folder of the authenticity weights and card")
    parser.add_argument("--split", choices=[name for name, _ in SPLITS], default="test")
    parser.add_argument("--count", type=int, default=200, help="pictures, and composites of each kind")
    parser.add_argument("--out", type=Path, required=True, help="where the JSON goes")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = Classifier(arguments.released, "authenticity", device)
    seed = seed_of(arguments.released, "authenticity")
    items = labelled(split(read_artifact(arguments.data), seed)[arguments.split], "authenticity")
    figures = score(classifier, items, arguments.count, seed)
    described = conditions(arguments.data, arguments.split, seed) | {"count": str(arguments.count)}
    replace_json(arguments.out, {"conditions": described, "maps": figures})
    print(f"{'map':12} {'deletion':>9} {'insertion':>10} {'points at generated':>20} {'at real':>8}")
    for name, row in figures.items():
        print(
            f"{name:12} {row['deletion']:9.3f} {row['insertion']:10.3f} "
            f"{row['pointing_generated']['accuracy']:20.1%} {row['pointing_real']['accuracy']:8.1%}"
        )
    print(f"Low deletion and high insertion are good. All figures: {arguments.out}")


if __name__ == "__main__":
    main()
