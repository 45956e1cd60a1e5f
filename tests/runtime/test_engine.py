"""Whatever computes, the answers are those of torch in fp32; and what cannot run is not used."""

import json
import logging
import shutil
import sys

import msgspec
import numpy as np
import pytest
import torch

from imagetrust.models.model import Model
from imagetrust.runtime import engine as engines
from imagetrust.runtime.engine import Engine, choose_engine, exact_engine
from imagetrust.runtime.precision_gate import GATE, INT8_NETWORK, LIMITS
from imagetrust.runtime.torch import PixelNetwork, TorchRunner
from tests.runtime.conftest import TASKS


def stacked(scores, task) -> torch.Tensor:
    return torch.stack([one.logits[task] for one in scores])


def test_torch_is_the_reference(model, images, reference):
    scores = exact_engine(model).score(images, TASKS)
    for task, expected in reference.items():
        assert torch.allclose(stacked(scores, task), expected, atol=1e-5)


def test_openvino_in_fp32_is_torch(model, images, reference):
    engine = choose_engine(model, precision="fp32")
    assert engine.name == "openvino fp32" and engine.exact is None
    scores = engine.score(images, TASKS)
    assert scores[0].features.shape == (1, 1280, 6, 6) and scores[0].features.dtype == torch.float32
    for task, expected in reference.items():
        assert torch.allclose(stacked(scores, task), expected, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_an_image_is_scored_alike_in_batches_of_any_size(model, images, count, precision):
    engine = choose_engine(model, precision=precision)
    together = engine.score(images[:count], TASKS)
    alone = [engine.score([image], TASKS)[0] for image in images[:count]]
    assert len(together) == count
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one.features, other.features, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fast_answers_differ_only_where_the_gate_allows(model, images, reference, precision):
    """Each logit stays near, and whatever is within the margin is fp32's to the last digits."""
    engine = choose_engine(model, precision=precision)
    if precision == "bf16" and engine.name == "openvino fp32":
        pytest.skip("this processor computes in fp32 where bf16 is asked for")
    assert engine.name == f"openvino {precision}" and set(engine.margins) == set(TASKS)
    plain = Engine("plain", model, engine.fast).score(images, TASKS)
    scores = engine.score(images, TASKS)
    close = [any(model.margin(task, one.logits[task][None]) < engine.margins[task] for task in TASKS) for one in plain]
    assert any(close) and not all(close)
    for task in TASKS:
        logits = stacked(scores, task)
        assert (logits - reference[task]).abs().max() < 3
        assert torch.allclose(logits[close], reference[task][close], atol=1e-3)


def test_the_views_of_an_image_are_averaged(model, images, reference):
    views = [np.concatenate(images[:3]), images[3]]
    first, second = exact_engine(model).score(views, TASKS)
    assert first.features.shape[0] == 3 and second.features.shape[0] == 1
    for task in TASKS:
        assert torch.allclose(first.logits[task], reference[task][:3].mean(0), atol=1e-4)
        assert torch.allclose(second.logits[task], reference[task][3], atol=1e-4)


def recording(model, spoil):
    """An engine whose fast runner spoils what the exact one computes, and what the exact one was asked for."""
    exact, asked = TorchRunner(PixelNetwork(model.network, model.config.preprocessing), model.device), []

    def fast(pixels):
        features, embeddings = exact(pixels)
        return features, spoil(embeddings)

    def recorded(pixels):
        asked.append(len(pixels))
        return exact(pixels)

    return lambda margin: Engine("test", model, fast, recorded, dict.fromkeys(TASKS, margin)), asked


@pytest.mark.parametrize(("margin", "asked_again"), [(1e9, True), (0.0, False)])
def test_what_is_close_to_changing_is_computed_again(model, images, reference, margin, asked_again):
    make, asked = recording(model, lambda embeddings: embeddings * 0)
    scores = make(margin).score(images, TASKS)
    assert asked == ([len(images)] if asked_again else [])
    assert torch.allclose(stacked(scores, "authenticity"), reference["authenticity"], atol=1e-4) == asked_again


def test_what_is_not_a_number_is_computed_again(model, images, reference):
    make, asked = recording(model, lambda embeddings: embeddings * float("nan"))
    scores = make(0.1).score(images[:2], TASKS)
    assert asked == [2] and torch.allclose(stacked(scores, "authenticity"), reference["authenticity"][:2], atol=1e-4)


def test_only_the_tasks_asked_for_are_compared(model, images):
    make, asked = recording(model, lambda embeddings: embeddings)
    engine = make(0.0)
    engine.margins["generator_type"] = 1e9
    engine.score(images[:1], ("authenticity",))
    assert asked == []
    engine.score(images[:1], TASKS)
    assert asked == [1]


def test_without_openvino_torch_serves_and_says_so(model, images, reference, monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, "imagetrust.runtime.openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING):
        engine = choose_engine(model)
    assert engine.name == "torch fp32" and "several times slower" in caplog.text
    assert torch.allclose(stacked(engine.score(images, TASKS), "authenticity"), reference["authenticity"], atol=1e-5)


def test_a_processor_without_fast_units_serves_in_fp32_and_says_so(model, monkeypatch, caplog):
    monkeypatch.setattr(engines, "fast_precisions", lambda bf16_products: {})
    with caplog.at_level(logging.WARNING):
        assert choose_engine(model).name == "openvino fp32"
    assert "no fast precision for this network" in caplog.text


def test_a_broken_network_is_passed_over(serving_folder, tmp_path, monkeypatch, caplog):
    shutil.copytree(serving_folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / INT8_NETWORK).write_text("<net")
    monkeypatch.setattr(engines, "fast_precisions", lambda bf16_products: {"int8": 0.5})
    with caplog.at_level(logging.WARNING):
        assert choose_engine(Model(tmp_path)).name == "openvino fp32"
    assert "int8 cannot be used" in caplog.text


def test_a_precision_that_missed_its_gate_is_not_used(serving_folder, tmp_path, monkeypatch, caplog):
    shutil.copytree(serving_folder, tmp_path, dirs_exist_ok=True)
    gate = json.loads((tmp_path / GATE).read_text())
    gate["metrics"]["bf16"]["verdicts_changed"] = 2 * LIMITS["verdicts_changed"]
    (tmp_path / GATE).write_text(json.dumps(gate))
    monkeypatch.setattr(engines, "fast_precisions", lambda bf16_products: {"bf16": 0.4, "int8": 0.5})
    with caplog.at_level(logging.WARNING):
        assert choose_engine(Model(tmp_path)).name == "openvino int8"
    assert "bf16 has not passed the precision gate" in caplog.text


@pytest.mark.parametrize(("share", "chosen"), [(0.05, "openvino int8"), (0.2, "openvino bf16")])
def test_what_is_computed_again_counts_when_a_precision_is_chosen(serving_folder, tmp_path, monkeypatch, share, chosen):
    shutil.copytree(serving_folder, tmp_path, dirs_exist_ok=True)
    gate = json.loads((tmp_path / GATE).read_text())
    for precision, again in (("int8", share), ("bf16", 0.0)):
        for task in gate["metrics"][precision]["tasks"].values():
            task["computed_again"] = again
    (tmp_path / GATE).write_text(json.dumps(gate))
    monkeypatch.setattr(engines, "fast_precisions", lambda bf16_products: {"int8": 0.45, "bf16": 0.55})
    monkeypatch.setattr(
        "imagetrust.runtime.openvino.OpenVinoRunner",
        lambda network, precision, *_, **__: type("Runner", (), {"name": f"openvino {precision}"})(),
    )
    assert choose_engine(Model(tmp_path)).name == chosen


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "int4"), ("cpu", "fp16"), ("cuda", "int8"), ("cuda", "bf16")]
)
def test_a_precision_that_the_device_does_not_offer_is_refused(serving_folder, device, precision):
    model = Model(serving_folder)
    model.device = torch.device(device)
    with pytest.raises(ValueError, match=f"{device}.*{precision}"):
        choose_engine(model, precision=precision)


def in_turn(model, limits, margin=0.1, spoil=lambda embeddings: embeddings):
    """An engine that calls answers settled beyond limits, and how many views either runner was given."""
    other = Model(model.folder)
    other.config = msgspec.structs.replace(model.config, settled=dict.fromkeys(TASKS, limits))
    exact = TorchRunner(PixelNetwork(model.network, model.config.preprocessing), model.device)
    asked = {"fast": [], "exact": []}

    def fast(pixels):
        asked["fast"].append(len(pixels))
        features, embeddings = exact(pixels)
        return features, spoil(embeddings)

    def recorded(pixels):
        asked["exact"].append(len(pixels))
        return exact(pixels)

    return Engine("test", other, fast, recorded, dict.fromkeys(TASKS, margin)), asked


def margins_of(model, logits) -> torch.Tensor:
    return torch.stack([model.margin(task, logits[task]) for task in TASKS]).amin(0)


def test_views_are_looked_at_until_the_answer_is_settled(model, images, reference):
    """Each image gets the views that it needs by itself, whoever is in the batch with it."""
    views = [np.concatenate([images[index], images[index + 1], images[index + 2]]) for index in range(len(images) - 2)]
    limit = margins_of(model, {task: logits[: len(views)] for task, logits in reference.items()}).median().item() + 1e-3
    engine, _ = in_turn(model, (limit, limit / 2), margin=1e-4)
    scores = engine.score(views, TASKS)
    for index, one in enumerate(scores):
        needed = 1
        while needed < 3:
            seen = {task: logits[index : index + needed].mean(0)[None] for task, logits in reference.items()}
            if margins_of(model, seen) >= limit / needed:
                break
            needed += 1
        assert one.views == len(one.features) == needed
        for task in TASKS:
            assert torch.allclose(one.logits[task], reference[task][index : index + needed].mean(0), atol=1e-4)
        (alone,) = engine.score([views[index]], TASKS)
        assert alone.views == needed
    assert {one.views for one in scores} == {1, 2, 3}


@pytest.mark.parametrize(
    ("limits", "calls"), [((1e-6,), [4]), ((1e9, 1e-6), [4, 4]), ((1e9, 1e9), [4, 4, 4]), ((1e9,), [4, 8]), ((), [12])]
)
def test_the_views_that_come_next_go_through_the_network_together(model, images, limits, calls):
    engine, asked = in_turn(model, limits, margin=0.0)
    scores = engine.score([np.concatenate(images[:3])] * 4, TASKS)
    assert asked["fast"] == calls and [one.views for one in scores] == [sum(calls) // 4] * 4


def test_rounding_does_not_choose_the_views(model, images, reference):
    """Whatever fast runner is within its margin of the exact one, an image gets the views of the exact one."""
    views = [np.concatenate(images[:3])]
    limit = margins_of(model, {task: logits[:1] for task, logits in reference.items()}).item()
    assert limit > 0.02
    for nearer in (limit - 0.01, limit + 0.01):
        expected, _ = in_turn(model, (nearer,), margin=0.0)
        for factor in (0.999, 1.001):
            engine, asked = in_turn(
                model, (nearer,), margin=limit / 2, spoil=lambda embeddings, factor=factor: embeddings * factor
            )
            assert engine.score(views, TASKS)[0].views == expected.score(views, TASKS)[0].views
            assert asked["exact"][0] == 1


def test_what_is_not_a_number_settles_nothing(model, images):
    engine, asked = in_turn(model, (1e-6,), margin=1e-7, spoil=lambda embeddings: embeddings * float("nan"))
    (scores,) = engine.score([np.concatenate(images[:3])], TASKS)
    assert scores.recomputed and scores.logits["authenticity"].isfinite().all() and asked["exact"]
