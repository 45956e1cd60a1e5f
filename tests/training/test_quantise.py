"""Margins keep answers apart, what the processor does not compute is not measured, and changes do not cancel."""

import msgspec
import numpy as np
import pytest
import torch

from imagetrust.models.config import ModelConfig, Thresholds
from imagetrust.models.model import Model
from imagetrust.models.registry import BACKBONES
from imagetrust.runtime.openvino import OpenVinoRunner
from imagetrust.runtime.precision_gate import Gate
from tests.releases import RELEASE, untrained_release
from training.data import read_artifact
from training.groups import GROUPS, Group
from training.held_out import HeldOutRun
from training.quantise import answers, compare, find_margin, held_out_changes, quantise, sample_held_out


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(RELEASE)


def logits_of(generated: list[float], temperature: float) -> torch.Tensor:
    odds = torch.tensor(generated).logit() * temperature
    return torch.stack([torch.zeros(len(odds)), odds], dim=1)


def test_outside_the_margin_answers_agree(model):
    temperature = model.config.heads["authenticity"].temperature
    torch.manual_seed(0)
    exact = logits_of(torch.rand(1000).clamp(0.01, 0.99).tolist(), temperature)
    fast = exact + 0.3 * torch.randn_like(exact)
    margin = find_margin(model, "authenticity", exact, fast)
    outside = model.margin("authenticity", fast) >= margin
    pairs = zip(answers(model, "authenticity", exact), answers(model, "authenticity", fast), strict=True)
    changed = torch.tensor([one != two for one, two in pairs])
    assert changed.any() and (changed & outside).float().mean() <= 0.003


def test_comparison_by_hand(model):
    temperature = model.config.heads["authenticity"].temperature
    exact = logits_of([0.1, 0.4, 0.6, 0.9], temperature)
    fast = logits_of([0.1, 0.6, 0.6, 0.9], temperature)
    compared = compare(model, "authenticity", exact, fast, np.array([0, 0, 1, 1]))
    assert compared["balanced_accuracy"] == 1 and compared["balanced_accuracy_change"] == -0.25
    assert compared["verdicts_changed"] == 0.25


@pytest.fixture
def without_bf16(monkeypatch):
    """A processor that computes bf16 in fp32, as OpenVINO then says."""
    init = OpenVinoRunner.__init__

    def refuse(self, network, precision, *arguments, **options):
        if precision == "bf16":
            raise RuntimeError("this processor computes network.fp32.xml in f32, not in bf16")
        init(self, network, precision, *arguments, **options)

    monkeypatch.setattr(OpenVinoRunner, "__init__", refuse)


@pytest.fixture
def small(data_root):
    return read_artifact(data_root)[::6]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return untrained_release(tmp_path_factory.mktemp("model"), BACKBONES["resnet18"], size=64)


def test_a_precision_that_the_processor_lacks_is_not_measured(
    data_root, small, folder, without_bf16, monkeypatch, capsys
):
    monkeypatch.setattr("training.quantise.read_artifact", lambda root: small)
    gate = quantise(folder, data_root, 0, [])
    assert set(gate.metrics) == {"int8"} and "bf16 is not measured" in capsys.readouterr().out
    assert "held_out_balanced_accuracy_change was not measured" in gate.failures("int8")
    assert gate.margins == {}, "what did not pass is not offered"
    assert gate.conditions["processor"] and Gate.read(folder, Model(folder).config.weights_sha256) == gate
    values = gate.metrics["int8"]
    for name in ("balanced_accuracy_change", "verdicts_changed", "calibration_error_change"):
        assert abs(values[name]) == max(abs(task[name]) for task in values["tasks"].values()), "the worse task decides"


def test_runs_are_quantised_as_the_release_is(folder, small, monkeypatch, without_bf16):
    """Their margins must keep apart the verdicts that the released calibration gives, by its bias and thresholds."""
    monkeypatch.setitem(GROUPS, "made", Group("made", "a procedural generator", r"^checker_gan$"))
    heads = dict(ModelConfig.read(folder).heads)
    heads["authenticity"] = msgspec.structs.replace(
        heads["authenticity"], thresholds=Thresholds(0.3, 0.7), real_bias=0.5
    )
    run = HeldOutRun(folder, ("made",), small, 0, 0)
    before, asked = run.model.heads["authenticity"].bias.clone(), []

    def find(model, task, exact, fast):
        asked.append(model.config.heads["authenticity"].thresholds)
        assert (model.heads["authenticity"].bias - before).tolist() == pytest.approx([0.5, 0])
        return find_margin(model, task, exact, fast)

    monkeypatch.setattr("training.quantise.find_margin", find)
    changes = held_out_changes([run], heads, 0)
    assert (run.model.heads["authenticity"].bias == before).all(), "the run itself stays as it is"
    assert set(changes) == {"int8"} and set(changes["int8"]) == {"made"} and abs(changes["int8"]["made"]) < 0.2
    assert asked and set(asked) == {Thresholds(0.3, 0.7)}


def test_of_a_large_group_a_sample_is_measured(folder, small, monkeypatch):
    """The same every time, of its own images alone: those of the other class are measured anyway."""
    monkeypatch.setitem(GROUPS, "made", Group("made", "a procedural generator", r"^checker_gan$"))
    (one,) = HeldOutRun(folder, ("made",), small, 0, 0).held_out("validation")
    assert sorted(record.path for record in sample_held_out(one, 0)) == sorted(record.path for record in one.records)
    monkeypatch.setattr("training.quantise.HELD_OUT", 2)
    chosen = sample_held_out(one, 0)
    assert chosen == sample_held_out(one, 0)
    assert sum(one.group.is_tested(record) for record in chosen) == 2 < one.is_left_out.sum()
    assert len(chosen) == 2 + (~one.is_left_out).sum()
