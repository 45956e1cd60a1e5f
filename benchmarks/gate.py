"""What the gate costs: the same requests to one TorchServe without and through it: `python -m benchmarks.gate`.

Counts the processor time of TorchServe, its workers and nginx, and prints the ratio over interleaved blocks. Ratios of
neighbouring blocks hold on a machine that does other work too; milliseconds do not.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from archive_scripts.build import MODEL_STORE
from archive_scripts.prepare import prepare
from benchmarks.blocks import interleave
from benchmarks.compare import PHOTOGRAPHS, SIZES, TYPICAL
from benchmarks.systems import TASK, GatedTorchServe, Setup, build_one
from imagetrust.files import replace_json
from measuring.conditions import machine
from measuring.images import encode
from measuring.processes import exit_on_signals
from measuring.summary import ratio, summarise

RESULTS = Path(__file__).resolve().parent / "results" / "gate.json"
DIRECT, GATED = "TorchServe alone", "through the gate"
MOST = 1.06  # what the gate may cost, as a ratio of processor time


def main() -> None:
    """Read the command line, measure, print and write; exit with 1 where the gate costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, default=MODEL_STORE / "0.3", help="folder of a release")
    parser.add_argument("--requests", type=int, default=200, help="of one block")
    parser.add_argument("--blocks", type=int, default=9, help="of each way, after one that is not counted")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--folder", type=Path, help="where the servers write; as root: one that others may pass to")
    arguments = parser.parse_args()
    exit_on_signals()
    images = [encode(name, *SIZES[TYPICAL]) for name in PHOTOGRAPHS]
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        folder.chmod(0o711)
        prepare(arguments.release.resolve(), folder / "model")
        setup = Setup(folder / "model", workers=2, batch_size=2, batch_delay=1)
        server = GatedTorchServe(build_one)
        try:
            server.start(folder, setup)
            systems = [server.rest(DIRECT, TASK), server.gated(GATED, TASK)]
            measured = interleave(
                {TYPICAL: systems}, {TYPICAL: images}, {TYPICAL: arguments.requests}, arguments.blocks,
                arguments.concurrency, print,
            )[TYPICAL]  # fmt: skip
        finally:
            server.stop()
    costs = {name: row.cpu_ms for name, row in measured.items()}
    for name, row in measured.items():
        print(f"{name}: {summarise(row.cpu_ms).text(2)} ms a request")
    cost = ratio(costs[GATED], costs[DIRECT])
    print(f"ratio: {cost.text(3)}; it may be {MOST}")
    conditions = machine(("torch", "openvino", "torchserve")) | {"size": TYPICAL, "concurrency": arguments.concurrency}
    metrics = {name: row.metrics() for name, row in measured.items()}
    replace_json(RESULTS, {"conditions": conditions, "ratio": vars(cost), "systems": metrics})
    sys.exit(0 if cost.median <= MOST else 1)


if __name__ == "__main__":
    main()
