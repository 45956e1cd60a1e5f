"""Where throughput stops growing, and what waiting then costs: `python -m benchmarks.sweep`.

Serves `authenticity` with one batch size and delay after the other and asks it with 1 to 64 requests under way. Prints
throughput, latency and CPU cost for each, and names the knee: the lowest concurrency that gives 95 % of the best
throughput. On a machine with a GPU, measures batch sizes from 1 to 256 in one process too.
"""

import argparse
import random
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from matplotlib.figure import Figure

from archive_scripts.build import RELEASED
from benchmarks import gpu, measure, processes, report
from benchmarks.conditions import machine
from benchmarks.figures import knee, percentile, summarise
from benchmarks.measure import Measured
from benchmarks.peers import ours
from benchmarks.peers.backend import Backend, unpacked_archive
from benchmarks.peers.base import Conditions
from benchmarks.pictures import SIZES, write_pictures

SIZE = "1024x768"


@dataclass(frozen=True)
class Plan:
    """How much is measured: (batchSize, maxBatchDelay in ms) one after the other, each at every concurrency.

    requests: the least of one cell; it has at least four for each connection.
    warm_up: requests to every server before the first cell, since Java compiles what it has run often.
    repeats: of every concurrency, in an order that changes.
    """

    settings: tuple[tuple[int, int], ...] = ((1, 1), (2, 1), (4, 1), (8, 1), (4, 10), (8, 10), (8, 40), (32, 10))
    concurrencies: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    requests: int = 32
    warm_up: int = 300
    repeats: int = 2


QUICK = Plan(settings=((1, 10), (8, 10)), concurrencies=(1, 4), requests=4, warm_up=4, repeats=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of weights and cards")
    parser.add_argument("--repeats", type=int, default=2, help="of every concurrency, in changing order")
    parser.add_argument("--workers", type=int, default=2, help="processes that infer, of one thread each")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the results")
    parser.add_argument(
        "--quick", action="store_true", help="two settings, few requests: to see that it runs, not to measure"
    )
    arguments = parser.parse_args()
    processes.end_in_order()
    plan = QUICK if arguments.quick else Plan(repeats=arguments.repeats)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        result = run(Path(folder), arguments.released.resolve(), arguments.workers, plan)
    markdown = as_markdown(result)
    print(markdown)
    report.write(arguments.out, "sweep", markdown, result, plot(result))
    print(f"Written to {arguments.out}: sweep.md, .json and .svg")


def run(folder: Path, released: Path, workers: int, plan: Plan) -> dict[str, object]:
    """Everything that one sweep measured, ready for JSON."""
    paths = write_pictures(folder / "pictures", SIZES[SIZE])
    unpacked = unpacked_archive(folder, released)
    result = {
        "conditions": machine(released)
        | {"pictures": f"{SIZE} JPEG", "workers": workers, "requests": plan.requests, "repeats": plan.repeats},
        "settings": {},
        "gpu": None,
    }
    for batch_size, delay in plan.settings:
        name = f"batch {batch_size}, delay {delay} ms" if batch_size > 1 else "batch 1"
        print(f"{name} ...", flush=True)
        measured = sweep(folder, Conditions(released, unpacked, workers, batch_size, delay), paths, plan)
        result["settings"][name] = {str(concurrency): asdict(row) for concurrency, row in measured.items()}
    if torch.cuda.is_available():
        print("batches on the GPU ...", flush=True)
        result["gpu"] = gpu.batch_sizes(Backend(unpacked), [path.read_bytes() for path in paths])
    return result


def sweep(folder: Path, conditions: Conditions, paths: list[Path], plan: Plan) -> dict[int, Measured]:
    """Starts a server with these conditions and measures every concurrency."""
    place = folder / f"{conditions.batch_size}_{conditions.batch_delay}"
    place.mkdir()
    contender = next(row for row in ours.contenders() if row.name == ours.REST)
    measured = {concurrency: Measured() for concurrency in plan.concurrencies}
    order = random.Random(0)
    try:
        contender.server.start(place, conditions)
        measure.block(contender, paths, plan.warm_up, max(plan.concurrencies))
        for _ in range(plan.repeats):
            for concurrency in order.sample(plan.concurrencies, len(plan.concurrencies)):
                requests = max(plan.requests, 4 * concurrency)
                measured[concurrency].add(*measure.block(contender, paths, requests, concurrency))
    finally:
        contender.server.stop()
    return measured


def as_markdown(result: dict[str, object]) -> str:
    """The tables of a sweep."""
    rows, knees = [], []
    for setting, by_concurrency in result["settings"].items():
        for concurrency, row in by_concurrency.items():
            rows.append([setting, concurrency, *_figures(row)])
        rates = {int(number): summarise(row["requests_per_second"]).median for number, row in by_concurrency.items()}
        at, most = str(knee(rates)), str(max(rates))
        knees.append([setting, at, *_figures(by_concurrency[at]), *_figures(by_concurrency[most])[:3:2]])
    figures = ["requests/s", "p50 ms", "p95 ms", "p99 ms", "CPU ms a request"]
    parts = [
        "# Concurrency, batch size and delay",
        report.conditions_text(result["conditions"]),
        "## Where throughput stops growing",
        report.table(["setting", "at concurrency", *figures, "requests/s at the most", "p95 ms there"], knees),
        "The lowest concurrency that gives 95 % of the setting's best throughput, and what the most gives. Throughput "
        "and latency are by the clock, with the client on the same cores.",
        "## All",
        report.table(["setting", "concurrency", *figures], rows),
        "## GPU",
        _gpu_table(result["gpu"]) if result["gpu"] else "No GPU here: batch sizes up to 256 were not measured.",
    ]
    return "\n\n".join(parts) + "\n"


def _figures(row: dict[str, list[float]]) -> list[str]:
    latencies = [f"{1000 * percentile(row['latencies'], share):.0f}" for share in (0.5, 0.95, 0.99)]
    rate, cost = (summarise(row[name]).median for name in ("requests_per_second", "cpu_ms"))
    return [f"{rate:.1f}", *latencies, f"{cost:.1f}"]


def _gpu_table(by_size: dict[int, dict[str, dict[str, float]]]) -> str:
    header = ["batch"]
    for part in ("file to answer", "network alone"):
        header += [f"{part}: pictures/s", "device used", "MiB"]
    rows = [
        [str(size)]
        + [
            text
            for row in parts.values()
            for text in (f"{row['pictures_per_second']:.0f}", f"{row['device_used']:.0%}", f"{row['device_mib']:.0f}")
        ]
        for size, parts in by_size.items()
    ]
    return report.table(header, rows)


def plot(result: dict[str, object]) -> Figure:
    """Latency over throughput, a line for each setting, a point for each concurrency."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for setting, by_concurrency in result["settings"].items():
        rates = [summarise(row["requests_per_second"]).median for row in by_concurrency.values()]
        latencies = [1000 * percentile(row["latencies"], 0.95) for row in by_concurrency.values()]
        axes.plot(rates, latencies, marker="o", markersize=3, label=setting)
    axes.set(xlabel="requests a second", ylabel="p95 latency, ms", yscale="log")
    axes.set_title(f"{SIZE} JPEG, a point for each concurrency, from the least")
    axes.legend(fontsize=7)
    figure.tight_layout()
    return figure


if __name__ == "__main__":
    main()
