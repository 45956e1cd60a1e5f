"""Predictions are the engine's on the views that serving takes, in the order of the records."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from evaluation.predict import conditions, fp32_engine, predict, probabilities_of, read_views, task_metrics
from imagetrust.images.decode import decode
from imagetrust.models.model import Model
from imagetrust.runtime.engine import exact_engine
from training.data import DataError, data_digest


def test_predictions_are_those_of_the_exact_engine(engine, records, small_release):
    exact = exact_engine(Model(small_release))
    preprocessing = exact.model.config.preprocessing
    found = predict(engine, records[:3])
    for index, record in enumerate(records[:3]):
        views = preprocessing.pixels(decode(record.path.read_bytes(), preprocessing.min_side()).image)
        (scores,) = exact.score([views], ("authenticity", "generator_type"))
        for task, logits in scores.logits.items():
            assert found[task][index] == pytest.approx(logits.numpy(), abs=1e-3)
    assert found["authenticity"].dtype == np.float32 and found["generator_type"].shape == (3, 4)


@pytest.mark.parametrize(("batch", "workers"), [(1, 0), (3, 2), (100, 1)])
def test_batches_and_threads_change_nothing(engine, records, batch, workers):
    some = records[:7]
    expected = predict(engine, some)["authenticity"]
    assert predict(engine, some, batch=batch, workers=workers)["authenticity"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("batch", [1, 5])
def test_cores_share_a_batch_and_change_nothing(engine, records, small_release, batch):
    """The images come back in order, where a core gets none as well."""
    some = records[:7]
    found = predict(fp32_engine(Model(small_release), cores=3), some, batch=batch)["authenticity"]
    assert found == pytest.approx(predict(engine, some)["authenticity"], abs=1e-6)


def test_a_corruption_is_given_the_image_at_full_resolution(engine, records):
    sizes = []

    def blacken(image):
        sizes.append(image.size)
        return Image.new("RGB", image.size)

    clean, black = predict(engine, records[:2]), predict(engine, records[:2], blacken)
    assert sizes == [(200, 200)] * 2
    for task, logits in black.items():
        assert logits[0] == pytest.approx(logits[1], abs=1e-5) and (logits != clean[task]).all()


def test_a_file_that_cannot_be_read_is_named(engine, records, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    with pytest.raises(DataError, match="broken.jpg"):
        read_views(replace(records[0], path=broken), engine.model.config.preprocessing)


def test_nothing_to_score_is_an_error(engine):
    with pytest.raises(ValueError, match="no images"):
        predict(engine, [])


def test_probabilities_are_calibrated(engine):
    logits = np.array([[0.0, 2.0]], np.float32)
    assert probabilities_of(engine.model, "authenticity", logits)[0, 1] == pytest.approx(1 / (1 + np.exp(-2)))


def test_undisclosed_families_have_no_label_for_the_generator_type(engine, records):
    some = [replace(records[0], family="undisclosed"), *records[1:3]]
    logits = predict(engine, some)
    assert task_metrics(engine.model, "authenticity", some, logits["authenticity"])["count"] == 3
    found = task_metrics(engine.model, "generator_type", some, logits["generator_type"])
    assert found["count"] == 2 and "verdicts" not in found


def test_conditions_name_the_data(engine, small_data, records):
    described = conditions(small_data, records, "test", 0, engine)
    assert described["data"] == "procedural" and described["images"] == 20 and described["sources"] == 5
    assert described["digest"] == data_digest(records, small_data)
    assert described["engine"] == "openvino fp32 on cpu"
