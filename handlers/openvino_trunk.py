"""A network's trunk run by OpenVINO on the processor, several times as fast as torch does, and made into its format."""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch

from handlers.trunk import PixelTrunk

# With this package at hand, merely importing openvino reports to its makers. A server calls nobody unasked.
sys.modules.setdefault("openvino_telemetry", None)

import openvino  # noqa: E402

_INFERENCE_PRECISION = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # of what is not quantised
# Batches are worked off in these, the largest first. A network whose batch size is left open takes a third longer in
# bf16 and a quarter in fp32 when sizes alternate, as they do below full load; more than two at once gain nothing.
BATCH_SIZES = (2, 1)


class OpenVinoTrunk:
    """Runs a network file (.xml, its weights beside it in .bin) in one of the precisions "fp32", "bf16" and "int8".

    batch_sizes: what it is compiled for, the largest first and 1 among them; each takes some 30 MB for Lite0 in fp32.
    precision: what it was compiled to, always the one asked for.
    Raises RuntimeError where the file is missing, cannot be compiled, or is compiled to another precision.
    """

    def __init__(self, network: Path, precision: str, threads: int, batch_sizes: tuple[int, ...] = BATCH_SIZES) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": _INFERENCE_PRECISION[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned, the workers of one machine would all choose the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self.precision = precision
        core = openvino.Core()
        self._requests = {}
        for size in batch_sizes:
            model = core.read_model(network)
            model.reshape([size, *list(model.input(0).partial_shape)[1:]])
            compiled = core.compile_model(model, "CPU", settings)
            # Where the processor lacks bf16, OpenVINO computes in fp32 and says so here alone.
            got = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
            if got != _INFERENCE_PRECISION[precision]:
                raise RuntimeError(f"this processor has no {precision}: OpenVINO computes in {got}")
            self._requests[size] = compiled.create_infer_request()

    def __call__(self, pixels: np.ndarray) -> torch.Tensor:
        """(N, size, size, 3) uint8 to float32 features (N, C, size / 32, size / 32)."""
        features, start = [], 0
        for size, request in self._requests.items():
            while len(pixels) - start >= size:
                # The result's memory is the request's own, which the next batch overwrites.
                features.append(request.infer({0: pixels[start : start + size]}, share_inputs=True)[0].copy())
                start += size
        return torch.from_numpy(features[0] if len(features) == 1 else np.concatenate(features))


def to_openvino(network: PixelTrunk, size: int) -> openvino.Model:
    """A trunk as OpenVINO reads it: (N, size, size, 3) uint8 in, features in fp32 out, N left open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit's, on its own future
        model = openvino.convert_model(network, example_input=torch.zeros(1, size, size, 3, dtype=torch.uint8))
    model.reshape([-1, size, size, 3])
    return model


def save_network(model: openvino.Model, network: Path) -> None:
    """Writes a model's file (.xml) and its weights beside it (.bin), all in the precision that they have."""
    openvino.save_model(model, network, compress_to_fp16=False)
