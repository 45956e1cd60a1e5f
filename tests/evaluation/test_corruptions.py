import numpy as np
import pytest
from PIL import Image

from evaluation.corruptions import COPIES, DEGRADATIONS, EVASION, add_noise, crop_centre, limit_side, recompress

ALL = {
    f"{kind} {name}": corruption
    for kind, corruptions in (("degraded", DEGRADATIONS), ("copy", COPIES), ("evasion", EVASION))
    for name, corruption in corruptions.items()
}


@pytest.mark.parametrize("name", ALL)
def test_a_corruption_is_the_same_every_time_and_keeps_an_image(photo, name):
    corrupted = ALL[name](photo)
    assert corrupted.mode == "RGB" and min(corrupted.size) >= min(photo.size) // 2
    assert corrupted.tobytes() == ALL[name](photo).tobytes()
    assert (corrupted.tobytes() == photo.tobytes()) == name.endswith(("clean", "none"))


def test_web_and_hard_limit_the_size(white):
    assert DEGRADATIONS["web"](white).size == (768, 384)
    assert DEGRADATIONS["hard"](white).size == (512, 256)
    assert limit_side(white, 3000) is white


def test_a_lower_quality_is_further_from_the_image(photo):
    def distance(quality: int) -> float:
        return float(np.abs(np.asarray(recompress(photo, "JPEG", quality), float) - np.asarray(photo)).mean())

    assert distance(40) > distance(90) > 0


def test_noise_has_the_deviation_that_it_says():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    assert np.asarray(add_noise(grey, 10), float).std() == pytest.approx(10, rel=0.02)


def test_the_crop_is_central():
    image = Image.new("RGB", (100, 50))
    image.putpixel((50, 25), (255, 0, 0))
    assert crop_centre(image, 0.1).size == (10, 5)
    assert crop_centre(image, 0.1).getpixel((5, 3)) == (255, 0, 0)
