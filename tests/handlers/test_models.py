"""Cards, weights and preprocessing: what is wrong is refused by name, what is right is golden."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from archive_scripts.build import RELEASED
from handlers.card import Preprocessing, Thresholds, read_card
from handlers.classifier import Classifier
from handlers.network import file_sha256, load_weights
from handlers.preprocessing import central_view, picture_to_pixels, picture_to_tensor
from handlers.verdicts import verdict

CARD = json.loads((RELEASED / "authenticity.json").read_text())


def write_card(folder, **changes):
    path = folder / "authenticity.json"
    path.write_text(json.dumps(CARD | changes))
    return path


@pytest.mark.parametrize("name", ["authenticity", "generator_type"])
def test_released_cards_fit_their_weights(name):
    classifier = Classifier(RELEASED, name, torch.device("cpu"))
    assert classifier.card.name == name
    assert (classifier.card.thresholds is not None) == (name == "authenticity")
    assert (RELEASED / f"{name}.safetensors").stat().st_size < 25e6


@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 0},
        {"temperature": "hot"},
        {"thresholds": {"real": 0.8, "generated": 0.2}},
        {"thresholds": {"real": 0.2}},
        {"preprocessing": {"size": 160}},
    ],
)
def test_bad_cards_are_refused_by_name(tmp_path, changes):
    with pytest.raises(ValueError, match="authenticity.json"):
        read_card(write_card(tmp_path, **changes))


def test_a_card_without_a_field(tmp_path):
    path = tmp_path / "authenticity.json"
    path.write_text(json.dumps({key: value for key, value in CARD.items() if key != "classes"}))
    with pytest.raises(ValueError, match="classes"):
        read_card(path)


def test_weights_that_the_card_does_not_describe(tmp_path):
    weights = tmp_path / "authenticity.safetensors"
    save_file({"conv1.weight": torch.zeros(1)}, weights)
    with pytest.raises(ValueError, match="SHA-256"):
        load_weights(weights, read_card(write_card(tmp_path)))


def test_weights_of_another_shape(tmp_path):
    weights = tmp_path / "authenticity.safetensors"
    save_file({"layer9.weight": torch.zeros(1)}, weights)
    card = read_card(write_card(tmp_path, weights_sha256=file_sha256(weights)))
    with pytest.raises(ValueError, match="layer9"):
        load_weights(weights, card)


def test_a_pickle_is_never_opened(tmp_path):
    """Renamed to safetensors, with a fitting hash, a pickle that would run code is only a broken file."""
    touched = tmp_path / "touched"

    class Harmful:
        def __reduce__(self):
            return (touched.write_text, ("ran",))

    weights = tmp_path / "authenticity.safetensors"
    weights.write_bytes(pickle.dumps(Harmful()))
    card = read_card(write_card(tmp_path, weights_sha256=file_sha256(weights)))
    with pytest.raises(Exception, match="(?i)header|deserializ"):
        load_weights(weights, card)
    assert not touched.exists()


def test_unknown_architecture(tmp_path):
    with pytest.raises(ValueError, match="resnet99"):
        load_weights(RELEASED / "authenticity.safetensors", read_card(write_card(tmp_path, architecture="resnet99")))


@pytest.mark.parametrize(
    ("probability", "expected"),
    [(0, "real"), (0.2, "real"), (0.21, "uncertain"), (0.79, "uncertain"), (0.8, "generated")],
)
def test_verdict(probability, expected):
    assert verdict(probability, Thresholds(real=0.2, generated=0.8)) == expected


@pytest.mark.parametrize(
    ("size", "crop", "view"),
    [
        ((200, 200), 1.0, (0, 0, 200, 200)),
        ((300, 200), 1.0, (50, 0, 250, 200)),
        ((33, 64), 1.0, (0, 15, 33, 48)),
        ((200, 200), 0.96, (4, 4, 196, 196)),
        ((300, 200), 0.5, (100, 50, 200, 150)),
        ((1, 900), 0.4, (0, 449, 1, 450)),
    ],
)
def test_central_view(size, crop, view):
    assert tuple(vars(central_view(*size, crop)).values()) == view


def test_a_picture_of_the_training_datas_size_is_not_resampled():
    """The released models see 192 of 200 pixels as they are: resampling would blur the traces that they look for."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    preprocessing = Preprocessing(192, 0.96, "bicubic", (0.5,) * 3, (0.5,) * 3)
    assert (picture_to_pixels(Image.fromarray(pixels), preprocessing) == pixels[4:196, 4:196]).all()


# Means, standard deviations and the central pixel, per channel.
GOLDEN = [-0.0715, 0.0998, 0.3821, 0.89, 1.3257, 0.8603, -0.0629, -1.7906, -0.5495]


def test_preprocessing_is_golden():
    """A change of a pixel's way into the network changes every released model's meaning: it must be deliberate."""
    y, x = np.mgrid[0:180, 0:240]
    pixels = np.stack([x % 256, (y * 3) % 256, (x * y) % 256], axis=-1).astype(np.uint8)
    preprocessing = Preprocessing(160, 1.0, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    tensor = picture_to_tensor(Image.fromarray(pixels), preprocessing)
    assert tensor.shape == (3, 160, 160) and tensor.dtype == torch.float32
    measured = [*tensor.mean((1, 2)).tolist(), *tensor.std((1, 2)).tolist(), *tensor[:, 80, 80].tolist()]
    assert measured == pytest.approx(GOLDEN, abs=1e-3)
