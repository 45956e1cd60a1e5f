"""What an answer costs, here and with other servers, in one run: `python -m benchmarks.compare` (or `make bench`).

Starts every server that is compared, each with two one-thread workers and the same weights, and sends all of them the
same images in interleaved blocks. Counts the processor time of each server's processes, without the client's. Prints
the tables and writes them and the metrics to benchmarks/results. docs/benchmarks.md says what each row is.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from archive_scripts.build import MODEL_STORE
from archive_scripts.prepare import prepare
from benchmarks import systems
from benchmarks.blocks import agreement, interleave, measure_idle, run_block
from benchmarks.systems import Server, Setup, System
from imagetrust.files import replace_bytes, replace_json
from measuring.conditions import machine
from measuring.images import encode
from measuring.processes import exit_on_signals
from measuring.report import conditions_text, table
from measuring.summary import Summary, ratio, summarise

RESULTS = Path(__file__).resolve().parent / "results"
PACKAGES = ("torch", "torchvision", "openvino", "pillow", "torchserve", "fastapi", "uvicorn", "litserve", "grpcio")
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg",
    "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
SIZES = {"640x480": (640, 480), "1024x768": (1024, 768), "4000x3000": (4000, 3000)}
TYPICAL, LARGEST = "1024x768", "4000x3000"  # where both questions are asked; of which a block has half as many
STARTED_AT_ONCE = 3  # servers: while one waits for the disk or for a worker, another computes
MIN_FREE_BYTES = 1_500_000_000  # what a server under test may take when it starts


@dataclass(frozen=True)
class Target:
    """CPU time of the baselines over that of a system of ours is to be at least `ratio`, for images of one size.

    baselines: where there are several, the cheapest counts.
    """

    name: str
    size: str
    system: str
    baselines: tuple[str, ...]
    ratio: float


TARGETS = (
    Target("in process / ImageTrust", TYPICAL, systems.REST, (systems.IN_PROCESS, systems.IN_PROCESS_BATCHES), 0.90),
    Target("stock TorchServe handler / ImageTrust", TYPICAL, systems.REST, (systems.STOCK,), 4.0),
    Target("FastAPI / ImageTrust", TYPICAL, systems.REST, (systems.FASTAPI,), 4.0),
    Target("LitServe with our predictor / ImageTrust", TYPICAL, systems.REST,
           (systems.LITSERVE_BATCHES, systems.LITSERVE_SINGLE), 1.05),
    Target("stock TorchServe handler / ImageTrust, 12 MP", LARGEST, systems.REST, (systems.STOCK,), 6.0),
    Target("two requests / one, both questions", TYPICAL, systems.BOTH, (systems.SEPARATE,), 1.7),
)  # fmt: skip


def cost_ratio(target: Target, sizes: dict[str, dict[str, Any]]) -> Summary | None:
    """Return a target's ratio over the blocks; None where the run did not measure it. sizes: of a run's metrics."""
    costs = {name: row["cpu_ms"] for name, row in sizes.get(target.size, {}).items()}
    if not {target.system, *target.baselines} <= costs.keys():
        return None
    cheapest = min(target.baselines, key=lambda name: summarise(costs[name]).median)
    return ratio(costs[cheapest], costs[target.system])


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, default=MODEL_STORE / "0.3", help="folder of a release with one view")
    parser.add_argument("--blocks", type=int, default=5, help="that count, of every row and size")
    parser.add_argument("--requests", type=int, default=64, help="in one block; half as many of 12 megapixels")
    parser.add_argument("--warm-up", type=int, default=300, help="requests to every row before the first block")
    parser.add_argument("--concurrency", type=int, default=16, help="requests under way at a time")
    parser.add_argument("--workers", type=int, default=2, help="processes that infer, of each server")
    parser.add_argument("--batch-size", type=int, default=2, help="requests of one forward pass at most")
    parser.add_argument("--batch-delay", type=int, default=1, help="milliseconds for which the first waits for others")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="of the images")
    parser.add_argument("--idle-seconds", type=float, default=5.0, help="of each server without requests")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="see that it runs: one worker, one size, few requests")
    arguments = parser.parse_args()
    if arguments.quick:
        quick = {"blocks": 2, "requests": 8, "warm_up": 4, "concurrency": 4, "workers": 1, "idle_seconds": 0.5}
        parser.set_defaults(**quick, sizes=[TYPICAL])
        arguments = parser.parse_args()
    exit_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result = run(Path(folder), arguments)
    page = as_markdown(result)
    print(page)
    arguments.out.mkdir(parents=True, exist_ok=True)
    replace_bytes(arguments.out / "compare.md", page.encode())
    replace_json(arguments.out / "compare.json", result)
    print(f"Written to {arguments.out}: compare.md and compare.json")


def run(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure everything; return the metrics, ready for JSON. folder: for what the servers write."""
    conditions = machine(PACKAGES)
    release, serving = arguments.release.resolve(), folder / "serving"
    model = prepare(release, serving)
    conditions |= {"release": model.config.version, "weights_sha256": model.config.weights_sha256}
    names = ("workers", "batch_size", "batch_delay", "blocks", "requests", "concurrency", "warm_up")
    conditions |= {name: getattr(arguments, name) for name in names}
    setup = Setup(release, serving, arguments.workers, arguments.batch_size, arguments.batch_delay)
    images = {size: [encode(name, *SIZES[size]) for name in PHOTOGRAPHS] for size in arguments.sizes}
    requests = {size: arguments.requests // (2 if size == LARGEST else 1) for size in images}
    one, both = systems.one_question(), systems.both_questions()
    rows = {size: [*one, *both] if size == TYPICAL else one for size in images}
    servers = list(dict.fromkeys(system.server for system in (*one, *both)))
    try:
        print("Starting the servers ...", flush=True)
        start_all(servers, folder, setup)
        print("Measuring ...", flush=True)
        first = next(iter(images.values()))
        conditions["engine"] = json.loads(one[0].load(first[:1], 1, 1).answer)["model"]["engine"]
        same = agreement(one, first)
        for system in (*one, *both):
            run_block(system, first, arguments.warm_up, arguments.concurrency)
        measured = interleave(rows, images, requests, arguments.blocks, arguments.concurrency, _say)
        idle = {_names(server, (*one, *both)): measure_idle(server, arguments.idle_seconds) for server in servers}
    finally:
        with ThreadPoolExecutor(len(servers)) as pool:  # side by side: each waits for its own processes
            list(pool.map(lambda server: server.stop(), servers))
    sizes = {size: {name: row.metrics() for name, row in by_system.items()} for size, by_system in measured.items()}
    return {"conditions": conditions, "sizes": sizes, "servers": idle, "agreement": same}


def start_all(servers: Sequence[Server], folder: Path, setup: Setup) -> None:
    """Start the servers, to stay up together. Raises MemoryError where too little is free."""

    def start(number: int) -> None:
        if psutil.virtual_memory().available < MIN_FREE_BYTES:
            raise MemoryError(f"too little memory is free to hold {len(servers)} servers at once")
        place = folder / str(number)
        place.mkdir()
        servers[number].start(place, setup)
        _say(f"  server {number + 1} of {len(servers)} is up")

    with ThreadPoolExecutor(STARTED_AT_ONCE) as pool:
        list(pool.map(start, range(len(servers))))


def as_markdown(result: dict[str, Any]) -> str:
    """Return the results page for the metrics that `run` returned."""
    parts = ["# What an answer costs", conditions_text(result["conditions"])]
    header = ["", "CPU ms a request", "requests/s", "p50 ms", "p95 ms", "p99 ms"]
    for size, rows in result["sizes"].items():
        lines = [
            [name, summarise(row["cpu_ms"]).text(1), summarise(row["requests_per_second"]).text(1),
             *(f"{row[f'p{share}_ms']:.0f}" for share in (50, 95, 99))]
            for name, row in rows.items()
        ]  # fmt: skip
        parts += [f"## {size} JPEG", table(header, lines)]
    ratios = [(target, found) for target in TARGETS if (found := cost_ratio(target, result["sizes"]))]
    parts += [
        "CPU milliseconds are the server's alone: median over the blocks (least to greatest). Requests a second and "
        "latencies are by the clock, with the client on the same cores.",
        "## Targets",
        table(["cost ratio", "images", "median (least to greatest)", "target", "reached"],
              [[target.name, target.size, found.text(2), f"{target.ratio:.2f}",
                "yes" if found.median >= target.ratio else "no"] for target, found in ratios]),
        "## Servers",
        table(["server", "memory MB (PSS)", "idle CPU ms/s"],
              [[name, f"{row['memory_mb']:.0f}", f"{row['idle_cpu_ms_per_second']:.0f}"]
               for name, row in result["servers"].items()]),
        "## Same model",
        table(["answers", "same labels", "largest difference of a probability"],
              [[name, f"{row['same_labels']:.0%}", f"{row['largest_difference']:.3f}"]
               for name, row in result["agreement"].items()]),
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _names(server: Server, rows: Sequence[System]) -> str:
    return " / ".join(row.name for row in rows if row.server is server)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
