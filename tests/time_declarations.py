"""CPU time of reading what files declare: `python -m tests.time_declarations FILE...`.

For each file the median of some runs, in milliseconds: decoding it, reading all sources but Content Credentials, and
Content Credentials by themselves.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from handlers.declared import read_declarations
from handlers.declared.content_credentials import read_content_credentials
from handlers.declared.finding import NOTHING
from handlers.declared.opened_file import OpenedFile
from handlers.decode import decode

_RUNS = 15


def cpu_milliseconds(work: Callable[[], object]) -> float:
    """The median of some runs, after one that fills the caches."""
    work()
    seconds = []
    for _ in range(_RUNS):
        began = time.process_time()
        work()
        seconds.append(time.process_time() - began)
    return 1000 * statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the CPU time of reading what files declare.")
    parser.add_argument("files", type=Path, nargs="+")
    rows = []
    for path in parser.parse_args().files:
        data = path.read_bytes()
        picture = decode(data)
        file = OpenedFile.open(data, picture)
        decoding = cpu_milliseconds(lambda data=data: decode(data))
        credentials = cpu_milliseconds(lambda file=file: read_content_credentials(file, None, None, ()))
        with patch("handlers.declared.reading.read_content_credentials", lambda *_: NOTHING):
            others = cpu_milliseconds(lambda data=data, picture=picture: read_declarations(data, picture))
        rows.append((decoding, others, credentials))
        print(f"{path.name:34} decode {decoding:7.2f}   all but C2PA {others:6.2f}   C2PA {credentials:6.2f}")
    means = [statistics.mean(column) for column in zip(*rows, strict=True)]
    print(f"{'mean':34} decode {means[0]:7.2f}   all but C2PA {means[1]:6.2f}   C2PA {means[2]:6.2f}")


if __name__ == "__main__":
    main()
