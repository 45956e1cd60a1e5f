"""One set of calls for folders and object stores."""

import os

import pytest

from batch import storage
from batch.storage import Place


@pytest.fixture(params=["", "file://", "local://"], ids=["path", "pyarrow", "fsspec"])
def place(request, tmp_path) -> Place:
    """A folder by its path, by an address that pyarrow knows, and by one that fsspec alone does."""
    return Place(f"{request.param}{tmp_path}/place")


def test_what_is_written_is_read(place):
    place.write("below/a.txt", b"one")
    place.write("below/a.txt", b"two")
    assert place.read("below/a.txt") == b"two" and place.read("below/a.txt", 2) == b"tw"
    assert place.below("below").names() == ["a.txt"] and place.names() == []
    place.delete("below")
    place.delete("below")
    with pytest.raises(FileNotFoundError):
        place.read("below/a.txt")


def test_an_address_and_an_absolute_path_lead_out_of_a_place(place, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"one")
    assert place.read(f"file://{tmp_path}/a.txt") == place.read(f"{tmp_path}/a.txt") == b"one"


def test_a_walk_finds_files_and_goes_in_no_circle(place, tmp_path):
    for name in ("a/b/c.jpg", "a/d.jpg", "e.jpg", ".hidden/f.jpg", "a/.g.jpg"):
        place.write(name, b"x")
    place.delete("_temporary")
    if place.is_local:
        (tmp_path / "place" / "a" / "circle").symlink_to(tmp_path / "place")
    assert sorted(place.walk()) == ["a/b/c.jpg", "a/d.jpg", "e.jpg"]


def test_no_folder_is_walked(place):
    with pytest.raises(NotADirectoryError):
        list(place.walk())


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_read(place, tmp_path, make):
    make(tmp_path / "odd")
    with pytest.raises(IsADirectoryError):
        place.read(f"{tmp_path}/odd")


def test_a_failed_write_leaves_what_was_there(place, monkeypatch):
    place.write("a.txt", b"whole")
    monkeypatch.setattr(storage, "WAIT", 0)
    with pytest.raises(TypeError):
        place.write("a.txt", None)
    assert place.read("a.txt") == b"whole"


@pytest.mark.parametrize(("error", "attempts"), [(OSError, storage.ATTEMPTS), (FileNotFoundError, 1)])
def test_what_may_pass_is_tried_again(monkeypatch, error, attempts):
    monkeypatch.setattr(storage, "WAIT", 0)
    calls = []

    def fail():
        calls.append(1)
        raise error("no")

    with pytest.raises(error):
        storage._attempt(fail)
    assert len(calls) == attempts


def test_an_address_that_nobody_knows():
    with pytest.raises(ValueError, match="carrier-pigeon"):
        Place("carrier-pigeon://coop")
