"""What the load consists of: who sends, to which endpoint, and which images. All shares are of requests."""

import functools
import random
from dataclasses import dataclass
from pathlib import Path

from imagetrust.files import replace_bytes
from measuring.images import PHOTOGRAPHS, QUALITY, encode
from server.settings import ROOT

ENDPOINTS = ("authenticity", "generator_type", "explanation")
# Of ten requests, how many a sender sends, and the weights of its endpoints.
SENDERS: dict[str, tuple[int, dict[str, int]]] = {
    "UploadFeed": (7, {"authenticity": 5, "generator_type": 2}),
    "Analyst": (1, {"explanation": 1}),
    "PartnerFeed": (2, {"authenticity": 3, "generator_type": 1, "explanation": 1}),
}
TYPICAL = (1024, 768, "JPEG")  # latencies are compared on these: one kind costs the server the same each time
# Width, height and format of an image; of a hundred images, how many.
KINDS = {
    TYPICAL: 45,
    (640, 480, "JPEG"): 25,
    (1600, 1200, "JPEG"): 10,
    (1024, 768, "PNG"): 9,
    (1024, 768, "WEBP"): 9,
    (4000, 3000, "JPEG"): 2,
}
BROKEN_SHARE = 0.02  # images whose file ends after a third of its bytes
BROKEN = "broken"  # the name of all of those
GRAIN = 4  # levels of 255: the detail, and so the bytes, of a photograph that was taken at its size
FOLDER = ROOT / "runs" / "load" / "images"


@dataclass(frozen=True)
class Image:
    """A file to send. kind: its size and format, or BROKEN. media_type: what its sender declares."""

    kind: str
    media_type: str
    body: bytes


def kind_name(width: int, height: int, file_format: str) -> str:
    """Return the name of a kind."""
    return f"{width}x{height} {file_format}"


def choose(only_typical: bool = False) -> Image:
    """Return a random image of the mix, or an unbroken one of the typical kind."""
    width, height, file_format = TYPICAL if only_typical else random.choices(list(KINDS), list(KINDS.values()))[0]
    body, media_type = _body(random.choice(PHOTOGRAPHS), width, height, file_format), f"image/{file_format.lower()}"
    if not only_typical and random.random() < BROKEN_SHARE:
        return Image(BROKEN, media_type, body[: len(body) // 3])
    return Image(kind_name(width, height, file_format), media_type, body)


def make_images() -> None:
    """Make every file that is missing: made during a run, they would take the processor that is being measured."""
    for name in PHOTOGRAPHS:
        for kind in KINDS:
            _body(name, *kind)
    _body.cache_clear()


@functools.cache
def _body(name: str, width: int, height: int, file_format: str) -> bytes:
    path = FOLDER / f"{Path(name).stem}-{width}x{height}-q{QUALITY}-g{GRAIN}.{file_format.lower()}"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        replace_bytes(path, encode(name, width, height, file_format, GRAIN))
    return path.read_bytes()
