"""One process of `benchmarks.decode`: reads which image to decode for which model from lines, and answers in lines.

It runs in any checkout of the repository, whose code it then measures.
"""

import hashlib
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image

from imagetrust.images import decode as decoding
from imagetrust.images.views import Preprocessing

# What turns an image upright, shows it on white and makes it RGB.
UPRIGHT = ((Image.Image, "transpose"), (decoding, "_opaque"), (decoding, "_as_rgb"))


class Stopwatch:
    """Adds up the processor time of functions, none of which calls another of them."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def on(self, place: Any, name: str) -> None:
        """Put a function in the place of another that does the same and is timed."""
        function: Callable[..., Any] = getattr(place, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.process_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.process_time() - begin

        setattr(place, name, timed)


def memory(name: str) -> float:
    """Return a figure of /proc/self/status, in MB of 10^6 bytes."""
    return int(re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 / 1e6


def measure(data: bytes, preprocessing: Preprocessing, times: int, upright: Stopwatch) -> dict[str, Any]:
    """Return the processor milliseconds of each stage, the mean, and by how many MB the process grew at most.

    "pixels" is a digest of what the network sees.
    """
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    rest, decoded, seen, upright.seconds = memory("VmRSS"), 0.0, 0.0, 0.0
    for _ in range(times):
        begin = time.process_time()
        image = decoding.decode(data, preprocessing.min_side()).image
        middle = time.process_time()
        views = preprocessing.pixels(image)
        seen += time.process_time() - middle
        decoded += middle - begin
        del image
    seconds = {"decode": decoded - upright.seconds, "upright": upright.seconds, "views": seen}
    return {
        **{name: 1000 * value / times for name, value in seconds.items()},
        "peak_mb": memory("VmHWM") - rest,
        "pixels": hashlib.sha256(views.tobytes()).hexdigest()[:16],
    }


def main() -> None:
    """Answer until the input ends."""
    upright = Stopwatch()
    for place, name in UPRIGHT:
        upright.on(place, name)
    for line in sys.stdin:
        asked = json.loads(line)
        preprocessing = msgspec.convert(asked["preprocessing"], Preprocessing)
        row = measure(Path(asked["file"]).read_bytes(), preprocessing, asked["times"], upright)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
