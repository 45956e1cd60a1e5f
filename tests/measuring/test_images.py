"""The images that are sent."""

import io

import pytest
from PIL import Image

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
