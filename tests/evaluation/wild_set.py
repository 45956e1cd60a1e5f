"""A wild set that the tests make: whole procedural images with a labels.csv."""

import csv
from pathlib import Path

import numpy as np

from tests.procedural import picture

COLUMNS = ("file", "family", "source", "generator", "category", "saved", "origin_repository", "license")


def make_wild_set(root: Path, per_source: int = 3) -> Path:
    rng = np.random.default_rng(5)
    root.mkdir(parents=True)
    sources = [(f"{family}_{number}", family) for family in ("real", "gan", "diffusion") for number in range(4)]
    with (root / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for source, family in sources:
            for number in range(per_source):
                name = f"{source}_{number}.jpg"
                picture(family, rng).resize((320, 240)).save(root / name, quality=85)
                saved = "original" if number == 0 else "jpeg 85 320"
                category = "photo" if number else "drawing"
                writer.writerow((name, family, source, source, category, saved, f"owner/{source}", "MIT"))
    return root
