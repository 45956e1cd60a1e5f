"""A cascade costs what it asks for, and errs where the model that answered does."""

import numpy as np
import pytest

from benchmarks.cascade import SURE, Served, least_sure, points

LABELS = np.array([0, 0, 1, 1])
FAST = Served(np.array([0.1, 0.6, 0.9, 0.45]), np.full(4, 1.0), np.full(4, 0.4))
ACCURATE = Served(np.array([0.2, 0.3, 0.8, 0.7]), np.full(4, 11.0), np.full(4, 1.0))
ALL = np.ones(4, bool)


def test_the_accurate_model_sees_what_the_fast_one_is_unsure_of():
    found = {one.sure: one for one in points(FAST, ACCURATE, LABELS, ALL)[1:-1]}
    assert tuple(found) == SURE
    assert found[0.55].asked == 0 and found[0.65].asked == 0.5 and found[0.95].asked == 1
    assert found[0.65].balanced_accuracy == 1 and found[0.65].roc_auc == 1
    assert found[0.65].seconds == pytest.approx(1 + 0.5 * 10), "decoding is paid once"


def test_alone_each_model_pays_for_itself():
    fast, *_, accurate = points(FAST, ACCURATE, LABELS, ALL)
    assert (fast.asked, fast.seconds, fast.balanced_accuracy) == (0, 1, 0.5)
    assert (accurate.asked, accurate.seconds, accurate.balanced_accuracy) == (1, 11, 1)


def test_the_least_sure_that_is_enough_is_chosen():
    assert least_sure(points(FAST, ACCURATE, LABELS, ALL)) == 0.65
    hopeless = Served(np.array([0.99, 0.99, 0.01, 0.01]), np.full(4, 1.0), np.full(4, 0.4))
    assert least_sure(points(hopeless, ACCURATE, LABELS, ALL)) is None


def test_images_that_are_not_chosen_do_not_count():
    chosen = np.array([True, False, True, False])
    assert points(FAST, ACCURATE, LABELS, chosen)[0].balanced_accuracy == 1
