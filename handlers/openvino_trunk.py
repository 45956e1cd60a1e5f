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


class OpenVinoTrunk:
    """Runs a network file (.xml, its weights beside it in .bin) in one of the precisions "fp32", "bf16" and "int8".

    Raises RuntimeError where the file is missing or cannot be compiled.
    """

    def __init__(self, network: Path, precision: str, threads: int) -> None:
        settings = {
            "INFERENCE_PRECISION_HINT": _INFERENCE_PRECISION[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Pinned, the workers of one machine would all choose the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        compiled = openvino.Core().compile_model(network, "CPU", settings)
        self._request = compiled.create_infer_request()

    def __call__(self, pixels: np.ndarray) -> torch.Tensor:
        """(N, size, size, 3) uint8 to float32 features (N, C, size / 32, size / 32)."""
        # The result's memory is the request's own, which the next batch overwrites.
        return torch.from_numpy(self._request.infer({0: pixels}, share_inputs=True)[0].copy())


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
