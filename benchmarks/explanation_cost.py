"""What an explanation costs beside a bare verdict: `python -m benchmarks.explanation_cost`.

Starts a server of its own and sends the same photographs to `authenticity` and to `explanation` in turn, block by
block, one request at a time. Counts the processor time of Java and all workers, so that what else runs on the machine
matters little, and prints the median over the blocks of CPU milliseconds a request and of the ratio.
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import psutil

from archive_scripts.build import ENDPOINTS, RELEASED, build
from benchmarks.pictures import PHOTOGRAPHS, SIZES, pictures
from benchmarks.processes import processor_seconds
from clients.rest import ask
from server.instance import TorchServe, free_addresses

MEASURED_SIZES = ("640x480", "1024x768")


def block(server: TorchServe, endpoint: str, files: list[bytes], rounds: int) -> float:
    """CPU milliseconds a request over `rounds` rounds of the files."""
    address, token = server.addresses.inference, server.token("inference")
    before = processor_seconds([server.process])
    for _ in range(rounds):
        for data in files:
            status, answer = ask(address, endpoint, data, token)
            if status != 200:
                raise SystemExit(f"error: {endpoint} answered {status}: {answer}")
    return 1000 * (processor_seconds([server.process]) - before) / (rounds * len(files))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of weights and cards")
    parser.add_argument(
        "--blocks", type=int, default=7, help="of each endpoint and size, after one that is not counted"
    )
    parser.add_argument("--rounds", type=int, default=5, help="of the photographs, in one block")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imagetrust-") as folder:
        store = Path(folder) / "store"
        for endpoint in ENDPOINTS:
            build(endpoint, arguments.released, store)
        server = TorchServe(Path(folder))
        server.start(changes={"model_store": str(store)} | free_addresses())
        try:
            compare(server, arguments.blocks, arguments.rounds)
        finally:
            server.stop()
    print(
        f"{psutil.cpu_count()} cores, {arguments.blocks} blocks of {arguments.rounds * len(PHOTOGRAPHS)} requests each"
    )


def compare(server: TorchServe, blocks: int, rounds: int) -> None:
    """Prints a row a size."""
    print(f"{'picture':12} {'authenticity':>13} {'explanation':>12} {'ratio':>6}  (CPU ms a request, medians)")
    for size in MEASURED_SIZES:
        files = pictures(SIZES[size])
        measured: dict[str, list[float]] = {"authenticity": [], "explanation": []}
        for number in range(blocks + 1):
            for endpoint, values in measured.items():
                cost = block(server, endpoint, files, rounds)
                if number:
                    values.append(cost)
        bare, explained = measured.values()
        ratio = statistics.median(b / a for a, b in zip(bare, explained, strict=True))
        print(f"{size:12} {statistics.median(bare):13.1f} {statistics.median(explained):12.1f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
