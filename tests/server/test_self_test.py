"""The self-test tells a network that answers otherwise from one that rounds."""

import json

import pytest

from archive_scripts.self_test import PICTURES
from imagetrust.models.config import TASKS
from imagetrust.predictor import QUESTIONS, Predictor
from imagetrust.request import Request
from server.self_test import SELF_TEST, read_self_test
from tests.releases import RELEASE


@pytest.fixture(scope="module")
def archive_folder(serving_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    (folder / "model").symlink_to(serving_folder)
    return folder


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_the_release_passes_in_every_precision(archive_folder, precision):
    test, predictor = read_self_test(archive_folder), Predictor(archive_folder / "model", precision=precision)
    assert set(test.pictures) == {f"self_test/{path.name}" for path in PICTURES.glob("*.jpg")}
    for question in QUESTIONS:
        options = {"detail": "verdicts"} if question == "explanation" else {}
        for picture, content in test.pictures.items():
            (answer,) = predictor.predict([Request(content, options)], question)
            assert test.faults(picture, RELEASE.name, answer) == []
            assert len(test.faults(picture, "9.9", answer)) == len(QUESTIONS[question])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("engine", "moved", "fault"),
    [("openvino fp32", 0.04, False), ("openvino fp32", 0.1, True), ("torch fp32", 0.1, True),
     ("openvino bf16", 0.1, False), ("torch fp16", 0.1, False), ("openvino int8", 0.1, False),
     ("openvino int8", 5.0, True), ("of tomorrow", 0.1, True), ("openvino int8", float("nan"), True)],
)  # fmt: skip
def test_how_far_an_answer_may_move_depends_on_the_precision(archive_folder, task, engine, moved, fault):
    test = read_self_test(archive_folder)
    picture, expected = next(iter(test.logits.items()))
    first = next(iter(expected[task]))
    logits = {name: value + moved * (name == first) for name, value in expected[task].items()}
    answer = {"logits": logits, "model": {"name": task, "version": RELEASE.name, "engine": engine}}
    assert bool(test.faults(picture, RELEASE.name, answer)) == fault


def test_an_archive_of_another_kind_has_none(tmp_path):
    assert read_self_test(tmp_path) is None


def test_it_is_rounded_far_below_its_tolerance(archive_folder):
    read = json.loads((archive_folder / SELF_TEST).read_text())
    assert min(value for tasks in read["tolerances"].values() for value in tasks.values()) >= 0.02
