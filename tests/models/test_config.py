"""A description says what it must, is refused by name where it does not, and comes back as it was written."""

import json

import msgspec
import pytest

from imagetrust.models.config import CONFIG, Head, ModelConfig, Thresholds
from tests.releases import CURRENT, RELEASE


@pytest.fixture
def write(tmp_path):
    """Write the released description with some members changed, and return its folder."""

    def written(change):
        fields = json.loads((RELEASE / CONFIG).read_text())
        change(fields)
        (tmp_path / CONFIG).write_text(json.dumps(fields))
        return tmp_path

    return written


@pytest.mark.parametrize("release", sorted({RELEASE, CURRENT}), ids=lambda release: release.name)
def test_what_is_written_is_read(release, tmp_path):
    config = ModelConfig.read(release)
    config.write(tmp_path)
    assert ModelConfig.read(tmp_path) == config


def test_the_served_description_is_as_it_would_be_written(tmp_path):
    """Older ones lack members that came later."""
    ModelConfig.read(CURRENT).write(tmp_path)
    assert (tmp_path / CONFIG).read_bytes() == (CURRENT / CONFIG).read_bytes()


def set_head(**changes):
    return lambda fields: fields["heads"]["authenticity"].update(changes)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (set_head(temperature=0), "temperature"),
        (set_head(temperature="hot"), "temperature"),
        (set_head(thresholds={"real": 0.8, "generated": 0.2}), "real <= generated"),
        (set_head(thresholds={"real": 0.2}), "generated"),
        (set_head(thresholds={"real": -0.1, "generated": 0.2}), "real"),
        (set_head(colour="red"), "colour"),
        (lambda fields: fields["heads"].update(style={"classes": ["a"]}), "style"),
        (lambda fields: fields.pop("heads"), "heads"),
        (lambda fields: fields["preprocessing"].pop("mean"), "mean"),
        (lambda fields: fields["preprocessing"].update(views=[]), "fraction"),
        (lambda fields: fields["preprocessing"].update(views=[{"zoom": 1.0}]), "fraction"),
        (lambda fields: fields["preprocessing"].update(views=[{"fraction": 0.5, "zoom": 1.0}]), "zoom"),
        (lambda fields: fields["preprocessing"].update(interpolation="guess"), "guess"),
        (lambda fields: fields.update(weights_sha256="abc"), "weights_sha256"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(write, change, word):
    with pytest.raises(ValueError, match=word) as refused:
        ModelConfig.read(write(change))
    assert CONFIG in str(refused.value)


def test_a_task_without_its_thresholds_is_not_served(write):
    folder = write(set_head(thresholds=None))
    with pytest.raises(ValueError, match="authenticity has no thresholds"):
        ModelConfig.read(folder)
    assert ModelConfig.read(folder, calibrated=False).uncalibrated == ["authenticity"]


@pytest.mark.parametrize(
    ("probability", "verdict"),
    [(0, "real"), (0.2, "real"), (0.21, "uncertain"), (0.79, "uncertain"), (0.8, "generated")],
)
def test_verdict(probability, verdict):
    assert Thresholds(real=0.2, generated=0.8).verdict(probability) == verdict


def test_a_description_cannot_be_changed():
    with pytest.raises(AttributeError):
        Head(("real", "generated")).temperature = 2.0
    assert msgspec.structs.replace(Head(("real",)), temperature=2.0).temperature == 2.0
