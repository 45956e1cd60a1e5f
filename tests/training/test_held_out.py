"""What a run is scored on never took part in its training or calibration."""

import numpy as np
import pytest

from imagetrust.models.registry import BACKBONES
from tests.releases import untrained_release
from tests.training.test_groups import world
from training.data import Record, read_artifact, split
from training.groups import GROUPS, RUNS, Group, without
from training.held_out import (
    PARTS,
    HeldOutRun,
    calibrate,
    find_thresholds,
    labelled_predictions,
    score_runs,
    scored_records,
    train_runs,
)
from training.recipe import Recipe


def known_in(names: tuple[str, ...]) -> list[Record]:
    return without(world(), names)


RUN_AND_GROUP = [(names, name) for names in RUNS for name in names]


@pytest.mark.parametrize(("names", "name"), RUN_AND_GROUP)
@pytest.mark.parametrize("part", PARTS)
def test_what_is_scored_was_never_trained_on(names, name, part):
    group, known = GROUPS[name], known_in(names)
    trained = {record.group for split_name in ("train", "calibration") for record in split(known, seed=0)[split_name]}
    records = scored_records(world(), known, group, part, seed=0)
    assert {record.family == "real" for record in records} == {True, False}
    for record in records:
        assert record.group not in trained
        if (record.family == "real") == group.is_real:
            assert group.is_tested(record) and group.is_left_out(record)


@pytest.mark.parametrize(("names", "name"), RUN_AND_GROUP)
def test_choosing_and_reporting_never_share_an_image(names, name):
    chosen, reported = (
        {record.group for record in scored_records(world(), known_in(names), GROUPS[name], part, seed=0)}
        for part in PARTS
    )
    assert chosen and reported and not chosen & reported


def test_a_group_without_images_is_not_scored():
    group = GROUPS["tuned_diffusion"]
    lacking = [record for record in world() if not group.is_tested(record)]
    assert scored_records(lacking, lacking, group, "test", seed=0) == []


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return untrained_release(tmp_path_factory.mktemp("run"), BACKBONES["resnet18"], size=64)


@pytest.fixture
def runs(run_folder, data_root, monkeypatch) -> list[HeldOutRun]:
    """One model as if it were of two runs, each without a procedural source."""
    groups = {
        "made": Group("made", "a procedural generator", r"^checker_gan$"),
        "shot": Group("shot", "a procedural camera", r"^camera_b$", True),
    }
    for name, group in groups.items():
        monkeypatch.setitem(GROUPS, name, group)
    records = read_artifact(data_root)[::4]
    return [HeldOutRun(run_folder, (name,), records, 0, 0) for name in groups]


def test_predictions_belong_to_their_images(runs):
    (held_out,) = runs[0].held_out("validation")
    logits, labels = held_out.predictions("authenticity")
    assert len(logits) == len(labels) == len(held_out.records)
    assert (labels[held_out.is_left_out] == 1).all() and (labels[~held_out.is_left_out] == 0).all()
    assert not {record.path for record in runs[0].known} & {
        record.path for record, left_out in zip(held_out.records, held_out.is_left_out, strict=True) if left_out
    }
    some = frozenset(record.path for record in held_out.records[:5])
    assert len(held_out.predictions("authenticity", besides=some)[1]) == len(labels) - 5


def test_a_run_without_any_image_of_a_class_is_named_and_left_out(data_root, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(GROUPS, "made", Group("made", "every GAN", r"^checker_gan$"))
    monkeypatch.setattr("training.held_out.RUNS", (("made",),))
    records = read_artifact(data_root)
    assert train_runs(Recipe(backbone="resnet18"), data_root, tmp_path / "runs", records, 0) == []
    assert "made: not trained, since without them no image is gan" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("part", PARTS)
def test_no_image_that_is_scored_or_partly_real_takes_part_in_the_calibration(runs, part, monkeypatch):
    taken = []
    undecided = {record.path for record in runs[0].records[::3]}
    monkeypatch.setattr(Record, "is_partly_real", property(lambda record: record.path in undecided))

    def recorded(known, held_out):
        taken.append((known, held_out))
        return calibrate(known, held_out)

    seen: list[list[Record]] = []

    def remembered(task, records, logits, besides=frozenset()):
        kept = [record for record in records if record.path not in besides]
        seen.append(kept)
        return labelled_predictions(task, records, logits, besides)

    monkeypatch.setattr("training.held_out.calibrate", recorded)
    monkeypatch.setattr("training.held_out.labelled_predictions", remembered)
    groups = score_runs(runs, part)
    assert set(groups) == {"made", "shot"} and len(taken) == 2
    for run, calls in zip(runs, (seen[:3], seen[3:]), strict=True):
        *calibrating, scored = calls
        (asked,) = run.held_out(part)
        paths = {record.path for record in asked.records}
        assert {record.path for record in scored} == paths
        for records in calibrating:
            assert records and not {record.path for record in records} & (paths | undecided)


def test_held_out_predictions_temper_the_model(runs):
    known = labelled_predictions("authenticity", *runs[0].calibration())
    held_out = [(one.group, one.predictions("authenticity")) for one in runs[0].held_out("validation")]
    alone, beside = calibrate(known, []), calibrate(known, held_out)
    thresholds, _ = find_thresholds(beside, known, held_out)
    assert beside.temperature != alone.temperature and thresholds.real <= thresholds.generated
    assert np.isfinite(beside.temperature)
