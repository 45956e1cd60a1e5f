"""More makers help a head that generalises; the shares are what they say."""

from pathlib import Path

import numpy as np

from training.data import Record
from training.groups import FOLDS, fold_of
from training.learning_curve import SHARES, curve, draw


def records_of(makers: int, images: int) -> list[Record]:
    return [
        Record(
            path=Path(f"{family}_{maker}/{number}.png"),
            source=f"{family}_{maker}",
            family=family,
            generator=family,
            category="",
            group=f"{family}_{maker}/{number}",
            repository=f"{family}_{maker}",
        )
        for family in ("real", "gan")
        for maker in range(makers)
        for number in range(images)
    ]


def test_a_share_of_repositories_is_whole_repositories_of_each_class():
    records = records_of(8, 6)
    chosen = [records[i] for i in draw(records, "repositories", 0.25, np.random.default_rng(0))]
    makers = {record.maker for record in chosen}
    assert len(makers) == 4 and sum(maker.startswith("real") for maker in makers) == 2
    assert len(chosen) == 4 * 6


def test_a_share_of_images_is_of_every_repository():
    records = records_of(8, 6)
    chosen = [records[i] for i in draw(records, "images", 0.5, np.random.default_rng(0))]
    assert len({record.maker for record in chosen}) == 16 and len(chosen) == 16 * 3


def test_the_curve_rises_with_makers_whose_subjects_differ():
    records = records_of(40, 4)
    assert {fold_of(record) for record in records} == set(range(FOLDS))
    random = np.random.default_rng(0)
    subjects = {record.maker: random.normal(size=16) * 2 for record in records}
    rows = np.stack([subjects[record.maker] + random.normal(size=16) * 0.3 for record in records])
    rows[:, 0] += np.array([1.5 if record.family == "gan" else -1.5 for record in records])
    points = curve(records, rows, 1.0, draws=2, seed=0)
    repositories = [point for point in points if point.of == "repositories"]
    assert [point.share for point in repositories] == list(SHARES)
    assert repositories[0].roc_auc < repositories[-1].roc_auc
    assert repositories[0].repositories < repositories[-1].repositories
    fewer_images = next(point for point in points if point.of == "images")
    assert fewer_images.repositories == repositories[-1].repositories and fewer_images.images < repositories[-1].images
