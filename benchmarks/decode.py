"""What an image costs before the network sees it: `python -m benchmarks.decode`.

Processor milliseconds and peak memory of decoding, of turning upright and showing on white, and of the views, by format
and by what the model sees. Each kind of image has processes of its own, which do nothing else. Two checkouts decode the
same file one after the other, in an order of its own in each round.
"""

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from archive_scripts.build import MODEL_STORE
from benchmarks import heic, stages
from imagetrust.files import replace_json
from measuring.conditions import machine
from measuring.images import QUALITY, picture
from measuring.processes import exit_on_signals
from measuring.report import conditions_text, table
from measuring.summary import ratio, summarise
from server.settings import ROOT

RESULTS = Path(__file__).resolve().parent / "results" / "decode.json"
PHOTOGRAPH, GRAIN = "chelsea.png", 0.3  # so little that lossless files of 12 megapixels are within the limit on bytes
MODELS = {"whole view": "0.3", "three views": "1.1"}  # by releases that have them
STAGES = ("decode", "upright", "views")
SCREEN, CAMERA, LARGE = (1024, 768), (4000, 3000), (8000, 6000)
_ON_ITS_SIDE = 6  # the EXIF orientation of a phone that is held upright
_TIFF_PREDICTOR, _HORIZONTAL = 317, 2

Measured = dict[str, list[Any]]  # figures by name, one of each round


@dataclass(frozen=True)
class Kind:
    """Images of one kind. make: from (width, height) to a file. times: how often one is decoded for a figure."""

    size: tuple[int, int]
    make: Callable[[tuple[int, int]], bytes]
    times: int = 1


def photograph(file_format: str, orientation: int = 1, **options: object) -> Callable[[tuple[int, int]], bytes]:
    """Return what makes a file of the photograph; JPEG with colour at half resolution, as cameras write it."""
    if file_format == "JPEG":
        options |= {"quality": QUALITY, "subsampling": "4:2:0"}
    exif = Image.Exif()
    exif[0x0112] = orientation

    def make(size: tuple[int, int]) -> bytes:
        return _encoded(picture(PHOTOGRAPH, *size, GRAIN), file_format, **options, exif=exif)

    return make


def cut_out(size: tuple[int, int]) -> bytes:
    """Return a PNG whose middle is opaque, with a soft edge, and whose corners are transparent."""
    opacity = Image.radial_gradient("L").resize(size).point(lambda value: max(0, min(255, 8 * (200 - value))))
    image = Image.composite(
        picture(PHOTOGRAPH, *size, GRAIN), Image.new("RGB", size), opacity.point(lambda value: 255 * (value > 0))
    )
    image.putalpha(opacity)
    return _encoded(image, "PNG")


def palette(size: tuple[int, int]) -> bytes:
    """Return a PNG of 256 colours, the first of them transparent by halves."""
    return _encoded(picture(PHOTOGRAPH, *size, GRAIN).quantize(256), "PNG", transparency=bytes(range(0, 256, 2)))


def _encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


KINDS = {
    "JPEG 1024x768": Kind(SCREEN, photograph("JPEG"), 20),
    "JPEG 12 MP": Kind(CAMERA, photograph("JPEG")),
    "JPEG 12 MP, on its side": Kind(CAMERA, photograph("JPEG", _ON_ITS_SIDE)),
    "JPEG 12 MP, progressive": Kind(CAMERA, photograph("JPEG", progressive=True)),
    "JPEG 48 MP, progressive": Kind(LARGE, photograph("JPEG", progressive=True)),
    "PNG 1024x768": Kind(SCREEN, photograph("PNG"), 5),
    "PNG 12 MP, transparent": Kind(CAMERA, cut_out),
    "PNG 12 MP, palette": Kind(CAMERA, palette),
    "HEIC 12 MP": Kind((4032, 3024), lambda size: heic.grid(*size)),
    "AVIF 12 MP": Kind(CAMERA, photograph("AVIF", speed=9)),
    "WebP 12 MP": Kind(CAMERA, photograph("WEBP", quality=QUALITY, method=2)),
    "WebP 12 MP, lossless": Kind(CAMERA, photograph("WEBP", lossless=True, method=0)),
    "TIFF 12 MP": Kind(
        CAMERA, photograph("TIFF", compression="tiff_adobe_deflate", tiffinfo={_TIFF_PREDICTOR: _HORIZONTAL})
    ),
}


class Process:
    """A process of a checkout that decodes what it is asked to."""

    def __init__(self, checkout: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", stages.__file__],
            cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def ask(self, file: Path, preprocessing: object, times: int) -> dict[str, Any]:
        """Return what a process of `benchmarks.stages` measures. Raises RuntimeError where it has ended."""
        print(
            json.dumps({"file": str(file), "preprocessing": preprocessing, "times": times}),
            file=self._process.stdin, flush=True,
        )  # fmt: skip
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process that decodes {file.name} ended")
        return json.loads(answer)

    def stop(self) -> None:
        """End it."""
        self._process.stdin.close()
        self._process.wait()


def measure(
    file: Path, preprocessing: object, checkouts: Mapping[str, Path], times: int, rounds: int, order: random.Random
) -> dict[str, Measured]:
    """Return the figures of each round by checkout. One more round is not counted."""
    measured = {checkout: Measured() for checkout in checkouts}
    processes = {name: Process(checkout) for name, checkout in checkouts.items()}
    try:
        for turn in range(rounds + 1):
            for name in order.sample(list(processes), len(processes)):
                row = processes[name].ask(file, preprocessing, times)
                row["ms"] = sum(row[stage] for stage in STAGES)
                for figure, value in row.items() if turn else ():
                    measured[name].setdefault(figure, []).append(value)
    finally:
        for process in processes.values():
            process.stop()
    return measured


def measure_kinds(
    folder: Path, names: Sequence[str], checkouts: Mapping[str, Path], rounds: int, smaller: int = 1
) -> tuple[dict[str, int], dict[str, dict[str, dict[str, Measured]]]]:
    """Return the bytes of each kind's file, and kind -> model -> checkout -> figures.

    smaller: what both sides of an image are divided by.
    """
    sizes, measured, order = dict[str, int](), {}, random.Random(0)
    for name in names:
        kind, file = KINDS[name], folder / "image"
        file.write_bytes(kind.make((kind.size[0] // smaller, kind.size[1] // smaller)))
        sizes[name], measured[name] = file.stat().st_size, {}
        for model, release in MODELS.items():
            preprocessing = json.loads((MODEL_STORE / release / "config.json").read_text())["preprocessing"]
            measured[name][model] = measure(file, preprocessing, checkouts, kind.times, rounds, order)
        print(f"  {name}", flush=True)
    return sizes, measured


def report(sizes: Mapping[str, int], measured: Mapping[str, Mapping[str, Mapping[str, Measured]]]) -> str:
    """Return two tables, what an image costs by checkout and by stage in the first of them, and whose pixels differ.

    Ratios are the median of those within a round.
    """
    costs, parts, differing = [], [], []
    checkouts = list(next(iter(next(iter(measured.values())).values())))
    for name, models in measured.items():
        for model, by_checkout in models.items():
            first = by_checkout[checkouts[0]]
            costs.append(
                [f"{name}, {model}", f"{sizes[name] / 1e6:.1f}"]
                + [summarise(by_checkout[checkout]["ms"]).text(1) for checkout in checkouts]
                + [f"{ratio(by_checkout[checkout]['ms'], first['ms']).median:.2f}" for checkout in checkouts[1:]]
                + [f"{summarise(by_checkout[checkout]['peak_mb']).median:.0f}" for checkout in checkouts]
            )
            if len({digest for figures in by_checkout.values() for digest in figures["pixels"]}) > 1:
                differing.append(f"{name}, {model}")
            parts.append([f"{name}, {model}", *(summarise(first[stage]).text(1) for stage in STAGES)])
    header = ["image, model", "MB"]
    header += [f"{checkout}, ms" for checkout in checkouts]
    header += [f"{checkout} / {checkouts[0]}" for checkout in checkouts[1:]]
    header += [f"{checkout}, peak MB" for checkout in checkouts]
    stages_header = ["image, model", *(f"{stage}, ms" for stage in STAGES)]
    seen = f"Images of which the network sees other pixels: {'; '.join(differing) or 'none'}"
    return f"{table(header, costs)}\n\nStages of {checkouts[0]}:\n\n{table(stages_header, parts)}\n\n{seen}"


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout of the repository, measured beside this one")
    parser.add_argument("--rounds", type=int, default=7, help="that count")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help="of the images")
    parser.add_argument("--quick", action="store_true", help="see that it runs: one round of small images")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the results")
    arguments = parser.parse_args()
    exit_on_signals()
    checkouts = {"now": ROOT} | ({"before": arguments.before.resolve()} if arguments.before else {})
    rounds, smaller = (1, 8) if arguments.quick else (arguments.rounds, 1)
    conditions = machine(("pillow", "pillow-heif", "opencv-python-headless")) | {
        "photograph": PHOTOGRAPH,
        "rounds": rounds,
        "models": MODELS,
    }
    with tempfile.TemporaryDirectory(prefix="decode-") as folder:
        sizes, measured = measure_kinds(Path(folder), arguments.kinds, checkouts, rounds, smaller)
    print(conditions_text(conditions))
    print(report(sizes, measured))
    replace_json(arguments.out, {"conditions": conditions, "bytes": sizes, "measured": measured})


if __name__ == "__main__":
    main()
