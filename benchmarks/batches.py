"""How many requests one forward pass should answer, and how long the first waits: `python -m benchmarks.batches`.

For each release, one TorchServe for each batch size and delay, all up together, with as many one-thread workers as the
machine's rule gives; each in turn gets the same images, at several numbers of requests under way. Prints a table and
writes benchmarks/results/batches.json. docs/decisions/020 has what follows from it.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from archive_scripts.prepare import prepare
from benchmarks.blocks import interleave
from benchmarks.compare import KINDS, PHOTOGRAPHS, RELEASES, RESULTS, SIZES, TYPICAL, kind_of, start_all
from benchmarks.systems import TASK, Setup, TorchServeServer, build_one
from imagetrust.files import replace_json
from measuring.conditions import machine
from measuring.images import encode
from measuring.processes import exit_on_signals
from measuring.report import table
from measuring.summary import summarise
from server.sizing import size, this_machine

SETTINGS = ((1, 0), (2, 1), (4, 1), (8, 1), (4, 10))  # batch size, delay in milliseconds
CONCURRENCIES = (1, 4, 16, 32)


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, nargs="+", default=list(RELEASES), help="folders, each measured alone")
    parser.add_argument("--blocks", type=int, default=3, help="that count, of every setting")
    arguments = parser.parse_args()
    exit_on_signals()
    chosen = size(TASK, this_machine())
    result: dict[str, Any] = {"conditions": machine(("torch", "openvino", "torchserve")), "releases": {}}
    for release in arguments.release:
        with tempfile.TemporaryDirectory() as folder:
            rows = measure(Path(folder), release.resolve(), chosen["minWorkers"], arguments.blocks)
        result["releases"][release.resolve().name] = rows
        print(f"\n{release.resolve().name}, {chosen['minWorkers']} worker(s), {TYPICAL} JPEG\n")
        print(table(list(rows[0]), [list(row.values()) for row in rows]), flush=True)
    replace_json(RESULTS / "batches.json", result)
    rule = f"batches of {chosen['batchSize']}, {chosen['maxBatchDelay']} ms"
    print(f"\nWritten to {RESULTS / 'batches.json'}. The rule of server/sizing.py takes {rule} here.")


def measure(folder: Path, release: Path, workers: int, blocks: int) -> list[dict[str, Any]]:
    """Return a row for each setting and number of requests under way."""
    config = prepare(release, folder / "serving").config
    images = {TYPICAL: [encode(name, *SIZES[TYPICAL]) for name in PHOTOGRAPHS]}
    requests = {TYPICAL: KINDS[kind_of(config)].requests[TYPICAL]}
    servers = [TorchServeServer(build_one) for _ in SETTINGS]
    systems = [
        server.rest(f"{batch}, {delay} ms", TASK) for server, (batch, delay) in zip(servers, SETTINGS, strict=True)
    ]
    rows = []
    try:
        setups = [Setup(folder / "serving", workers, batch, delay) for batch, delay in SETTINGS]
        start_all(servers, folder, setups)
        for concurrency in CONCURRENCIES:
            found = interleave({TYPICAL: systems}, images, requests, blocks, concurrency, lambda _: None)[TYPICAL]
            print(f"{release.name}: {concurrency} under way measured", flush=True)
            for system, (batch, delay) in zip(systems, SETTINGS, strict=True):
                metrics = found[system.name].metrics()
                rows.append(
                    {"batch size": batch, "delay ms": delay, "under way": concurrency}
                    | {"requests/s": round(summarise(metrics["requests_per_second"]).median, 1)}
                    | {f"p{share} ms": round(metrics[f"p{share}_ms"], 1) for share in (50, 95, 99)}
                    | {"CPU ms a request": round(summarise(metrics["cpu_ms"]).median, 2)}
                )
    finally:
        for server in servers:
            server.stop()
    return sorted(rows, key=lambda row: SETTINGS.index((row["batch size"], row["delay ms"])))


if __name__ == "__main__":
    main()
