import os
from pathlib import Path

import pytest

from imagetrust.client.listing import SUFFIXES, list_pictures


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "b.jpg",
        "a.PNG",
        "note.txt",
        "sub/c.webp",
        "sub/deep/d.heic",
        ".hidden/e.jpg",
        "sub/._f.jpg",
        "g[1].jpg",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    (tmp_path / "sub" / "loop").symlink_to(tmp_path)
    return tmp_path


def names(*arguments, **options):
    return [listed.name for listed in list_pictures(arguments, **options)]


IN_SUB = ["sub/c.webp", "sub/deep/d.heic"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["sub", "b.jpg"], [*IN_SUB, "b.jpg"]),
        (["."], ["a.PNG", "b.jpg", "g[1].jpg", *IN_SUB]),
        (["note.txt"], ["note.txt"]),
        (["*.jpg"], ["b.jpg", "g[1].jpg"]),
        (["g[1].jpg"], ["g[1].jpg"]),
        (["s*"], IN_SUB),
        (["sub/**/*.heic"], ["sub/deep/d.heic"]),
        (["sub/**"], IN_SUB),
        (["**/*.jpg"], ["b.jpg", "g[1].jpg"]),
        (["sub/../*.PNG"], ["sub/../a.PNG"]),
        ([".hid*/*.jpg"], [".hidden/e.jpg"]),
        (["b.jpg", "b.jpg"], ["b.jpg", "b.jpg"]),
    ],
)
def test_names_stand_for_pictures_in_their_order(tree, arguments, expected):
    listed = list(list_pictures(arguments))
    assert [one.name for one in listed] == expected and not any(one.fault for one in listed)


def test_an_absolute_pattern_is_one_too(tree):
    assert names(f"{tree}/*.PNG") == [f"{tree}/a.PNG"]


def test_the_standard_input_is_bytes():
    (listed,) = list_pictures(["-"], b"picture")
    assert (listed.name, listed.picture) == ("-", b"picture")


@pytest.mark.parametrize("name", ["nothing.jpg", "empty", "*.xyz", "pipe", "/dev/null", "dead.jpg"])
def test_what_gives_no_picture_says_why(tree, name):
    os.mkfifo("pipe")
    Path("dead.jpg").symlink_to("nowhere")
    (listed,) = list_pictures([name])
    assert listed.name == name and listed.fault.endswith(".")


def test_a_folder_that_may_not_be_read_says_so(tree, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", refuse)
    assert [listed.fault for listed in list_pictures(["sub"])] == ["The folder cannot be read: Permission denied."]


def test_a_folder_is_left_out(tree):
    assert names("sub", left_out=(tree / "sub" / "deep").resolve()) == ["sub/c.webp"]


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_a_folder_is_chosen_from_by_suffix_in_any_case(tmp_path, suffix):
    (tmp_path / f"x{suffix.upper()}").write_bytes(b"x")
    assert len(names(str(tmp_path))) == 1
