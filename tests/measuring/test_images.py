"""The images that are sent."""

import io

import numpy as np
import pytest
from PIL import Image

from imagetrust.images.decode import decode
from measuring.images import encode


@pytest.mark.parametrize("size", [(640, 480), (1024, 768), (1600, 1200)])
@pytest.mark.parametrize("grain", [0, 4])
def test_a_jpeg_has_its_size_and_detail_to_decode(size, grain):
    data = encode("coffee.png", *size, grain=grain)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.format) == (size, "JPEG")
    assert len(data) * 8 / (size[0] * size[1]) > (1.5 if grain else 0.9), "bits a pixel"


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
def test_other_formats(file_format):
    data = encode("coffee.png", 64, 48, file_format)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.size, image.format) == ((64, 48), file_format)
    assert data == encode("coffee.png", 64, 48, file_format), "the same every time"


def test_heic_is_written_without_another_decoder_in_place_of_ours():
    opener = Image.OPEN.get("HEIF")
    data = encode("coffee.png", 640, 480, "HEIC")
    assert data[4:12] == b"ftypheic" and Image.OPEN.get("HEIF") == opener and "HEIF" not in Image.SAVE
    decoded = decode(data)
    assert (decoded.size, decoded.format) == ((640, 480), "HEIF")
    original = encode("coffee.png", 640, 480)
    error = np.asarray(decoded.image, float) - np.asarray(decode(original).image, float)
    assert np.abs(error).mean() < 6, "of 255"
