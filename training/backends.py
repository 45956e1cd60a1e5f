"""What could run the released trunk on this processor, side by side: cost, and how many answers change.

    python -m training.backends --data ROOT

One thread, batches of 1 and 8, in turn block by block, CPU milliseconds a picture (medians over the blocks). The
answers are those on the validation split, against torch in fp32. Needs requirements/backends.txt beside training's.
"""

import argparse
import logging
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nncf
import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from handlers.classifier import Classifier
from handlers.engine import Engine, gate_file
from handlers.network import file_sha256
from handlers.openvino_trunk import openvino
from handlers.processor import CPUINFO, fast_precisions
from handlers.trunk import PixelTrunk
from training.data import CLASSES, read_artifact, split
from training.files import replace_json
from training.quantise import PICTURES, answers, find_band, pixels_of, prepare, score
from training.release import RELEASED

SECONDS = 0.3  # of a block
Run = Callable[[np.ndarray], torch.Tensor]


class _Calibration(CalibrationDataReader):
    def __init__(self, pixels: np.ndarray) -> None:
        self._pictures = iter(pixels)

    def get_next(self) -> dict[str, np.ndarray] | None:
        picture = next(self._pictures, None)
        return None if picture is None else {"pixels": picture[None]}


def by_torch(network: PixelTrunk, bf16: bool, compiled: bool) -> Run:
    """Eager, or through Inductor with its weights frozen; bf16 with channels last, which it needs to be fast."""
    network = network.to(memory_format=torch.channels_last) if bf16 else network
    if compiled:
        torch._inductor.config.freezing = True
        network = torch.compile(network, dynamic=False)

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return network(torch.from_numpy(pixels)).float()

    return run


def by_onnx_runtime(network: PixelTrunk, size: int, calibration: np.ndarray | None) -> Run:
    """fp32, or, where there are calibration pictures, int8 by ONNX Runtime's own static quantisation."""
    with tempfile.TemporaryDirectory(prefix="imagetrust-onnx-") as folder:
        path = Path(folder) / "trunk.onnx"
        torch.onnx.export(
            network, (torch.zeros(2, size, size, 3, dtype=torch.uint8),), path, input_names=["pixels"],
            dynamic_shapes=({0: torch.export.Dim("n")},), dynamo=True, external_data=False, verbose=False,
        )  # fmt: skip
        if calibration is not None:
            ready, int8 = path.with_name("ready.onnx"), path.with_name("int8.onnx")
            quant_pre_process(path, ready, skip_symbolic_shape=True)
            quantize_static(
                ready, int8, _Calibration(calibration), per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
            path = int8
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: torch.from_numpy(session.run(None, {"pixels": pixels})[0])


def milliseconds(runs: dict[str, Run], pixels: np.ndarray, batch: int, blocks: int) -> dict[str, float]:
    """The median over the blocks of CPU milliseconds a picture, each way in turn in every block."""
    measured: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(blocks):
        for name, run in runs.items():
            run(pixels[:batch])
            started, count = time.process_time(), 0
            while time.process_time() - started < SECONDS:
                run(pixels[count % (len(pixels) - batch) :][:batch])
                count += 1
            measured[name].append(1000 * (time.process_time() - started) / count / batch)
    return {name: float(np.median(values)) for name, values in measured.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the ArtiFact root that the models were trained on")
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of weights and cards")
    parser.add_argument("--out", type=Path, default=Path("training/reports/backends.json"))
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    nncf.set_log_level(logging.ERROR)

    classifiers = [Classifier(arguments.released, task, torch.device("cpu")) for task in CLASSES]
    first = classifiers[0]
    classifiers = [one for one in classifiers if one.trunk_id == first.trunk_id]
    size = first.card.preprocessing.size
    parts = split(read_artifact(arguments.data), arguments.seed)
    validation = pixels_of(parts["validation"], first)
    trunk = prepare(first, parts["train"], arguments.seed)
    network = PixelTrunk(first.trunk, first.card.preprocessing).eval()
    calibration = pixels_of(parts["train"][:: max(1, len(parts["train"]) // PICTURES)][:PICTURES], first)

    runs: dict[str, Run] = {
        "torch fp32": by_torch(network, bf16=False, compiled=False),
        "torch bf16": by_torch(network, bf16=True, compiled=False),
        "torch.compile fp32": by_torch(network, bf16=False, compiled=True),
        "torch.compile bf16": by_torch(network, bf16=True, compiled=True),
        "ONNX Runtime fp32": by_onnx_runtime(network, size, None),
        "ONNX Runtime int8": by_onnx_runtime(network, size, calibration),
        "OpenVINO fp32": trunk.exact,
        **{f"OpenVINO {precision}": run for precision, run in trunk.fast.items()},
    }
    costs = {batch: milliseconds(runs, validation[:256], batch, arguments.blocks) for batch in (1, 8)}
    reference = score(Engine("torch fp32", runs["torch fp32"]), classifiers, validation)
    rows = {}
    for name, run in runs.items():
        logits = score(Engine(name, run), classifiers, validation)
        # What each would need computed again in fp32 so that as few answers change as the gate allows.
        bands = {one.card.name: find_band(one, reference[one.card.name], logits[one.card.name]) for one in classifiers}
        rows[name] = {
            "milliseconds": {str(batch): round(cost[name], 2) for batch, cost in costs.items()},
            **{
                one.card.name: {
                    "answers_changed": changed(one, reference[one.card.name], logits[one.card.name]),
                    "to_compute_again": float(
                        (one.distance_to_change(logits[one.card.name]) < bands[one.card.name]).float().mean()
                    ),
                }
                for one in classifiers
            },
        }
    conditions = {
        "processor": next(
            (line.partition(":")[2].strip() for line in CPUINFO.read_text().splitlines() if "model name" in line),
            platform.machine(),
        ),
        "fast precisions": ", ".join(fast_precisions()) or "none",
        "threads": "1",
        "pictures": str(len(validation)),
        "data": arguments.data.name,
        "weights": file_sha256(arguments.released / f"{first.card.name}.safetensors"),
        "torch": torch.__version__,
        "openvino": openvino.get_version(),
        "onnxruntime": onnxruntime.__version__,
        "onnx": onnx.__version__,
    }
    replace_json(arguments.out, {"conditions": conditions, "backends": rows})
    print(table(rows, first.card.name))
    print(f"All figures: {arguments.out}. The served precisions' gate: {gate_file(first.trunk_id)}")


def changed(classifier: Classifier, reference: torch.Tensor, logits: torch.Tensor) -> float:
    """The share of the pictures whose label or verdict differs."""
    pairs = zip(answers(classifier, reference), answers(classifier, logits), strict=True)
    return round(float(np.mean([one != other for one, other in pairs])), 5)


def table(rows: dict[str, dict], model: str) -> str:
    """Markdown, for docs/backends.md."""
    lines = [
        "| way | ms, batch 1 | ms, batch 8 | authenticity's answers changed | to compute again |",
        "|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        one, eight = row["milliseconds"]["1"], row["milliseconds"]["8"]
        lines.append(
            f"| {name} | {one:.1f} | {eight:.1f} | {row[model]['answers_changed']:.2%} "
            f"| {row[model]['to_compute_again']:.1%} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
