"""A student comes to see what its teacher sees, from answers that are asked for once."""

import csv
import dataclasses

import msgspec
import pytest
import torch

from imagetrust.models.model import Model
from imagetrust.models.registry import BACKBONES
from tests.evaluation.tiny_backbone import TINY
from tests.releases import untrained_release
from training import teach as module
from training.data import read_artifact, split_of
from training.recipe import RecipeError
from training.teach import Lesson, lessons_of, read_lessons, teach
from training.train import CURVES

STUDENT = dataclasses.replace(TINY, name="student", features=lambda _: torch.nn.Conv2d(3, 16, 8, stride=8), channels=16)


@pytest.fixture
def teacher(tmp_path, monkeypatch) -> Model:
    monkeypatch.setitem(BACKBONES, "tiny", TINY)
    monkeypatch.setitem(BACKBONES, "student", STUDENT)
    for name, value in (("COMPONENTS", 4), ("PLACE_COMPONENTS", 4), ("FITTED_TO", 64)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "read_artifact", lambda root: read_artifact(root)[::6])
    return Model(untrained_release(tmp_path / "teacher", TINY))


@pytest.fixture
def lesson(teacher) -> Lesson:
    return Lesson(
        student="student", teacher="tiny 0.0", teacher_sha256=teacher.config.weights_sha256, start=None, seed=0,
        versions=2, epochs=3, sizes=(32, 64), batch=8, learning_rate=0.02,
    )  # fmt: skip


def errors(folder) -> list[float]:
    with (folder / CURVES).open() as file:
        return [float(row["embedding_error"]) for row in csv.DictReader(file)]


def test_a_student_learns_without_labels_and_starts_a_recipe(teacher, lesson, data_root, tmp_path):
    teach(msgspec.structs.replace(lesson, sizes=(64,)), teacher, data_root, tmp_path / "taught")
    found = errors(tmp_path / "taught")
    assert len(found) == 3 and found[-1] < 0.7 * found[0]
    further = msgspec.structs.replace(lesson, start=str(tmp_path / "taught"), epochs=1)
    teach(further, teacher, data_root, tmp_path / "further", tmp_path / "taught" / "lessons")
    assert [one["taught"] for one in lessons_of(tmp_path / "further")] == [3, 1]
    student = Model(tmp_path / "further", calibrated=False)
    assert student.network(torch.rand(2, 3, 64, 64))[1].shape == (2, 16)


def test_answers_are_of_the_same_pixels_and_asked_for_once(teacher, lesson, data_root, tmp_path, monkeypatch):
    versions = read_lessons(teacher, lesson, data_root, tmp_path)
    records = [record for record in read_artifact(data_root)[::6] if split_of(record.group, 0) != "test"]
    assert [len(version.pixels) for version in versions] == [len(records)] * 2
    assert (versions[0].pixels[3] == teacher.config.preprocessing.pixels(_image(records[3]))[0]).all()
    assert (versions[0].pixels != versions[1].pixels).any(axis=(1, 2, 3)).all()
    monkeypatch.setattr(module, "exact_engine", lambda model: pytest.fail("the teacher is asked again"))
    again = read_lessons(teacher, lesson, data_root, tmp_path)
    assert (again[1].embeddings == versions[1].embeddings).all()


def test_an_interrupted_lesson_goes_on(teacher, lesson, data_root, tmp_path, monkeypatch):
    teach(lesson, teacher, data_root, tmp_path / "whole", tmp_path / "lessons", checkpoint_minutes=0)
    append, out = module.append_row, tmp_path / "halves"

    def interrupted(path, row):
        if row["epoch"] == 2:
            raise KeyboardInterrupt
        append(path, row)

    monkeypatch.setattr(module, "append_row", interrupted)
    with pytest.raises(KeyboardInterrupt):
        teach(lesson, teacher, data_root, out, tmp_path / "lessons", checkpoint_minutes=0)
    monkeypatch.setattr(module, "append_row", append)
    teach(lesson, teacher, data_root, out, tmp_path / "lessons", checkpoint_minutes=0)
    assert errors(out) == pytest.approx(errors(tmp_path / "whole"), rel=0.02)


def test_another_lesson_is_refused(teacher, lesson, data_root, tmp_path):
    module.claim(tmp_path, lesson)
    with pytest.raises(RecipeError, match="another lesson"):
        teach(msgspec.structs.replace(lesson, epochs=4), teacher, data_root, tmp_path)


def _image(record):
    return module.decode(record.path.read_bytes(), None).image
