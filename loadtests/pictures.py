"""The pictures that are sent: photographs in the kinds of the mix, made once and then read from files.

Making a large one takes a second, which during a run would come out of the processors that are being measured.
"""

import functools
import io
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from loadtests.mix import BROKEN_SHARE, KINDS, TYPICAL, Kind
from server.samples import photograph
from server.settings import ROOT

FOLDER = ROOT / "runs" / "load" / "pictures"
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
QUALITY = 90  # of JPEG and WebP
# Enlarged, a photograph is smooth and its file small; grain of this standard deviation (of 255 levels) gives it the
# detail, and so the bytes and the time to decode, of one that was taken at its size.
GRAIN = 4


@dataclass(frozen=True)
class Picture:
    """A file to send. body: its bytes; broken: it ends too early, so that the server must refuse it."""

    kind: Kind
    body: bytes
    broken: bool


def choose() -> Picture:
    """A picture as the mix has them, at random."""
    (kind,) = random.choices(KINDS, [kind.share for kind in KINDS])
    body = _body(random.choice(PHOTOGRAPHS), kind)
    broken = random.random() < BROKEN_SHARE
    return Picture(kind, body[: len(body) // 3] if broken else body, broken)


def choose_typical() -> Picture:
    """One of the typical kind, whole, at random."""
    return Picture(TYPICAL, _body(random.choice(PHOTOGRAPHS), TYPICAL), broken=False)


def make_all() -> None:
    """Makes every file that is not there yet; some seconds, the first time."""
    for kind in KINDS:
        for name in PHOTOGRAPHS:
            _file(name, kind)


@functools.cache
def _body(name: str, kind: Kind) -> bytes:
    return _file(name, kind).read_bytes()


def _file(name: str, kind: Kind) -> Path:
    made_as = f"{kind.width}x{kind.height}-q{QUALITY}-g{GRAIN}"
    path = FOLDER / f"{Path(name).stem}-{made_as}.{kind.format.lower()}"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")  # several processes of Locust may make the same
        temporary.write_bytes(_encoded(name, kind))
        temporary.replace(path)
    return path


def _encoded(name: str, kind: Kind) -> bytes:
    with Image.open(photograph(name)) as image:
        pixels = np.asarray(image.convert("RGB").resize((kind.width, kind.height)), dtype=np.float32)
    grain = np.random.default_rng(0).normal(0, GRAIN, pixels.shape).astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray((pixels + grain).clip(0, 255).astype(np.uint8)).save(buffer, kind.format, quality=QUALITY)
    return buffer.getvalue()
