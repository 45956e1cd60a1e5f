"""What an answer costs, here and with other servers, in one run: `python -m benchmarks.compare` (or `make bench`).

For each release, starts every server that is compared, each with two one-thread workers and the same weights, and sends
all of them the same images in interleaved blocks. Counts the processor time of each server's processes, without the
client's. Prints the tables and writes them and the metrics to benchmarks/results. docs/benchmarks.md says what each row
is.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
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
from imagetrust.models.config import ModelConfig
from measuring.conditions import machine
from measuring.images import encode
from measuring.processes import exit_on_signals
from measuring.report import conditions_text, table
from measuring.summary import Summary, ratio, summarise
from server.gate import nginx
from server.gate_config import GateError

RESULTS = Path(__file__).resolve().parent / "results"
RELEASES = (MODEL_STORE / "1.3", MODEL_STORE / "1.0-fast")
PACKAGES = (
    "torch", "torchvision", "openvino", "pillow", "pillow-heif", "torchserve", "fastapi", "uvicorn", "litserve", "ray",
    "grpcio",
)  # fmt: skip
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "hubble_deep_field.jpg",
    "motorcycle_left.png", "rocket.jpg",
)  # fmt: skip
TYPICAL, LARGEST, HEIC = "1024x768", "4000x3000", "HEIC"
SIZES = {
    "640x480": (640, 480, "JPEG"),
    TYPICAL: (1024, 768, "JPEG"),
    LARGEST: (4000, 3000, "JPEG"),
    HEIC: (4000, 3000, "HEIC"),
}
SEEN_FOR_AGREEMENT = 2  # images of each size
STARTED_AT_ONCE = 3  # servers: while one waits for the disk or for a worker, another computes
MIN_FREE_BYTES = 3_000_000_000  # what a server under test may take when it starts


@dataclass(frozen=True)
class Target:
    """CPU time of some systems over that of another, for images of one size: at least `bound`, or at most.

    above: where there are several, the cheapest counts.
    """

    name: str
    size: str
    above: tuple[str, ...]
    below: str
    bound: float
    at_most: bool = False

    def is_reached(self, found: float) -> bool:
        """Whether a ratio is on the right side of the bound."""
        return found <= self.bound if self.at_most else found >= self.bound


@dataclass(frozen=True)
class Kind:
    """How releases of one kind are measured, and what they are to reach.

    requests: of one block, by the name of a size. warm_up: requests to every row before the first block.
    """

    requests: Mapping[str, int]
    warm_up: int
    targets: tuple[Target, ...]


_IN_PROCESS = (systems.IN_PROCESS, systems.IN_PROCESS_BATCHES)
_LITSERVE = (systems.LITSERVE_BATCHES, systems.LITSERVE_SINGLE)
_BOTH = Target("both questions: one request / two", TYPICAL, (systems.BOTH,), systems.SEPARATE, 0.53, at_most=True)
KINDS = {
    "fast": Kind(
        {"640x480": 64, TYPICAL: 64, LARGEST: 32, HEIC: 8},
        300,
        (
            Target("in process / ImageTrust", TYPICAL, _IN_PROCESS, systems.REST, 0.90),
            Target("stock TorchServe handler / ImageTrust", TYPICAL, (systems.STOCK,), systems.REST, 4.0),
            Target("FastAPI / ImageTrust", TYPICAL, (systems.FASTAPI,), systems.REST, 4.0),
            Target("LitServe with our predictor / ImageTrust", TYPICAL, _LITSERVE, systems.REST, 1.1),
            Target("stock TorchServe handler / ImageTrust, 12 MP", LARGEST, (systems.STOCK,), systems.REST, 5.0),
            _BOTH,
        ),
    ),
    "accurate": Kind(
        dict.fromkeys(SIZES, 2 * len(PHOTOGRAPHS)),  # what an image costs depends on how many views are looked at
        16,
        (
            Target("in process / ImageTrust", TYPICAL, _IN_PROCESS, systems.REST, 0.97),
            Target("stock TorchServe handler / ImageTrust", TYPICAL, (systems.STOCK,), systems.REST, 3.0),
            Target("FastAPI / ImageTrust", TYPICAL, (systems.FASTAPI,), systems.REST, 3.0),
            _BOTH,
        ),
    ),
}


def kind_of(config: ModelConfig) -> str:
    """Return the name in KINDS for a release: fast where its version says so, or where it looks at one view."""
    is_fast = config.version.endswith("-fast") or len(config.preprocessing.views) == 1
    return "fast" if is_fast else "accurate"


def cost_ratio(target: Target, sizes: Mapping[str, Mapping[str, Any]]) -> Summary | None:
    """Return a target's ratio over the blocks; None where the run did not measure it. sizes: of a release's metrics."""
    costs = {name: row["cpu_ms"] for name, row in sizes.get(target.size, {}).items()}
    if not {target.below, *target.above} <= costs.keys():
        return None
    cheapest = min(target.above, key=lambda name: summarise(costs[name]).median)
    return ratio(costs[cheapest], costs[target.below])


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, nargs="+", default=list(RELEASES), help="folders, each measured alone")
    parser.add_argument("--blocks", type=int, default=5, help="that count, of every row and size")
    parser.add_argument("--requests", type=int, help="in one block of any size; by kind and size where not given")
    parser.add_argument("--warm-up", type=int, help="requests to every row before the first block; by kind")
    parser.add_argument("--concurrency", type=int, default=16, help="requests under way at a time")
    parser.add_argument("--workers", type=int, default=2, help="processes that infer, of each server")
    parser.add_argument("--batch-size", type=int, default=2, help="requests of one forward pass at most")
    parser.add_argument("--batch-delay", type=int, default=1, help="milliseconds for which the first waits for others")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="of the images")
    parser.add_argument("--idle-seconds", type=float, default=5.0, help="of each server without requests")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="see that it runs: fast, one worker, size, few requests")
    arguments = parser.parse_args()
    if arguments.quick:
        quick = {"blocks": 2, "requests": 8, "warm_up": 4, "concurrency": 4, "workers": 1, "idle_seconds": 0.5}
        parser.set_defaults(**quick, sizes=[TYPICAL], release=[RELEASES[-1]])
        arguments = parser.parse_args()
    exit_on_signals()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o711)  # nginx's workers pass through it
        result = run(Path(folder), arguments)
    page = as_markdown(result)
    print(page)
    arguments.out.mkdir(parents=True, exist_ok=True)
    replace_bytes(arguments.out / "compare.md", page.encode())
    replace_json(arguments.out / "compare.json", result)
    print(f"Written to {arguments.out}: compare.md and compare.json")


def run(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure every release; return the metrics, ready for JSON. folder: for what the servers write."""
    conditions = machine(PACKAGES)
    names = ("workers", "batch_size", "batch_delay", "blocks", "concurrency")
    conditions |= {name: getattr(arguments, name) for name in names}
    _say("Making the images ...")
    images = {size: [encode(name, *SIZES[size]) for name in PHOTOGRAPHS] for size in arguments.sizes}
    conditions["megabytes_of_an_image"] = {
        size: f"{sum(map(len, files)) / len(files) / 1e6:.2f}" for size, files in images.items()
    }
    releases = {}
    for number, release in enumerate(arguments.release):
        place = folder / str(number)
        place.mkdir()
        releases[release.resolve().name] = _measure(place, release, images, arguments)
    return {"conditions": conditions, "releases": releases}


def _measure(
    folder: Path, release: Path, images: Mapping[str, Sequence[bytes]], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Measure one release."""
    config = prepare(release.resolve(), folder / "serving").config
    name = kind_of(config)
    requests = {size: arguments.requests or KINDS[name].requests[size] for size in images}
    warm_up = KINDS[name].warm_up if arguments.warm_up is None else arguments.warm_up
    setup = Setup(folder / "serving", arguments.workers, arguments.batch_size, arguments.batch_delay)
    one, both = systems.one_question(_gate_can_start()), systems.both_questions()
    rows = {size: [*one, *both] if size == TYPICAL else one for size in images}
    servers = list(dict.fromkeys(system.server for system in (*one, *both)))
    try:
        _say(f"{release.name}: starting the servers ...")
        start_all(servers, folder, [setup] * len(servers))
        _say(f"{release.name}: measuring ...")
        first = next(iter(images.values()))
        engine = json.loads(one[0].load(first[:1], 1, 1).answer)["model"]["engine"]
        same = agreement(one, [image for files in images.values() for image in files[:SEEN_FOR_AGREEMENT]])
        for system in (*one, *both):
            run_block(system, first, warm_up, arguments.concurrency)
        measured = interleave(rows, images, requests, arguments.blocks, arguments.concurrency, _say)
        idle = {_names(server, (*one, *both)): measure_idle(server, arguments.idle_seconds) for server in servers}
    finally:
        with ThreadPoolExecutor(len(servers)) as pool:  # side by side: each waits for its own processes
            list(pool.map(lambda server: server.stop(), servers))
    conditions = {
        "kind": name, "weights_sha256": config.weights_sha256, "views": len(config.preprocessing.views),
        "engine": engine, "requests_of_a_block": requests, "warm_up": warm_up,
    }  # fmt: skip
    sizes = {size: {name: row.metrics() for name, row in by_system.items()} for size, by_system in measured.items()}
    return {"conditions": conditions, "sizes": sizes, "servers": idle, "agreement": same}


def _gate_can_start() -> bool:
    try:
        nginx()
    except GateError as error:
        _say(f"WITHOUT THE ROW {systems.GATED!r}: {error}")
        return False
    return True


def start_all(servers: Sequence[Server], folder: Path, setups: Sequence[Setup]) -> None:
    """Start the servers, each with its setup, to stay up together. Raises MemoryError where too little is free."""

    def start(number: int) -> None:
        if psutil.virtual_memory().available < MIN_FREE_BYTES:
            raise MemoryError(f"too little memory is free to hold {len(servers)} servers at once")
        place = folder / str(number)
        place.mkdir()
        servers[number].start(place, setups[number])
        _say(f"  server {number + 1} of {len(servers)} is up")

    with ThreadPoolExecutor(STARTED_AT_ONCE) as pool:
        list(pool.map(start, range(len(servers))))


def as_markdown(result: dict[str, Any]) -> str:
    """Return the results page for the metrics that `run` returned."""
    parts = [
        "# What an answer costs",
        conditions_text(result["conditions"]),
        "CPU milliseconds are the server's alone: median over the blocks (least to greatest). Requests a second and "
        "latencies are by the clock, with the client on the same cores.",
    ]
    for version, release in result["releases"].items():
        parts += _release_page(version, release)
    return "\n\n".join(parts) + "\n"


def _release_page(version: str, release: Mapping[str, Any]) -> list[str]:
    parts = [f"## Release {version}", conditions_text(release["conditions"])]
    header = ["", "CPU ms a request", "requests/s", "p50 ms", "p95 ms", "p99 ms"]
    for size, rows in release["sizes"].items():
        width, height, file_format = SIZES[size]
        lines = [
            [name, summarise(row["cpu_ms"]).text(1), summarise(row["requests_per_second"]).text(1),
             *(f"{row[f'p{share}_ms']:.0f}" for share in (50, 95, 99))]
            for name, row in rows.items()
        ]  # fmt: skip
        parts += [f"### {version}: {width}x{height} {file_format}", table(header, lines)]
    targets = KINDS[release["conditions"]["kind"]].targets
    ratios = [(target, found) for target in targets if (found := cost_ratio(target, release["sizes"]))]
    return [
        *parts,
        f"### {version}: targets",
        table(["cost ratio", "images", "median (least to greatest)", "target", "reached"],
              [[target.name, target.size, found.text(2), f"{'<=' if target.at_most else '>='} {target.bound:.2f}",
                "yes" if target.is_reached(found.median) else "no"] for target, found in ratios]),
        f"### {version}: servers",
        table(["server", "memory MB (PSS)", "idle CPU ms/s"],
              [[name, f"{row['memory_mb']:.0f}", f"{row['idle_cpu_ms_per_second']:.0f}"]
               for name, row in release["servers"].items()]),
        f"### {version}: same model",
        table(["answers", "same labels", "largest difference of a probability"],
              [[name, f"{row['same_labels']:.0%}", f"{row['largest_difference']:.3f}"]
               for name, row in release["agreement"].items()]),
    ]  # fmt: skip


def _names(server: Server, rows: Sequence[System]) -> str:
    return " / ".join(row.name for row in rows if row.server is server)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
