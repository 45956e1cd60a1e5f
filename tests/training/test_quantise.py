"""What is gated is what was computed, and the worst of it."""

from pathlib import Path

import pytest

from training import quantise


def test_a_precision_that_the_processor_lacks_is_not_measured(monkeypatch, capsys):
    class Trunk:
        def __init__(self, network: Path, precision: str, threads: int) -> None:
            if precision == "bf16":
                raise RuntimeError("OpenVINO computes in f32")
            self.network, self.precision = network, precision

    monkeypatch.setattr(quantise, "OpenVinoTrunk", Trunk)
    trunks = quantise.compiled({"bf16": Path("fp32.xml"), "int8": Path("int8.xml")}, threads=1)
    assert [(name, trunk.network) for name, trunk in trunks.items()] == [("int8", Path("int8.xml"))]
    assert "bf16 cannot be measured and gets no band: OpenVINO computes in f32" in capsys.readouterr().out


@pytest.mark.parametrize(("listed", "has"), [("fpu amx_bf16 avx_vnni", {"amx_bf16", "avx_vnni"}), ("fpu avx2", set())])
def test_the_processors_flags_are_recorded(tmp_path, listed, has):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name\t: some\nflags\t\t: {listed}\n")
    flags = quantise.processor_flags(cpuinfo)
    assert {name for name, there in flags.items() if there} == has
    assert set(flags) == {"amx_bf16", "avx512_bf16", "avx512_vnni", "avx_vnni"}
