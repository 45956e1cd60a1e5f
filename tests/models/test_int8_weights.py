"""Weights that are whole numbers times a scale are found, and nothing else is taken for such."""

import numpy as np
import pytest
import torch

from imagetrust.models.int8_weights import as_int8, packed, unpacked


def product(rows: int = 8, columns: int = 300, seed: int = 0) -> np.ndarray:
    """A matrix of numbers from -127 to 127 times a scale a row, in fp16."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(-126, 127, (rows, columns))
    numbers[:, 0] = 127
    return (numbers * rng.uniform(1e-4, 1e-2, (rows, 1))).astype(np.float16)


@pytest.mark.parametrize("seed", range(5))
def test_a_product_is_found_whatever_fp16_rounded(seed):
    matrix = product(seed=seed).astype(np.float32)
    numbers, scale = as_int8(matrix)
    assert numbers.dtype == np.int8 and scale.shape == (8, 1) and np.abs(numbers).max(1).tolist() == [127] * 8
    assert (np.float16(numbers * scale) == np.float16(matrix)).mean() > 0.9
    assert np.allclose(numbers * scale, matrix, rtol=1e-3)


def test_a_row_of_zeros_stays_one():
    matrix = product().astype(np.float32)
    matrix[3] = 0
    numbers, scale = as_int8(matrix)
    assert not (numbers * scale)[3].any()


@pytest.mark.parametrize("change", ["noise", "one number", "columns scaled", "a vector", "four axes"])
def test_what_is_no_product_is_left(change):
    matrix = product().astype(np.float32)
    if change == "noise":
        matrix = np.random.default_rng(0).normal(size=matrix.shape).astype(np.float32)
    elif change == "one number":
        matrix[2, 5] *= 1.01
    elif change == "columns scaled":
        matrix *= np.random.default_rng(0).uniform(0.5, 1, (1, matrix.shape[1])).astype(np.float32)
    elif change == "a vector":
        matrix = matrix[0]
    else:
        matrix = matrix.reshape(2, 4, 10, 30)
    assert as_int8(matrix) is None


def test_packed_weights_come_back():
    weights = {
        "fc.weight": torch.from_numpy(product()),
        "fc.bias": torch.randn(8).half(),
        "norm.weight": torch.randn(300).half(),
        "other.weight": torch.randn(4, 5).half(),
    }
    kept = packed(weights)
    assert kept["fc.weight"].dtype == torch.int8 and kept["other.weight"].dtype == torch.float16
    found = unpacked(kept)
    assert found.keys() == weights.keys() and all(tensor.dtype == torch.float32 for tensor in found.values())
    for name, tensor in weights.items():
        assert torch.allclose(found[name], tensor.float(), rtol=1e-3, atol=1e-7)
        if kept[name].dtype != torch.int8:
            assert torch.equal(found[name], tensor.float())
