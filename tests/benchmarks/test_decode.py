"""What is measured of decoding is what was spent on it, on files of the kinds that are named."""

import io
import json
import subprocess
import sys
import time
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from PIL import Image

from benchmarks import heic
from benchmarks.decode import KINDS, MODELS, STAGES, Process, report
from benchmarks.stages import Stopwatch
from imagetrust.images.decode import decode
from imagetrust.images.views import Preprocessing, ViewRule
from server.settings import ROOT
from tests.procedural import encoded

WHOLE = Preprocessing(192, "bicubic", (0.5,) * 3, (0.5,) * 3, (ViewRule(fraction=1.0),))


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_what_its_name_says(name):
    width, height = KINDS[name].size
    data = KINDS[name].make((width // 8, height // 8))
    decoded = decode(data)
    size = (height // 8, width // 8) if "on its side" in name else (width // 8, height // 8)
    assert decoded.size == size
    assert decoded.format == {"HEIC": "HEIF", "WebP": "WEBP"}.get(name.split()[0], name.split()[0])
    with Image.open(io.BytesIO(data)) as opened:
        assert ("progressive" in opened.info) == ("progressive" in name)
        assert opened.mode == {"transparent": "RGBA", "palette": "P"}.get(name.split()[-1], "RGB")
        assert ("transparency" in opened.info) == ("palette" in name)


@pytest.mark.parametrize("size", [(512, 512), (1024, 512), (700, 1300)])
def test_a_heic_is_made_of_its_tile(size):
    tile = np.asarray(decode(heic.TILE.read_bytes()).image)
    seen = np.asarray(decode(heic.grid(*size)).image)
    rows, columns = -(-size[1] // 512), -(-size[0] // 512)
    assert (seen == np.tile(tile, (rows, columns, 1))[: size[1], : size[0]]).all()


def test_a_timed_function_is_counted_and_answers_as_before():
    place, watch = SimpleNamespace(double=lambda number: burn(0.05) or 2 * number), Stopwatch()
    watch.on(place, "double")
    burn(0.05)
    assert place.double(number=3) == 6
    assert watch.seconds == pytest.approx(0.05, abs=0.02)


def test_a_decoded_image_is_counted_in_memory(tmp_path):
    """In a process of its own: one that has grown before has room for the image."""
    file = tmp_path / "red.png"
    file.write_bytes(encoded(Image.new("RGB", (4000, 3000), "red"), "PNG", compress_level=1))
    process = Process(ROOT)
    try:
        row = process.ask(file, msgspec.to_builtins(WHOLE), 1)
    finally:
        process.stop()
    assert 40 < row["peak_mb"] < 120 and 0 <= row["upright"] < row["views"] < row["decode"]


def test_a_process_measures_the_checkout_that_it_is_given(tmp_path):
    """This one has a decoder of its own."""
    for module, content in {
        "decode": "from PIL import Image\nfrom types import SimpleNamespace\n_opaque = _as_rgb = None\n"
        "def decode(data, least): return SimpleNamespace(image=Image.new('RGB', (9, 9), data.decode()))",
        "views": "import msgspec, numpy\nclass Preprocessing(msgspec.Struct):\n"
        "    def min_side(self): return None\n    def pixels(self, image): return numpy.asarray(image)",
    }.items():
        file = tmp_path / "imagetrust" / "images" / f"{module}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    (tmp_path / "file").write_text("lime")
    process = Process(tmp_path)
    try:
        row = process.ask(tmp_path / "file", {}, 2)
    finally:
        process.stop()
    assert set(row) == {*STAGES, "peak_mb", "pixels"}


def test_ratios_are_within_a_round_and_other_pixels_are_named():
    def figures(costs: list[float], digest: str) -> dict[str, list]:
        return {**dict.fromkeys(STAGES, costs), "ms": costs, "peak_mb": [1, 2, 3], "pixels": [digest] * 3}

    now = figures([10, 20, 30], "a")
    measured = {
        "GIF": {"one": {"now": now, "before": figures([20, 40, 30], "b")}},
        "BMP": {"one": {"now": now, "before": figures([10, 20, 30], "a")}},
    }
    text = report({"GIF": 1_000_000, "BMP": 2_000_000}, measured)
    row = next(line.split("|") for line in text.splitlines() if line.startswith("| GIF"))
    assert [cell.strip() for cell in row[2:6]] == ["1.0", "20.0 (10.0 to 30.0)", "30.0 (20.0 to 40.0)", "2.00"]
    assert text.endswith("sees other pixels: GIF, one")


def test_the_command_runs(tmp_path):
    out = tmp_path / "decode.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.decode", "--quick", "--before", ROOT, "--kinds", "PNG 1024x768",
         "HEIC 12 MP", "--out", out],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("sees other pixels: none")
    written = json.loads(out.read_text())
    assert written["bytes"].keys() == written["measured"].keys() == {"PNG 1024x768", "HEIC 12 MP"}
    for models in written["measured"].values():
        assert models.keys() == MODELS.keys()
        assert all(figures["ms"][0] > 0 for by_checkout in models.values() for figures in by_checkout.values())
