"""Whatever computes the features, the answers are those of torch in fp32; and what cannot run is not used."""

import json
import logging
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from archive_scripts.build import RELEASED
from archive_scripts.networks import write_exact_network
from handlers.classifier import Classifier
from handlers.engine import Engine, choose_engine, exact_file, gate_file, quantised_file
from handlers.gate import LIMITS, missed
from handlers.openvino_trunk import OpenVinoTrunk
from handlers.preprocessing import pixels_to_tensor
from handlers.processor import fast_precisions
from handlers.trunk import PixelTrunk, TorchTrunk
from tests.procedural import picture

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def classifiers() -> list[Classifier]:
    return [Classifier(RELEASED, name, CPU) for name in ("authenticity", "generator_type")]


@pytest.fixture(scope="module")
def pixels(classifiers) -> np.ndarray:
    """(40, size, size, 3) uint8: pictures of each procedural kind."""
    size, rng = classifiers[0].card.preprocessing.size, np.random.default_rng(3)
    kinds = ("real", "gan", "diffusion", "other") * 10
    return np.stack([np.asarray(picture(kind, rng).resize((size, size))) for kind in kinds])


@pytest.fixture(scope="module")
def archive(classifiers, tmp_path_factory):
    """What an archive's folder holds of the released trunk, as if both precisions had passed their gate."""
    folder = tmp_path_factory.mktemp("archive")
    for file in RELEASED.glob("trunk-*"):
        shutil.copy(file, folder)
    write_exact_network(classifiers[0], folder)
    path = folder / gate_file(classifiers[0].trunk_id)
    gate = json.loads(path.read_text())
    for precision in ("bf16", "int8"):
        gate["bands"].setdefault(precision, dict.fromkeys((one.card.name for one in classifiers), 0.2))
        gate["figures"][precision] |= dict.fromkeys(LIMITS, 0.0)
    path.write_text(json.dumps(gate))
    return folder


@pytest.fixture(scope="module")
def reference(classifiers, pixels) -> dict[str, torch.Tensor]:
    """The logits of each model by the training code: normalised pictures through torch in fp32."""
    first = classifiers[0]
    tensors = [pixels_to_tensor(one.copy(), first.card.preprocessing) for one in pixels]
    return {one.card.name: one.logits(first.features(tensors)) for one in classifiers}


def test_torch_sees_pixels_as_training_does(classifiers, pixels, reference):
    first = classifiers[0]
    engine = Engine("torch", TorchTrunk(PixelTrunk(first.trunk, first.card.preprocessing), CPU))
    _, logits = engine.score(pixels, classifiers)
    for name, expected in reference.items():
        assert torch.allclose(logits[name], expected, atol=1e-5)


def test_openvino_in_fp32_is_torch(archive, classifiers, pixels, reference):
    engine = choose_engine(archive, classifiers[0], threads=1, precision="fp32")
    assert engine.name == "openvino fp32" and engine.exact is None
    features, logits = engine.score(pixels, classifiers)
    size = classifiers[0].card.preprocessing.size // 32
    assert features.shape == (len(pixels), 1280, size, size) and features.dtype == torch.float32
    for name, expected in reference.items():
        assert torch.allclose(logits[name], expected, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_picture_is_seen_alike_in_batches_of_any_size(archive, classifiers, pixels, count, precision):
    engine = choose_engine(archive, classifiers[0], threads=1, precision=precision)
    together, _ = engine.score(pixels[:count], classifiers)
    alone = torch.cat([engine.score(pixels[index : index + 1], classifiers)[0] for index in range(count)])
    assert together.shape[0] == count and torch.allclose(together, alone, atol=1e-5)


def _needs(precision: str, archive: Path, classifier: Classifier) -> None:
    try:
        OpenVinoTrunk(archive / exact_file(classifier.trunk_id), precision, threads=1)
    except RuntimeError as error:
        pytest.skip(str(error))


def test_what_is_compiled_is_what_was_asked_for_or_refused(archive, classifiers, pixels, caplog):
    """OpenVINO takes the hint bf16 on any processor, and computes in fp32 where there is none."""
    network = archive / exact_file(classifiers[0].trunk_id)
    exact = OpenVinoTrunk(network, "fp32", threads=1)
    assert exact.precision == "fp32"
    try:
        fast = OpenVinoTrunk(network, "bf16", threads=1)
    except RuntimeError as error:
        assert "has no bf16" in str(error)
        with caplog.at_level(logging.WARNING):
            engine = choose_engine(archive, classifiers[0], threads=1, precision="bf16")
        assert engine.name == "openvino fp32" and "has no bf16" in caplog.text
    else:
        assert fast.precision == "bf16" and not torch.equal(fast(pixels[:2]), exact(pixels[:2]))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_fast_answers_differ_only_where_the_gate_allows(archive, classifiers, pixels, reference, precision):
    """Each logit stays near, and whatever is within the band is fp32's to the last digits."""
    _needs(precision, archive, classifiers[0])
    engine = choose_engine(archive, classifiers[0], threads=1, precision=precision)
    assert engine.name == f"openvino {precision}" and set(engine.bands) == set(reference)
    features, logits = engine.score(pixels, classifiers)
    plain = {one.card.name: one.logits(engine.fast(pixels)) for one in classifiers}
    close = torch.stack(
        [one.distance_to_change(plain[one.card.name]) < engine.bands[one.card.name] for one in classifiers]
    ).any(0)
    for one in classifiers:
        name = one.card.name
        assert (logits[name] - reference[name]).abs().max() < 3
        assert torch.allclose(logits[name][close], reference[name][close], atol=1e-3)
        assert torch.allclose(logits[name], one.logits(features), atol=1e-6), "features and logits belong together"


def test_what_is_close_to_changing_is_computed_again(classifiers, pixels, reference):
    """With a fast trunk that is wrong and a band that takes all, only the exact one is heard."""
    first = classifiers[0]
    exact = TorchTrunk(PixelTrunk(first.trunk, first.card.preprocessing), CPU)
    asked = []

    def wrong(batch: np.ndarray) -> torch.Tensor:
        return exact(batch) * 0

    def recorded(batch: np.ndarray) -> torch.Tensor:
        asked.append(len(batch))
        return exact(batch)

    for band, expected in ((1e9, [len(pixels)]), (0.0, [])):
        asked.clear()
        bands = {one.card.name: band for one in classifiers}
        _, logits = Engine("test", wrong, recorded, bands).score(pixels, classifiers)
        assert asked == expected
        same = torch.allclose(logits["authenticity"], reference["authenticity"], atol=1e-4)
        assert same == bool(expected)


def test_what_a_fast_precision_cannot_hold_is_computed_again(classifiers, pixels, reference):
    """fp16 overflows to infinity, and what follows is not a number."""
    first = classifiers[0]
    exact = TorchTrunk(PixelTrunk(first.trunk, first.card.preprocessing), CPU)

    def overflowing(batch: np.ndarray) -> torch.Tensor:
        features = exact(batch)
        features[1] = float("nan")
        return features

    bands = {one.card.name: 0.0 for one in classifiers}
    _, logits = Engine("test", overflowing, exact, bands).score(pixels[:3], classifiers)
    for name, expected in reference.items():
        assert torch.allclose(logits[name], expected[:3], atol=1e-4)


def test_distance_to_change(classifiers):
    """In calibrated logits: to the label's change, and for authenticity to the thresholds of the verdict."""
    authenticity, generator_type = classifiers
    temperature = authenticity.card.temperature
    threshold = torch.tensor(authenticity.card.thresholds.generated).logit()
    odds = torch.tensor([0.0, 0.25, float(threshold) + 0.5, -float(threshold) - 2])
    logits = torch.stack([torch.zeros(4), odds * temperature], dim=1)
    assert authenticity.distance_to_change(logits).tolist() == pytest.approx([0, 0.25, 0.5, 2], abs=1e-4)
    scores = torch.tensor([[1.0, 3.0, 2.5, 0.0]]) * generator_type.card.temperature
    assert generator_type.distance_to_change(scores).tolist() == pytest.approx([0.5], abs=1e-5)


def test_without_openvino_torch_serves_and_says_so(archive, classifiers, pixels, reference, monkeypatch, caplog):
    monkeypatch.delitem(sys.modules, "handlers.openvino_trunk", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING):
        engine = choose_engine(archive, classifiers[0], threads=1)
    assert engine.name == "torch fp32" and "several times slower" in caplog.text
    assert torch.allclose(engine.score(pixels, classifiers)[1]["authenticity"], reference["authenticity"], atol=1e-5)


def test_a_processor_without_fast_units_serves_in_fp32_and_says_so(archive, classifiers, monkeypatch, caplog):
    monkeypatch.setattr("handlers.engine.fast_precisions", lambda: ())
    with caplog.at_level(logging.WARNING):
        assert choose_engine(archive, classifiers[0], threads=1).name == "openvino fp32"
    assert "neither VNNI nor AMX" in caplog.text


def test_a_broken_network_is_passed_over(archive, classifiers, tmp_path, monkeypatch, caplog):
    shutil.copytree(archive, tmp_path, dirs_exist_ok=True)
    (tmp_path / quantised_file(classifiers[0].trunk_id)).write_text("<net")
    monkeypatch.setattr("handlers.engine.fast_precisions", lambda: ("int8",))
    with caplog.at_level(logging.WARNING):
        assert choose_engine(tmp_path, classifiers[0], threads=1).name == "openvino fp32"
    assert "cannot run" in caplog.text


def test_a_precision_that_missed_its_gate_is_not_used(archive, classifiers, tmp_path, monkeypatch, caplog):
    shutil.copytree(archive, tmp_path, dirs_exist_ok=True)
    path = tmp_path / gate_file(classifiers[0].trunk_id)
    gate = json.loads(path.read_text())
    gate["figures"]["bf16"]["verdicts_changed"] = 0.02
    path.write_text(json.dumps(gate))
    monkeypatch.setattr("handlers.engine.fast_precisions", lambda: ("bf16", "int8"))
    with caplog.at_level(logging.WARNING):
        assert choose_engine(tmp_path, classifiers[0], threads=1).name == "openvino int8"
    assert "bf16 has not passed the gate" in caplog.text


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "int4"), ("cpu", "fp16"), ("cuda", "bf16"), ("cuda", "int8")]
)
def test_a_precision_that_the_device_does_not_offer_is_refused(archive, device, precision, monkeypatch):
    classifier = Classifier(RELEASED, "authenticity", CPU)
    monkeypatch.setattr(classifier, "device", torch.device(device))
    with pytest.raises(ValueError, match=f"on {device} the precision must be one of auto"):
        choose_engine(archive, classifier, threads=1, precision=precision)


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
    assert fast_precisions(cpuinfo) == expected
    assert fast_precisions(tmp_path / "nothing") == ()


def test_the_gate():
    passing = {name: limit * 0.9 for name, limit in LIMITS.items()}
    assert missed(passing) == []
    for name, limit in LIMITS.items():
        assert len(missed(passing | {name: -1.1 * limit})) == 1
        assert "not measured" in missed({other: v for other, v in passing.items() if other != name})[0]
    assert missed(passing | {"verdicts_changed": float("nan")})


def test_importing_the_backend_reports_to_nobody():
    """openvino's telemetry package, which would, is kept out of the process."""
    import handlers.openvino_trunk  # noqa: F401

    assert sys.modules["openvino_telemetry"] is None
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__ == "openvino.tools.ovc.telemetry_stub"
