"""The margin of a settled answer: no answer beyond it is another one with all views."""

import msgspec
import numpy as np
import pytest
import torch

from evaluation.predict import read_views
from imagetrust.images.views import ViewRule
from imagetrust.models.config import TASKS
from imagetrust.models.model import Model
from imagetrust.runtime.engine import exact_engine
from tests.releases import RELEASE
from training.data import read_artifact
from training.quantise import answers
from training.settle import settled_margins, view_logits


@pytest.fixture(scope="module")
def model() -> Model:
    return Model(RELEASE)


def rows_of(seed: int, images: int = 400) -> list[dict[str, torch.Tensor]]:
    """Logits of up to three views of an image each, which differ among themselves."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(images):
        views = int(rng.integers(1, 4))
        row = {}
        for task, classes in TASKS.items():
            image = rng.normal(0, 2, (1, len(classes)))
            row[task] = torch.from_numpy(image + rng.normal(0, 0.5, (views, len(classes)))).float()
        rows.append(row)
    return rows


@pytest.mark.parametrize("task", TASKS)
def test_answers_beyond_the_margin_are_those_of_all_views(model, task):
    rows = rows_of(seed=1)
    limits = settled_margins(model, task, rows)
    assert len(limits) == 2 and limits[0] > limits[1] > 0
    stopped = changed = 0
    for row in rows:
        for count in range(1, len(row[task])):
            first = row[task][:count].mean(0)
            if model.margin(task, first[None]) >= limits[count - 1]:
                stopped += 1
                changed += answers(model, task, first[None]) != answers(model, task, row[task].mean(0)[None])
    assert stopped > 20 and changed <= 0.01 * stopped


def test_views_that_agree_settle_at_once(model):
    rows = [{task: logits[:1].repeat(3, 1) for task, logits in row.items()} for row in rows_of(seed=2)]
    assert all(settled_margins(model, task, rows) == pytest.approx((0, 0), abs=1e-4) for task in TASKS)


def test_without_several_views_nothing_is_said(model):
    rows = [{task: logits[:1] for task, logits in row.items()} for row in rows_of(seed=3)]
    assert settled_margins(model, "authenticity", rows) == settled_margins(model, "authenticity", []) == ()


def test_each_view_has_its_own_logits(data_root, model):
    several = msgspec.structs.replace(
        model.config.preprocessing, views=(ViewRule(fraction=1.0), ViewRule(fraction=0.5, places=((0, 0), (1, 1))))
    )
    other = Model(RELEASE)
    other.config = msgspec.structs.replace(model.config, preprocessing=several)
    records, engine = read_artifact(data_root)[:3], exact_engine(other)
    rows = view_logits(engine, records)
    assert len(rows) == 3
    for record, row in zip(records, rows, strict=True):
        views = read_views(record, several)
        for index in range(3):
            (alone,) = engine.score([views[index][None]], tuple(TASKS))
            for task in TASKS:
                assert torch.allclose(row[task][index], alone.logits[task], atol=1e-4)
