"""What the tests of the protocols share: an untrained model, and a small procedural data set."""

from pathlib import Path

import pytest
from PIL import Image

from evaluation.predict import fp32_engine
from imagetrust.models.model import Model
from imagetrust.models.registry import BACKBONES
from imagetrust.runtime.engine import Engine
from tests.evaluation.tiny_backbone import TINY
from tests.procedural import make_data_set
from tests.releases import untrained_release
from training.data import Record, read_artifact


@pytest.fixture(scope="session")
def small_release(tmp_path_factory) -> Path:
    """An untrained release with thresholds of 0.4 and 0.6."""
    BACKBONES[TINY.name] = TINY
    yield untrained_release(tmp_path_factory.mktemp("release") / "0.0", TINY)
    del BACKBONES[TINY.name]


@pytest.fixture(scope="session")
def engine(small_release) -> Engine:
    return fp32_engine(Model(small_release))


@pytest.fixture(scope="session")
def small_data(tmp_path_factory) -> Path:
    return make_data_set(tmp_path_factory.mktemp("evaluation") / "procedural", per_source=40)


@pytest.fixture(scope="session")
def records(small_data) -> list[Record]:
    """20 images, four of each source."""
    return read_artifact(small_data)[::10]


@pytest.fixture
def white() -> Image.Image:
    return Image.new("RGB", (3000, 1500), "white")
