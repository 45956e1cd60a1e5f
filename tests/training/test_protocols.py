"""Protocols leave out what they say, wear what they say, and find the shortcut where there is one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archive_scripts.build import RELEASED
from handlers.card import Thresholds
from handlers.classifier import Classifier
from tests.procedural import SOURCES, encoded
from training.data import Record, labelled, read_artifact, split, split_of
from training.folds import FOLDS, ROUNDS, Fold
from training.robustness import score
from training.shortcuts import file_only_balanced_accuracy
from training.unseen import LEFT_OUT_PARTS, Round, Unseen, calibrate, fold_figures, score_round, scored, scored_folds
from training.wear import COPIES, DEGRADATIONS

GENERATORS = {
    "stylegan2": "gan", "stylegan3": "gan", "cyclegan": "gan", "biggan": "gan", "stable_diffusion": "diffusion",
    "stable_diffusion_2_x": "diffusion", "ddpm": "diffusion", "glide": "diffusion", "latent_diffusion": "diffusion",
    "carla (unreal engine render)": "other", "vqgan + gpt": "other", "face_synthetics": "other",
    "taming_transformer": "other",
}  # fmt: skip


def world(per_source: int = 40) -> list[Record]:
    """Records of many generators and of photographs, without files."""
    generated = [
        Record(None, f"source of {generator}", family, generator, "mixed", f"{generator} {number}")
        for generator, family in GENERATORS.items()
        for number in range(per_source)
    ]
    photographs = [
        Record(None, source, "real", "real", "mixed", f"{source} {number}")
        for source in ("coco", "imagenet", "ffhq", "lsun")
        for number in range(per_source)
    ]
    return generated + photographs


def known_in(names: tuple[str, ...]) -> list[Record]:
    return [record for record in world() if not any(FOLDS[name].is_left_out(record) for name in names)]


@pytest.mark.parametrize(("names", "name"), [(names, name) for names in ROUNDS for name in names])
@pytest.mark.parametrize("part", LEFT_OUT_PARTS)
def test_what_is_scored_was_never_trained_on(names, name, part):
    fold, known = FOLDS[name], known_in(names)
    trained = {record.group for split_name in ("train", "calibration") for record in split(known, seed=0)[split_name]}
    items = scored(world(), known, fold, part, seed=0)
    assert {label for _, label in items} == {0, 1}
    for record, label in items:
        assert record.group not in trained
        if label == (0 if fold.photographs else 1):
            assert fold.is_tested(record) and fold.is_left_out(record)


@pytest.mark.parametrize(("names", "name"), [(names, name) for names in ROUNDS for name in names])
def test_choosing_and_reporting_never_share_a_picture(names, name):
    chosen, reported = (
        {record.group for record, _ in scored(world(), known_in(names), FOLDS[name], part, seed=0)}
        for part in LEFT_OUT_PARTS
    )
    assert chosen and reported and not chosen & reported


@pytest.mark.parametrize("part", LEFT_OUT_PARTS)
def test_a_fold_without_pictures_is_left_out(part, capsys):
    """The full ArtiFact has no fine-tuned Stable Diffusion, say."""
    folds = [FOLDS["tuned_diffusion"], FOLDS["renders"]]
    lacking = [record for record in world() if not folds[0].is_tested(record)]
    known = [record for record in lacking if not folds[1].is_left_out(record)]
    asked = scored_folds(lacking, known, folds, part, seed=0)
    assert asked == {"renders": scored(lacking, known, folds[1], part, seed=0)}
    assert "tuned_diffusion" in capsys.readouterr().out


def test_each_fold_is_left_out_in_one_round():
    assert sorted(name for names in ROUNDS for name in names) == sorted(FOLDS)


def test_folds_cover_every_family_and_overlap_nowhere():
    generators = [fold for fold in FOLDS.values() if not fold.photographs and fold.kept is None]
    families = {record.family for fold in generators for record in world() if fold.is_tested(record)}
    assert len(generators) >= 4 and families == {"gan", "diffusion", "other"}
    for record in world():
        assert sum(fold.is_tested(record) for fold in generators) <= 1


def test_the_published_protocol():
    fold = FOLDS["published"]
    trained = {r.generator for r in world() if r.family != "real" and not fold.is_left_out(r)}
    assert trained == {"stable_diffusion", "stylegan2", "ddpm"}
    assert {r.generator for r in world() if fold.is_tested(r)} == {"glide", "latent_diffusion"}
    assert not [r for r in world() if r.family == "real" and fold.is_left_out(r)]


def test_fold_figures_by_hand():
    figures = fold_figures(
        np.array([0.1, 0.2, 0.95, 0.6, 0.9, 0.3]), np.array([0, 0, 0, 1, 1, 1]), Thresholds(real=0.25, generated=0.8)
    )
    assert figures["photographs_right"] == pytest.approx(2 / 3)
    assert figures["generated_right"] == pytest.approx(2 / 3)
    assert figures["balanced_accuracy"] == pytest.approx(2 / 3)
    assert figures["wrong_above_0.9_confidence"] == pytest.approx(1 / 6)
    assert figures["photographs_called_generated"] == pytest.approx(1 / 3)
    assert figures["decided"] == pytest.approx(4 / 6)
    assert figures["errors_among_decided"] == pytest.approx(1 / 4)
    assert figures["auc"] == pytest.approx(6 / 9)


def test_left_out_pictures_are_counted_apart():
    """Nine known photographs, all surely right, must not dilute one sure error in two on an unseen generator."""
    scores = np.array([0.01] * 9 + [0.05, 0.6])
    logits = np.stack([np.log(1 - scores), np.log(scores)], axis=1)
    labels = np.array([0] * 9 + [1, 1])
    unseen = Unseen(FOLDS["tokens"], logits, labels, tuple(Path(f"{number}.jpg") for number in range(11)))
    known = (np.array([[4.0, -4.0], [-4.0, 4.0]] * 50), np.array([0, 1] * 50))
    figures, _ = score_round(known, [unseen], elsewhere=[])
    row = figures["tokens"]["left_out"]
    assert (row["count"], row["recall"]) == (2, 0.5)
    assert row["wrong_above_0.9_confidence"] == 0.5 > figures["tokens"]["wrong_above_0.9_confidence"]


def test_a_round_is_calibrated_by_what_others_had_not_seen(data_root, monkeypatch):
    """One model as if it were of two rounds: answers belong to their pictures, and the other's temper the first."""
    monkeypatch.setitem(FOLDS, "made", Fold("made", "a procedural generator", r"^checker_gan$"))
    records, device = read_artifact(data_root), torch.device("cpu")
    one = Round(RELEASED, ("made",), "authenticity", device, records, seed=0, workers=0)
    unseen = one.unseen("validation")
    assert [each.fold.name for each in unseen] == ["made"]
    items = scored(records, one.known, FOLDS["made"], "validation", seed=0)
    assert unseen[0].labels.tolist() == [label for _, label in items]
    assert not {record.path for record in one.known if record.family != "real"} & {
        record.path for record, label in items if label
    }

    alone, _, _ = calibrate(one.calibration(), [])
    beside, _, _ = calibrate(one.calibration(), unseen)
    assert beside != alone
    figures, answers = score_round(one.calibration(), one.unseen("test"), elsewhere=unseen)
    probabilities, labels = answers[0]
    assert figures["made"]["photographs"] + figures["made"]["generated"] == len(labels) == len(probabilities)
    assert probabilities.sum(axis=1) == pytest.approx(1)


def test_what_artifact_mini_has_of_each_fold(artifact_mini):
    """Pictures of the test part that a fold leaves out. Of the published protocol's generators it has hardly any."""
    records = read_artifact(artifact_mini)
    assert {
        name: sum(fold.is_tested(r) and split_of(r.group, 0) in LEFT_OUT_PARTS["test"] for r in records)
        for name, fold in FOLDS.items()
    } == {
        "style_gan": 450, "translation_gan": 147, "new_diffusion": 228, "tuned_diffusion": 91, "renders": 188,
        "tokens": 176, "published": 0, "photographs_a": 157, "photographs_b": 190,
    }  # fmt: skip


def test_no_picture_that_is_scored_takes_part_in_the_calibration(monkeypatch):
    """The rounds share photographs of the validation part, and one leaves out what another knows."""

    def said(fold: str, numbers: range) -> Unseen:
        logits = np.random.default_rng(len(numbers)).normal(size=(len(numbers), 2))
        labels = np.array([number % 2 for number in numbers])
        return Unseen(FOLDS[fold], logits, labels, tuple(Path(f"{number}.jpg") for number in numbers))

    calibrated = []

    def calibrating(known, unseen):
        calibrated.extend(unseen)
        return 1.0, Thresholds(0.2, 0.8), True

    monkeypatch.setattr("training.unseen.calibrate", calibrating)
    scored_here = [said("tokens", range(0, 40)), said("style_gan", range(20, 60))]
    elsewhere = [said("renders", range(50, 90)), said("tuned_diffusion", range(10, 50))]
    score_round((np.zeros((0, 2)), np.zeros(0)), scored_here, elsewhere)
    assert [each.fold.name for each in calibrated] == ["renders"], "nothing is left of the other"
    assert calibrated[0].paths == tuple(Path(f"{number}.jpg") for number in range(60, 90))
    assert calibrated[0].logits == pytest.approx(elsewhere[0].logits[10:])


@pytest.mark.parametrize("name", [*DEGRADATIONS, *COPIES])
def test_wear_is_the_same_every_time_and_keeps_a_picture(photo, name):
    wear = (DEGRADATIONS | COPIES)[name]
    worn = wear(photo)
    assert worn.mode == "RGB" and min(worn.size) >= 32
    assert worn.tobytes() == wear(photo).tobytes()
    assert (worn.tobytes() == photo.tobytes()) == (name == "clean")


def test_web_and_hard_bound_the_size():
    large = Image.new("RGB", (3000, 1500))
    assert DEGRADATIONS["web"](large).size == (768, 384)
    assert DEGRADATIONS["hard"](large).size == (512, 256)


def test_robustness_of_the_released_model(data_root):
    items = labelled(read_artifact(data_root), "authenticity")[::60]
    figures = score(Classifier(RELEASED, "authenticity", torch.device("cpu")), items, workers=0)
    assert set(figures["degraded"]) == set(DEGRADATIONS) and set(figures["stability"]) == set(COPIES)
    assert figures["count"] == len(items)
    assert all(0 <= row["flips"] <= 1 for row in figures["stability"].values())


@pytest.mark.parametrize(("leak", "least", "most"), [(False, 0.3, 0.7), (True, 0.99, 1.0)])
def test_shortcuts_are_found_where_there_are_some(tmp_path, leak, least, most):
    """The same pictures twice: once saved alike, once with generated ones saved at another quality."""
    rng = np.random.default_rng(0)
    items = []
    for number in range(200):
        label = int(rng.integers(0, 2))
        image = Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(encoded(image, "JPEG", quality=60 if leak and label else 90))
        items.append((Record(path, next(iter(SOURCES)), "real", "real", "mixed", str(number)), label))
    accuracy = file_only_balanced_accuracy(items[:140], items[140:], seed=0, without_length=True)
    assert least <= accuracy <= most
