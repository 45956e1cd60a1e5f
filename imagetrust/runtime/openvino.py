"""A backbone run by OpenVINO on the processor, several times as fast as torch does, and made into its format."""

import contextlib
import ctypes
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from imagetrust.models.int8_weights import as_int8
from imagetrust.runtime.torch import PixelNetwork

# With this package at hand, merely importing openvino reports to its makers. A server calls nobody unasked.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
import openvino.opset13  # noqa: E402
from openvino._offline_transformations import compress_model_transformation  # noqa: E402 (as openvino.save_model does)

_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}  # the precision of what is not quantised
# In int8 what meets weights in int8 is rounded to it as it comes, with a scale for so many channels of each token: few
# enough that an outlier among CLIP's channels takes few others with it (docs/decisions/042).
_GROUP = 32
# Batches are worked off in these, the largest first. A network whose batch size is left open takes a third longer in
# bf16 and a quarter in fp32 when sizes alternate, as they do below full load; more than two at once gain nothing.
BATCH_SIZES = (2, 1)
# Bytes of weights from which one image at a time is as fast, and each batch size would take as much memory once more.
LARGE = 64_000_000


class OpenVinoRunner:
    """Runs a network file (.xml, its weights beside it in .bin) in one of the precisions "fp32", "bf16" and "int8".

    batch_sizes: what it is compiled for, the largest first and 1 among them; each takes memory of its own. By default
        BATCH_SIZES, or 1 alone for a large network.
    Raises RuntimeError where the file is missing, cannot be compiled, is compiled to another precision, or holds
    nothing in int8 where that is wanted.
    """

    def __init__(self, network: Path, precision: str, threads: int, batch_sizes: tuple[int, ...] | None = None) -> None:
        weights = network.with_suffix(".bin")
        for file in (network, weights):
            if not file.exists():
                raise RuntimeError(f"{file} is not there")
        if batch_sizes is None:
            batch_sizes = (1,) if weights.stat().st_size > LARGE else BATCH_SIZES
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _GROUP if precision == "int8" else 0,
            # Pinned, the workers of one machine would all choose the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        self.name = f"openvino {precision}"
        core = openvino.Core()
        self._requests = {}
        for size in batch_sizes:
            model = core.read_model(network)
            if precision == "int8" and not any(
                _constants(model, kind) for kind in (openvino.Type.i8, openvino.Type.u8)
            ):
                raise RuntimeError(f"{network.name} holds nothing in int8")
            model.reshape([size, *list(model.input(0).partial_shape)[1:]])
            with _signal_stack_kept():
                compiled = core.compile_model(model, "CPU", settings)
            # Where the processor lacks bf16, OpenVINO computes in fp32 and says so here alone.
            if (got := compiled.get_property("INFERENCE_PRECISION_HINT").to_string()) != _HINTS[precision]:
                raise RuntimeError(f"this processor computes {network.name} in {got}, not in {precision}")
            self._requests[size] = compiled.create_infer_request()

    def __call__(self, pixels: NDArray[np.uint8]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the float32 features and embeddings of (N, size, size, 3) uint8 pixels."""
        parts: list[tuple[NDArray[np.float32], ...]] = []
        start = 0
        for size, request in self._requests.items():
            while len(pixels) - start >= size:
                results = request.infer({0: pixels[start : start + size]}, share_inputs=True)
                # The results' memory is the request's own, which the next batch overwrites.
                parts.append((results[0].copy(), results[1].copy()))
                start += size
        features, embeddings = (
            part[0] if len(part) == 1 else np.concatenate(part) for part in zip(*parts, strict=True)
        )
        return torch.from_numpy(features), torch.from_numpy(embeddings)


class _SignalStack(ctypes.Structure):
    """stack_t of sigaltstack(2)."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def _signal_stack_kept() -> Iterator[None]:
    """Put back this thread's stack for signals, which OpenVINO replaces when it compiles a network.

    A network that goes puts back what it found. Of two the second one would leave the memory of the first, which is
    freed by then, and the next signal that Python handles would end the process.
    """
    library, before = ctypes.CDLL(None), _SignalStack()
    library.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        library.sigaltstack(ctypes.byref(before), None)


def to_openvino(network: PixelNetwork, size: int) -> openvino.Model:
    """Return a network as OpenVINO reads it: (N, size, size, 3) uint8 in, features and embeddings out, N left open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit's, on its own future
        model = openvino.convert_model(network, example_input=torch.zeros(1, size, size, 3, dtype=torch.uint8))
    model.reshape([-1, size, size, 3])
    return model


def save_network(model: openvino.Model, network: Path) -> None:
    """Write a model's file (.xml) and its weights beside it (.bin): those that are the same in int8 or fp16 in it.

    OpenVINO keeps these so in memory too, and computes with them as with fp32. The model is changed.
    """
    for node in model.get_ops():
        if node.get_type_name() == "MatMul" and node.get_attributes()["transpose_b"]:
            weights = node.input_value(1).get_node()
            if weights.get_type_name() == "Constant" and (found := as_int8(weights.data)):
                numbers, scale = map(openvino.opset13.constant, found)
                product = openvino.opset13.multiply(openvino.opset13.convert(numbers, "f32"), scale)
                node.input(1).replace_source_output(product.output(0))
    exact = {name: constant.data.copy() for name, constant in _constants(model, openvino.Type.f32)}
    compress_model_transformation(model)
    for name, constant in _constants(model, openvino.Type.f16):
        original = exact.get(name.removesuffix("_compressed"))
        if original is not None and (constant.data.astype(np.float32) != original).any():
            decompression = next(iter(constant.output(0).get_target_inputs())).get_node()
            decompression.output(0).replace(openvino.opset13.constant(original).output(0))
    openvino.save_model(model, network, compress_to_fp16=False)


def _constants(model: openvino.Model, kind: openvino.Type) -> list[tuple[str, openvino.op.Constant]]:
    nodes = [node for node in model.get_ops() if node.get_type_name() == "Constant"]
    return [(node.friendly_name, node) for node in nodes if node.get_element_type() == kind]
