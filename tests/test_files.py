"""Files are replaced whole or not at all."""

import json
import os

import pytest

from imagetrust.files import file_sha256, replace_bytes, replace_file, replace_json


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "a.json"
    replace_json(path, {"é": 1})
    assert json.loads(path.read_text()) == {"é": 1} and path.read_text().endswith("\n")
    replace_bytes(path, b"new")
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_file_has_its_mode_from_the_beginning(tmp_path, mode):
    """Whatever was left of an earlier try, and whatever mode the old file has."""
    path = tmp_path / "a"
    path.write_bytes(b"old")
    seen = []

    def write(temporary):
        seen.append(temporary.stat().st_mode & 0o777)
        temporary.write_bytes(b"secret")

    for _ in range(2):
        (tmp_path / f".a.{os.getpid()}").write_bytes(b"left")
        replace_file(path, write, mode)
    assert seen == [mode] * 2 and path.stat().st_mode & 0o777 == mode and path.read_bytes() == b"secret"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    replace_bytes(path, b"old")

    def fail(temporary):
        temporary.write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace_file(path, fail)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_the_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_sha256(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
