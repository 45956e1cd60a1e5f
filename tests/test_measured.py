"""Stages are measured, also where they fail."""

import time

import pytest

from imagetrust.measured import STAGES, Measured
from imagetrust.predictor import Predictor
from imagetrust.request import Request
from tests.procedural import encoded


def test_a_stage_that_fails_is_measured_too():
    measured = Measured()
    with pytest.raises(OSError), measured.stage("decode"):
        time.sleep(0.02)
        raise OSError
    assert 0.02 <= measured.seconds["decode"] < 1


def test_each_request_has_the_stages_that_it_came_to(serving_folder, photo):
    predictor = Predictor(serving_folder)
    requests = [
        Request(encoded(photo, "JPEG")),
        Request(b"hello"),
        Request(encoded(photo, "PNG"), {"detail": "verdicts"}),
        Request(encoded(photo, "PNG")[:400]),
    ]
    answers = predictor.predict_measured(requests, "explanation")
    measured = [one for _, one in answers]
    assert [answer for answer, _ in answers][0].keys() == predictor.predict(requests, "explanation")[0].keys()
    assert set(measured[0].seconds) == set(STAGES) and measured[0].size == photo.size
    assert set(measured[2].seconds) == {"decode", "preprocess", "inference"}
    assert set(measured[1].seconds) == set(measured[3].seconds) == {"decode"} and measured[1].size is None
    assert measured[0].seconds["inference"] == measured[2].seconds["inference"] > 0


@pytest.mark.parametrize("margin", [0.0, 1e9])
def test_what_is_computed_again_says_so(serving_folder, photo, margin):
    """With a margin that no answer keeps, each is computed again; with none, none is."""
    predictor = Predictor(serving_folder)
    engine = predictor.engine
    if engine.exact is None:
        pytest.skip("this processor has no fast precision for the released network: nothing is computed again")
    engine.margins.update(dict.fromkeys(engine.margins, margin))
    ((_, measured),) = predictor.predict_measured([Request(encoded(photo, "JPEG"))], "authenticity")
    assert measured.recomputed == bool(margin)
