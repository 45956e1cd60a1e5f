"""One process of the in-process limit: `python -m benchmarks.peers.in_process_worker FOLDER`, started by in_process.py.

Reads a job a line, {"paths", "count", "batch"}, and writes a line, {"latencies", "answer"}: seconds that each picture
took, which is the time of its batch, and the answer to the first.
"""

import functools
import itertools
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.peers.backend import Backend


@functools.cache
def read(path: str) -> bytes:
    """A picture's bytes, from the disk only the first time: a server is handed them."""
    return Path(path).read_bytes()


def do(backend: Backend, paths: list[str], count: int, batch: int) -> dict[str, object]:
    """Answers `count` pictures, those of `paths` in turn, so many at a time."""
    pictures = [read(path) for path in itertools.islice(itertools.cycle(paths), count)]
    latencies, first = [], None
    for start in range(0, count, batch):
        part = pictures[start : start + batch]
        began = time.perf_counter()
        answers = backend.answer(part)
        latencies += [time.perf_counter() - began] * len(part)
        first = first or answers[0]
    return {"latencies": latencies, "answer": first}


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints goes to the log, not between the replies
    backend = Backend(Path(sys.argv[1]))
    print(json.dumps("ready"), file=replies)
    for line in sys.stdin:
        print(json.dumps(do(backend, **json.loads(line))), file=replies)


if __name__ == "__main__":
    main()
