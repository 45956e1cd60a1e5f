"""The pictures that the load consists of."""

import io

import pytest
from PIL import Image, UnidentifiedImageError

from loadtests import mix, pictures


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "FOLDER", tmp_path)
    monkeypatch.setattr(pictures, "KINDS", mix.KINDS[:2])
    pictures._body.cache_clear()
    yield
    pictures._body.cache_clear()


def test_sound_and_broken_pictures(tmp_path, monkeypatch):
    chosen = [pictures.choose() for _ in range(20)]
    monkeypatch.setattr(pictures, "BROKEN_SHARE", 1)
    broken = pictures.choose()
    for picture in chosen:
        if not picture.broken:
            image = Image.open(io.BytesIO(picture.body))
            image.load()
            assert image.size == (picture.kind.width, picture.kind.height) and image.format == picture.kind.format
    assert broken.broken
    with pytest.raises((OSError, UnidentifiedImageError)):
        Image.open(io.BytesIO(broken.body)).load()
    assert all(file.suffix == ".jpeg" for file in tmp_path.iterdir())  # nothing half-written is left


def test_the_mix_is_what_it_says():
    assert sum(kind.share for kind in mix.KINDS) == 100 and mix.BROKEN_SHARE == 1 / 50
    assert sum(sender.share for sender in (mix.UPLOAD_FEED, mix.ANALYST, mix.PARTNER_FEED)) == 10
    assert {kind.format for kind in mix.KINDS} == {"JPEG", "PNG", "WEBP"}
    asked = {endpoint for sender in (mix.UPLOAD_FEED, mix.ANALYST, mix.PARTNER_FEED) for endpoint in sender.endpoints}
    assert asked == set(mix.ENDPOINTS)
