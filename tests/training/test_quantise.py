"""What is gated is what was computed, and the worst of it."""

import json
from pathlib import Path

import pytest

from archive_scripts.build import RELEASED
from handlers.gate import missed
from training import quantise

SMALL = {"balanced_accuracy_change": -0.001, "verdicts_changed": 0.002, "calibration_error_change": 0.001}


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


def test_changes_of_folds_do_not_cancel():
    models = {"authenticity": SMALL}
    assert not missed(quantise.gated(models, {"renders": 0.002, "tokens": -0.003}))
    assert quantise.gated(models, {"renders": 0.02, "tokens": -0.021})["unseen_balanced_accuracy_change"] == -0.021
    assert missed(quantise.gated(models, {"renders": 0.02, "tokens": -0.02}))


@pytest.mark.parametrize("name", SMALL)
def test_every_model_is_gated(name):
    models = {"authenticity": SMALL, "generator_type": SMALL | {name: -0.02}}
    assert [line.split()[0] for line in missed(quantise.gated(models, {"renders": 0.0}))] == [name]


def test_without_folds_the_gate_refuses():
    assert missed(quantise.gated({"authenticity": SMALL}, {})) == ["unseen_balanced_accuracy_change was not measured"]


def test_the_released_gate_still_passes():
    """Version 0.3 was gated by the mean over the folds and by authenticity alone."""
    gate = json.loads(next(RELEASED.glob("trunk-*[0-9a-f].json")).read_text())
    assert gate["bands"] and not any(missed(gate["figures"][precision]) for precision in gate["bands"])
