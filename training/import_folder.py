"""Make a folder of images a source of a data root.

    python -m training.import_folder FOLDER --data ROOT --source NAME --family diffusion --generator sdxl

Each image goes through ArtiFact's recipe (arXiv 2302.11970, section 3): a random square of 5/8 to 1 of the short
side, resized to 200 x 200, JPEG of a random quality from 65 to 100. So the new source is made like the others, and no
trace of how it came here gives it away. Images that cannot be read are named and left out.
"""

import argparse
import csv
import io
import random
import shutil
import sys
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from imagetrust.errors import RequestError
from imagetrust.files import replace_bytes
from imagetrust.images.decode import decode
from training.sources import FAMILIES, REAL, UNDISCLOSED

SIDE = 200  # pixels
SHARE = (5 / 8, 1.0)  # of the short side
QUALITY = (65, 100)  # of the JPEG
TARGETS = {REAL: 0, "gan": 1, "diffusion": 2, "other": 3, UNDISCLOSED: 4}  # as in artifact_mini's metadata.csv


def artifact_recipe(image: Image.Image, draw: random.Random) -> bytes:
    """Return the JPEG that ArtiFact's recipe makes of an RGB image."""
    side = round(min(image.size) * draw.uniform(*SHARE))
    left, top = draw.randint(0, image.width - side), draw.randint(0, image.height - side)
    buffer = io.BytesIO()
    image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)).save(
        buffer, "JPEG", quality=draw.randint(*QUALITY)
    )
    return buffer.getvalue()


def import_folder(
    folder: Path, root: Path, source: str, family: str, generator: str, category: str, seed: int
) -> tuple[int, list[str]]:
    """Write `root/source` and its line in `root/sources.csv`; returns how many images, and what was left out.

    The source appears at once and whole, or not at all. Raises FileExistsError where it is there already, and
    ValueError where the folder holds no readable image.
    """
    target, temporary = root / source, root / f".{source}.partial"
    if target.exists():
        raise FileExistsError(f"{target} is there already; remove it first, or choose another --source")
    shutil.rmtree(temporary, ignore_errors=True)  # of an import that was interrupted
    temporary.mkdir(parents=True)
    rows, left_out = [], []
    for path in tqdm(sorted(path for path in folder.rglob("*") if path.is_file()), desc=source):
        # The draw depends on the file alone, so that a second import of a grown folder repeats the first.
        origin = path.relative_to(folder).as_posix()
        try:
            content = artifact_recipe(decode(path.read_bytes()).image, random.Random(f"{seed}:{origin}"))
        except RequestError as error:
            left_out.append(f"{path}: {error.message}")
            continue
        name = f"img{len(rows):06d}.jpg"
        (temporary / name).write_bytes(content)
        rows.append([name, name, TARGETS[family], category, origin])
    if not rows:
        shutil.rmtree(temporary)
        raise ValueError(f"{folder} holds no image that can be read")
    with (temporary / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["filename", "image_path", "target", "category", "origin"], *rows])
    _describe(root / "sources.csv", source, family, generator)
    temporary.rename(target)
    return len(rows), left_out


def _describe(table: Path, source: str, family: str, generator: str) -> None:
    columns, rows = ["source", "family", "generator"], []
    if table.exists():
        with table.open(newline="") as file:
            reader = csv.DictReader(file)
            columns, rows = list(reader.fieldnames or columns), [row for row in reader if row["source"] != source]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows([*rows, {"source": source, "family": family, "generator": generator}])
    replace_bytes(table, text.getvalue().encode())


def main() -> None:
    """Import from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="searched with its sub-folders")
    parser.add_argument("--data", type=Path, required=True, help="the data root that gets the new source")
    parser.add_argument("--source", required=True, help="name of the new source's folder")
    parser.add_argument("--family", choices=(*FAMILIES, UNDISCLOSED), required=True)
    parser.add_argument("--generator", required=True, help="what made the images; for photographs, the collection")
    parser.add_argument("--category", default="mixed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        count, left_out = import_folder(
            arguments.folder, arguments.data, arguments.source, arguments.family, arguments.generator,
            arguments.category, arguments.seed,
        )  # fmt: skip
    except (FileExistsError, ValueError) as error:
        sys.exit(f"error: {error}")
    print("\n".join(["Left out:", *left_out]) if left_out else "Nothing was left out.")
    print(f"{count} images in {arguments.data / arguments.source}\nNext: make train DATA={arguments.data}")


if __name__ == "__main__":
    main()
