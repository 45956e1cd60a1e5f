"""Weights that are whole numbers times a scale, kept as such: a quarter of fp32's bytes, and the same products.

CLIP's tower comes so (imagetrust.models.clip).
"""

import numpy as np
import torch
from numpy.typing import NDArray

from imagetrust.models.backbone import Weights

_SCALE = ".int8_scale"
_LARGEST = 127
# What is left of a product of both after it was rounded to fp16.
_RELATIVE, _ABSOLUTE = 2.0**-10, 2.0**-24


def as_int8(matrix: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Return int8 numbers (rows, columns) and a scale for each row (rows, 1) whose product is a matrix in fp16.

    The largest number of each row is 127. None where the matrix is no such product.
    """
    if matrix.ndim != 2:
        return None
    exact = matrix.astype(np.float32)
    largest = np.abs(exact).max(axis=1, keepdims=True)
    numbers = np.rint(exact / np.where(largest > 0, largest / _LARGEST, 1.0))
    # Of all scales the one of the least squares: that of the largest number alone is rounded.
    squares = np.einsum("ij,ij->i", numbers, numbers)[:, None]
    scale = np.einsum("ij,ij->i", exact, numbers)[:, None] / np.where(squares > 0, squares, 1.0)
    if (np.abs(numbers * scale - exact) > _RELATIVE * np.abs(exact) + _ABSOLUTE).any():
        return None
    return numbers.astype(np.int8), scale.astype(np.float32)


def packed(weights: Weights) -> Weights:
    """Return weights with each matrix that is such a product as int8 and, beside it, its scale."""
    kept: Weights = {}
    for name, tensor in weights.items():
        if found := as_int8(tensor.float().numpy()):
            kept[name], kept[name + _SCALE] = map(torch.from_numpy, found)
        else:
            kept[name] = tensor
    return kept


def unpacked(weights: Weights) -> Weights:
    """Return packed weights in fp32."""
    return {
        name: tensor.float() * weights[name + _SCALE] if name + _SCALE in weights else tensor.float()
        for name, tensor in weights.items()
        if not name.endswith(_SCALE)
    }
