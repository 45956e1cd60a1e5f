"""Write into a release's description what its answers and images look like on what it has not learnt from.

    python -m training.reference --release model_store/1.0 --data ROOT [--wild ROOT] --predictions FOLDER

The predictions are those that its report left (evaluation.report): of the test split, and of the wild set where there
is one. A server compares with it what it is asked (docs/operations.md, drift). Weights and digests stay as they are.
"""

import argparse
import csv
import sys
from collections.abc import Iterable
from pathlib import Path

import msgspec
from PIL import Image

from imagetrust.distributions import Reference, counted
from imagetrust.models.config import ModelConfig
from training.data import DataError, Record, read_artifact, read_wild

PREDICTIONS = {"test": "predictions_test_authenticity.csv", "wild": "predictions_wild_authenticity.csv"}


def read_reference(predictions: Path, records: Iterable[Record]) -> Reference:
    """Return how the images of a file of predictions are spread. Raises DataError where one is not in the data set."""
    paths = {(record.source, record.path.name): record.path for record in records}
    with predictions.open(newline="") as file:
        rows = list(csv.DictReader(file))
    try:
        sizes = [_megapixels(paths[row["source"], row["file"]]) for row in rows]
    except KeyError as error:
        raise DataError(f"{predictions} names an image that is not in the data set: {error}") from error
    return Reference(counted("probability", (float(row["generated"]) for row in rows)), counted("megapixels", sizes))


def _megapixels(path: Path) -> float:
    with Image.open(path) as image:  # the header alone
        return image.width * image.height / 1e6


def add_reference(release: Path, predictions: Path, data: Path, wild: Path | None) -> dict[str, Reference]:
    """Write the reference of each set that has predictions into a release's description, and return it.

    Raises DataError where images or predictions are missing.
    """
    sets = {"test": (read_artifact, data)} | ({"wild": (read_wild, wild)} if wild else {})
    reference = {}
    for name, (read, root) in sets.items():
        path = predictions / PREDICTIONS[name]
        if not path.is_file():
            raise DataError(f"{path} is not there: evaluation.report writes it")
        reference[name] = read_reference(path, read(root))
    msgspec.structs.replace(ModelConfig.read(release), reference=reference).write(release)
    return reference


def main() -> None:
    """Add the reference from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the ArtiFact root that it was scored on")
    parser.add_argument("--wild", type=Path, help="the folder of whole images that it was scored on")
    parser.add_argument("--predictions", type=Path, required=True, help="the folder that its report wrote them to")
    arguments = parser.parse_args()
    try:
        reference = add_reference(arguments.release, arguments.predictions, arguments.data, arguments.wild)
    except (DataError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    for name, one in reference.items():
        print(f"{name}: {sum(one.probability)} images, probability {one.probability}, megapixels {one.megapixels}")


if __name__ == "__main__":
    main()
