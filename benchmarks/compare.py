"""What an answer costs, here and elsewhere, in one run: `python -m benchmarks.compare` (or `make bench`).

Starts every server that is compared, each with two one-thread workers and the same weights, and sends all of them the
same pictures in interleaved blocks. Counts the processor time of each server's processes; the client's is left out.
Prints a table and writes it to benchmarks/results/ with the raw values and a plot. docs/benchmarks.md says what each
row is.
"""

import argparse
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from archive_scripts.build import RELEASED
from benchmarks import comparison, measure, processes, report, stages
from benchmarks.conditions import machine
from benchmarks.contenders import single_question
from benchmarks.measure import Task
from benchmarks.peers import ours
from benchmarks.peers.backend import Backend, shipped_batching, unpacked_archive
from benchmarks.peers.base import Conditions, Contender
from benchmarks.pictures import SIZES, write_pictures
from benchmarks.reaches import REACHES, reached

BOTH_AT = "1024x768"  # where both questions are asked, and the stages timed
LARGEST = "4000x3000"  # of which a block holds half as many


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    blocks: that count, of every row and size. requests: in one block, at this concurrency.
    warm_up: requests to every row before the first block, since Java compiles what it has run often.
    idle_seconds: for which each server is watched doing nothing.
    """

    blocks: int
    requests: int
    concurrency: int
    warm_up: int
    idle_seconds: float = 5.0
    sizes: tuple[str, ...] = tuple(SIZES)


QUICK = Plan(blocks=2, requests=8, concurrency=4, warm_up=4, idle_seconds=0.5, sizes=(BOTH_AT,))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of weights and cards")
    parser.add_argument("--blocks", type=int, default=5, help="that count, of every row and size")
    parser.add_argument("--requests", type=int, default=64, help="in one block; half as many of 12 megapixels")
    parser.add_argument("--warm-up", type=int, default=300, help="requests to every row before the first block")
    parser.add_argument("--concurrency", type=int, default=16, help="requests under way at a time")
    parser.add_argument("--workers", type=int, default=2, help="processes that infer, of each server")
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the results")
    parser.add_argument(
        "--quick", action="store_true", help="one worker, one size, few requests: to see that it runs, not to measure"
    )
    arguments = parser.parse_args()
    plan, workers = (
        Plan(arguments.blocks, arguments.requests, arguments.concurrency, arguments.warm_up),
        arguments.workers,
    )
    if arguments.quick:
        plan, workers = QUICK, 1
    processes.end_in_order()
    released = arguments.released.resolve()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        unpacked = unpacked_archive(Path(folder), released)
        conditions = Conditions(released, unpacked, workers, *shipped_batching(unpacked))
        result = run(Path(folder), conditions, plan)
    markdown = comparison.as_markdown(result)
    print(markdown)
    report.write(arguments.out, "compare", markdown, result, comparison.plot(result))
    print(f"Written to {arguments.out}: compare.md, .json and .svg")


def run(folder: Path, conditions: Conditions, plan: Plan) -> dict[str, object]:
    """Everything that one run measured, ready for JSON."""
    stated = machine(conditions.released) | asdict(conditions) | asdict(plan)
    del stated["released"], stated["unpacked"]  # paths of this machine; the weights are named by their SHA-256
    contenders, both = single_question(), ours.both_questions()
    everybody = contenders + both
    tasks = [
        Task(
            size=size,
            paths=write_pictures(folder / "pictures", SIZES[size]),
            contenders=everybody if size == BOTH_AT else contenders,
            requests=plan.requests // 2 if size == LARGEST else plan.requests,
        )
        for size in plan.sizes
    ]
    servers = measure.servers_of(everybody)
    try:
        print("Starting the servers ...", flush=True)
        measure.start_all(servers, folder, conditions, show)
        print("Measuring ...", flush=True)
        agreement = measure.agreement(contenders, tasks[0].paths)
        for contender in everybody:
            measure.block(contender, tasks[0].paths, plan.warm_up, plan.concurrency)
        measured = measure.interleave(tasks, plan.blocks, plan.concurrency, show)
        at_rest = {
            " / ".join(row.name for row in everybody if row.server is server): measure.at_rest(
                server, plan.idle_seconds
            )
            for server in servers
        }
        paths = next(task.paths for task in tasks if task.size == BOTH_AT)
        by_stage = stage_costs(conditions, plan, paths, contenders)
    finally:
        measure.stop_all(servers)
    costs = {size: {name: row.cpu_ms for name, row in rows.items()} for size, rows in measured.items()}
    return {
        "conditions": stated,
        "sizes": {size: {name: asdict(row) for name, row in rows.items()} for size, rows in measured.items()},
        "servers": at_rest,
        "agreement": agreement,
        "stages_size": BOTH_AT,
        "stages": by_stage,
        "reaches": {
            reach.name: asdict(reach) | {"ratio": asdict(ratio)}
            for reach in REACHES
            if (ratio := reached(reach, costs))
        },
    }


def stage_costs(
    conditions: Conditions, plan: Plan, paths: list[Path], contenders: list[Contender]
) -> dict[str, dict[str, float]]:
    """Milliseconds a request of ours over REST by stage, one request at a time and at the plan's concurrency."""
    server = next(row.server for row in contenders if row.name == ours.REST)
    backend = Backend(conditions.unpacked)
    requests = plan.requests * plan.blocks  # in one stretch: Java collects its garbage now and then
    return {
        f"{concurrency} at a time": stages.profile(server, backend, paths, concurrency, batch, requests)
        for concurrency, batch in ((1, 1), (plan.concurrency, conditions.batch_size))
    }


def show(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
