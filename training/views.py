"""One resized view of a picture against several native crops of it: `python -m training.views --data ROOT --run RUN`.

RUN is a finished run of training.comparison, best one trained on native crops. Its network looks at validation pictures
of sources that it knows and of generators that it does not, each time in other views of a picture; over several views
the logits are averaged.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from tqdm import tqdm

from handlers.card import Preprocessing
from handlers.classifier import Classifier
from handlers.preprocessing import picture_to_tensor, pixels_to_tensor
from training.data import Pictures, Record, labelled, read_artifact, split
from training.evaluate import conditions
from training.files import replace_json
from training.folds import FOLDS, ROUNDS
from training.metrics import balanced_accuracy
from training.precision import autocast, bf16_is_fast
from training.unseen import scored

CORNERS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
MIDDLE = (0.5, 0.5)


class Served:
    """The one view that the server takes: (1, 3, size, size)."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.preprocessing = preprocessing

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return picture_to_tensor(image, self.preprocessing)[None]


class NativeCrops:
    """Squares of `size` pixels cut out where `places` say, as shares of the room that is left: (places, 3, size, size).

    A picture with a side below `size` is enlarged to it first.
    """

    def __init__(self, preprocessing: Preprocessing, size: int, places: tuple[tuple[float, float], ...]) -> None:
        self.preprocessing = preprocessing
        self.size = size
        self.places = places

    def __call__(self, image: Image.Image) -> torch.Tensor:
        scale = max(1.0, self.size / min(image.size))
        if scale > 1:
            image = image.resize(tuple(max(self.size, round(side * scale)) for side in image.size))
        crops = []
        for across, down in self.places:
            left, top = round(across * (image.width - self.size)), round(down * (image.height - self.size))
            crop = np.array(image.crop((left, top, left + self.size, top + self.size)))
            crops.append(pixels_to_tensor(crop, self.preprocessing))
        return torch.stack(crops)


def logits_over_views(classifier: Classifier, items: list[tuple[Record, int]], transform) -> torch.Tensor:
    """(N, classes): the mean of the logits over a picture's views. transform: a picture to (views, 3, side, side)."""
    rows = []
    loader = DataLoader(Pictures(items, transform), batch_size=8)
    with autocast(classifier.device, bf16_is_fast(classifier.device)):
        for views, _ in tqdm(loader, mininterval=5):
            logits = classifier.logits(classifier.features(views.flatten(0, 1))).float().cpu()
            rows.append(logits.unflatten(0, views.shape[:2]).mean(1))
    return torch.cat(rows)


def figures(classifier: Classifier, records: list[Record], transform, seed: int) -> dict[str, float]:
    """Balanced accuracy on known sources, and the mean over the generators that the first round leaves out."""
    left_out = [FOLDS[name] for name in ROUNDS[0]]
    known = [record for record in records if not any(fold.is_left_out(record) for fold in left_out)]
    parts = {"seen": labelled(split(known, seed)["validation"], "authenticity")}
    parts |= {fold.name: scored(records, known, fold, "validation", seed) for fold in left_out if not fold.photographs}
    # The parts share pictures: each is looked at once.
    items = list({record.path: (record, label) for part in parts.values() for record, label in part}.values())
    logits = logits_over_views(classifier, items, transform)
    row_of = {record.path: row for (record, _), row in zip(items, logits, strict=True)}
    accuracy = {
        name: balanced_accuracy(
            torch.stack([row_of[record.path] for record, _ in part]), torch.tensor([label for _, label in part])
        )
        for name, part in parts.items()
    }
    unseen = [value for name, value in accuracy.items() if name != "seen"]
    return {"seen": accuracy["seen"], "unseen": sum(unseen) / len(unseen)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--run", type=Path, required=True, help="a finished run of training.comparison")
    parser.add_argument("--crop-size", type=int, default=160, help="side of the native crops, pixels")
    parser.add_argument("--report", type=Path, default=Path(__file__).parent / "reports" / "views.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="of the processor; all where not given")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = Classifier(arguments.run, "authenticity", device)
    preprocessing, side = classifier.card.preprocessing, arguments.crop_size
    ways = {
        f"one view, as served ({preprocessing.size} px)": Served(preprocessing),
        f"one native crop ({side} px)": NativeCrops(preprocessing, side, (MIDDLE,)),
        f"five native crops ({side} px)": NativeCrops(preprocessing, side, (MIDDLE, *CORNERS)),
    }
    records, rows = read_artifact(arguments.data), {}
    for name, transform in ways.items():
        rows[name] = figures(classifier, records, transform, arguments.seed)
        print(f"{name:32} unseen generators {rows[name]['unseen']:.1%}, seen {rows[name]['seen']:.1%}", flush=True)
    described = conditions(arguments.data, "validation", arguments.seed, bf16_is_fast(device))
    replace_json(
        arguments.report,
        {"conditions": described | {"run": arguments.run.name, "left out": ", ".join(ROUNDS[0])}, "ways": rows},
    )
    print(f"All figures: {arguments.report}")


if __name__ == "__main__":
    main()
