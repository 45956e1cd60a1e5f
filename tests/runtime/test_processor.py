"""What a processor is fast at is read from what Linux tells of it."""

import pytest

from archive_scripts.build import MODEL_STORE
from imagetrust.models.config import ModelConfig
from imagetrust.models.registry import backbone_of
from imagetrust.runtime.engine import cheapest_first
from imagetrust.runtime.precision_gate import Gate
from imagetrust.runtime.processor import fast_precisions


@pytest.mark.parametrize(
    ("flags", "depthwise", "dense"),
    [
        ("fpu avx2", [], []),
        ("avx512f avx512_vnni", ["int8"], ["int8"]),
        ("avx2 avx_vnni", ["int8"], ["int8"]),
        ("avx512f avx512_bf16", [], ["bf16"]),
        ("avx512_bf16 avx512_vnni", ["int8"], ["bf16", "int8"]),
        ("avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8", ["bf16", "int8"], ["bf16", "int8"]),
    ],
)
def test_what_a_processor_is_fast_at(tmp_path, flags, depthwise, dense):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: some\nflags\t\t: {flags}\n")
    assert sorted(fast_precisions(False, cpuinfo)) == depthwise
    assert sorted(fast_precisions(True, cpuinfo)) == dense
    assert all(0 < share < 1 for share in fast_precisions(True, cpuinfo).values())


def test_a_system_that_tells_nothing_is_fast_at_nothing(tmp_path):
    assert fast_precisions(True, tmp_path / "nothing") == {}


@pytest.mark.parametrize(
    ("release", "flags", "expected"),
    [
        ("1.2", "avx512_bf16 avx512_vnni", ("int8", "bf16")),
        ("1.2", "amx_bf16 avx512_bf16 avx512_vnni", ("bf16", "int8")),
        ("1.0-fast", "avx512_bf16 avx512_vnni", ("bf16", "int8")),
        ("1.0-fast", "amx_bf16 avx512_bf16 avx512_vnni", ("bf16", "int8")),
    ],
)
def test_released_models_take_the_cheapest_precision_first(tmp_path, release, flags, expected):
    folder = MODEL_STORE / release
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: {flags}\n")
    config = ModelConfig.read(folder)
    gate = Gate.read(folder, config.weights_sha256)
    assert (
        gate and cheapest_first(fast_precisions(backbone_of(config.backbone).bf16_products, cpuinfo), gate) == expected
    )
