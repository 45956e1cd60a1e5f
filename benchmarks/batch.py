"""How fast a batch job is, beside the server with as many workers: `python -m benchmarks.batch`.

Both answer the same files with the same question: verdicts and declarations, without a heat map. The job's rate is from
its first file to its last; its start, which a long job does not notice, is told apart.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from archive_scripts.build import MODEL_STORE, build
from archive_scripts.prepare import prepare
from benchmarks.blocks import run_block
from benchmarks.compare import PHOTOGRAPHS, SIZES, TYPICAL
from benchmarks.systems import Setup, TorchServeServer
from imagetrust.files import replace_json
from measuring.conditions import machine
from measuring.images import encode
from measuring.processes import exit_on_signals
from measuring.report import conditions_text, table
from measuring.summary import summarise
from server.settings import ROOT

RESULTS = Path(__file__).resolve().parent / "results" / "batch.json"
QUESTION = "explanation"


def job_rate(photos: Path, folder: Path, model: Path, processes: int, shard_size: int) -> dict[str, float]:
    """Run one job on all files; return what it reports: files a second, seconds of its scoring and of all."""
    report = folder / "report.json"
    subprocess.run(
        [sys.executable, "-m", "batch", "--input", str(photos), "--output", str(folder / "out"), "--model", str(model),
         "--processes", str(processes), "--shard-size", str(shard_size), "--report", str(report)],
        check=True, cwd=ROOT, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return json.loads(report.read_text())


def server_rate(images: list[bytes], folder: Path, setup: Setup, requests: int, blocks: int) -> list[float]:
    """Start TorchServe with workers for the question alone; return the files a second of each block."""

    def archive(store: Path, setup: Setup) -> None:
        workers = {"minWorkers": setup.workers, "maxWorkers": setup.workers}
        build(setup.serving, QUESTION, store, workers | {"batchSize": 2, "maxBatchDelay": 1})

    server = TorchServeServer(archive)
    try:
        server.start(folder, setup)
        system = server.rest("server", QUESTION, Detail="declared")
        loads = [run_block(system, images, requests, 4 * setup.workers)[0] for _ in range(blocks + 1)]
        return [requests / load.seconds for load in loads[1:]]
    finally:
        server.stop()


def main() -> None:
    """Read the command line, measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, default=MODEL_STORE / "0.3", help="folder of a release")
    parser.add_argument("--files", type=int, default=1600, help="that a job scores")
    parser.add_argument("--shard-size", type=int, default=50, help="files of one part")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="of a job, and workers of the server")
    parser.add_argument("--rounds", type=int, default=3, help="jobs and servers of each number, in turn")
    parser.add_argument("--out", type=Path, default=RESULTS, help="file of the results")
    arguments = parser.parse_args()
    exit_on_signals()
    images = [encode(name, *SIZES[TYPICAL]) for name in PHOTOGRAPHS]
    conditions = machine(("ray", "pyarrow", "torchserve", "openvino"))
    names = ("files", "shard_size", "rounds")
    conditions |= {name: getattr(arguments, name) for name in names} | {"release": arguments.release.name}
    jobs: dict[int, list[dict[str, float]]] = {number: [] for number in arguments.processes}
    servers: dict[int, list[float]] = {number: [] for number in arguments.processes}
    with tempfile.TemporaryDirectory(prefix="batch-") as name:
        folder = Path(name)
        prepare(arguments.release.resolve(), folder / "model")
        photos = folder / "photos"
        photos.mkdir()
        for number in range(arguments.files):
            (photos / f"{number:05}.jpg").write_bytes(images[number % len(images)])
        for turn in range(arguments.rounds):
            for number in arguments.processes:
                place = folder / f"{turn}-{number}"
                (place / "job").mkdir(parents=True)
                jobs[number].append(job_rate(photos, place / "job", folder / "model", number, arguments.shard_size))
                print(f"job, {number} process(es): {jobs[number][-1]['files_per_second']:.1f} files/s", flush=True)
                setup = Setup(folder / "model", number, 2, 1)
                servers[number] += server_rate(images, place, setup, arguments.files // 4, blocks=2)
                print(f"server, {number} worker(s): {servers[number][-1]:.1f} files/s", flush=True)
    rows = [
        [
            number,
            summarise([job["files_per_second"] for job in jobs[number]]).text(1),
            summarise(servers[number]).text(1),
            summarise([job["seconds"] - job["scoring_seconds"] for job in jobs[number]]).text(0),
        ]
        for number in arguments.processes
    ]
    print(conditions_text(conditions))
    print(table(["processes", "job, files/s", "server, files/s", "start and end of a job, s"], rows))
    replace_json(arguments.out, {"conditions": conditions, "jobs": jobs, "servers": servers})


if __name__ == "__main__":
    main()
