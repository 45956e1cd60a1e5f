"""What is measured while a request is answered, in plain types: who serves decides what becomes of it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

# Of a request, in order. Inference is that of the whole batch: each of its items waits for it.
STAGES = ("decode", "preprocess", "provenance", "inference", "explanation")


@dataclass
class Measured:
    """One request.

    seconds: by stage of STAGES, those alone that it came to. size: (width, height) of the file's image, once it is
    decoded. views: how many of its views were looked at. recomputed: whether rounding could have changed the answer, so
    that it was computed again in fp32.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    size: tuple[int, int] | None = None
    views: int = 0
    recomputed: bool = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage, also where it fails."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - begin
