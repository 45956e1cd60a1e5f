"""Makes tests/golden, a few pictures that the project may carry: `python -m tests.make_frozen`.

Photographs from the package scikit-image, all in the public domain or CC0 (astronaut: NASA; cat, coffee, rocket),
through ArtiFact's recipe, and pictures by tests/procedural.py. Released cards say what the models make of these files,
and a test that it is still so. Made once: other pictures would be another measure.
"""

import shutil
import tempfile
from pathlib import Path

import numpy as np

from server.samples import photograph
from tests.procedural import SOURCES, picture
from training.import_folder import import_folder
from training.release import FROZEN

PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")
CROPS = 4  # of each photograph
PICTURES = 5  # of each procedural source


def main() -> None:
    shutil.rmtree(FROZEN, ignore_errors=True)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory(prefix="imagetrust-frozen-") as folder:
        for name in PHOTOGRAPHS:
            for crop in range(CROPS):  # the draw of a crop depends on the file's name
                shutil.copy(photograph(name), Path(folder) / f"{crop}_{name}")
        import_folder(Path(folder), FROZEN, "photographs", "real", "scikit-image", "mixed", seed=0)
    for source, (family, _) in SOURCES.items():
        if family == "real":
            continue
        with tempfile.TemporaryDirectory(prefix="imagetrust-frozen-") as folder:
            for number in range(PICTURES):
                picture(family, rng).save(Path(folder) / f"{number}.png")
            import_folder(Path(folder), FROZEN, source, family, source, "mixed", seed=0)
    print(f"{sum(1 for _ in FROZEN.rglob('*.jpg'))} pictures in {FROZEN}\nNext: python -m training.release")


if __name__ == "__main__":
    main()
