"""What a processor is fast at is read from what Linux tells of it."""

import pytest

from imagetrust.runtime.processor import fast_precisions


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2", ()),
        ("avx512f avx512_vnni", ("int8",)),
        ("avx2 avx_vnni", ("int8",)),
        ("avx512f avx512_bf16", ()),
        ("avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8", ("bf16", "int8")),
    ],
)
def test_what_a_processor_is_fast_at(tmp_path, flags, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: some\nflags\t\t: {flags}\n")
    assert fast_precisions(False, cpuinfo) == expected
    assert fast_precisions(True, tmp_path / "nothing") == ()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx512f avx512_vnni", ("int8",)),
        ("avx512_bf16 avx512_vnni", ("int8", "bf16")),
        ("amx_bf16 avx512_bf16 avx512_vnni", ("bf16", "int8")),
        ("avx512_bf16", ("bf16",)),
    ],
)
def test_a_transformer_gains_from_bf16_without_matrix_units(tmp_path, flags, expected):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"flags\t\t: {flags}\n")
    assert fast_precisions(True, cpuinfo) == expected
