"""What a processor is fast at is read from what Linux tells of it."""

import pytest

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


def test_matrix_units_make_bf16_faster_than_products_do(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    shares = []
    for flags in ("amx_bf16 avx512_bf16", "avx512_bf16"):
        cpuinfo.write_text(f"flags\t\t: {flags}\n")
        shares.append(fast_precisions(True, cpuinfo)["bf16"])
    assert shares[0] < shares[1]
