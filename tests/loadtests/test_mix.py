"""The images and senders that the load consists of."""

import io

import pytest
from PIL import Image

from loadtests import mix


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(mix, "FOLDER", tmp_path)
    monkeypatch.setattr(mix, "PHOTOGRAPHS", mix.PHOTOGRAPHS[:2])
    monkeypatch.setattr(mix, "KINDS", {(64, 48, "JPEG"): 1, (32, 24, "PNG"): 1})
    mix._body.cache_clear()
    yield
    mix._body.cache_clear()


def test_whole_images_are_of_the_kind_they_name(tmp_path, monkeypatch):
    monkeypatch.setattr(mix, "BROKEN_SHARE", 0)
    mix.make_images()
    assert len(list(tmp_path.iterdir())) == 4, "a file for each photograph and kind, and nothing half-written"
    for _ in range(10):
        chosen = mix.choose()
        with Image.open(io.BytesIO(chosen.body)) as image:
            image.load()
            assert chosen.kind == mix.kind_name(*image.size, image.format)
            assert chosen.media_type == Image.MIME[image.format]


def test_broken_images_cannot_be_read(monkeypatch):
    monkeypatch.setattr(mix, "BROKEN_SHARE", 1)
    broken = mix.choose()
    assert broken.kind == mix.BROKEN
    with pytest.raises(OSError), Image.open(io.BytesIO(broken.body)) as image:
        image.load()
    assert mix.choose(only_typical=True).kind == "1024x768 JPEG", "the typical kind alone is never broken"


def test_the_shares_are_those_of_the_documentation():
    assert sum(share for share, _ in mix.SENDERS.values()) == 10 and mix.BROKEN_SHARE == 1 / 50
    assert {endpoint for _, endpoints in mix.SENDERS.values() for endpoint in endpoints} == set(mix.ENDPOINTS)
    asked = {
        endpoint: sum(share * of.get(endpoint, 0) / sum(of.values()) for share, of in mix.SENDERS.values())
        for endpoint in mix.ENDPOINTS
    }
    assert {endpoint: round(10 * share) for endpoint, share in asked.items()} == {
        "authenticity": 62, "generator_type": 24, "explanation": 14,
    }  # fmt: skip
