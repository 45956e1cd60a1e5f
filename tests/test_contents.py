"""An archive's list of contents names every file, and a worker finds any difference."""

import hashlib

import pytest

from imagetrust.contents import CONTENTS, SIGNATURE, check_folder, contents, read_contents

FILES = {"model/network.bin": b"\1" * 1000, "handlers/a.py": b"pass\n", "MAR-INF/MANIFEST.json": b"{}"}


@pytest.fixture
def unpacked(tmp_path):
    listed = contents("m", "1.0", ["a"], {name: hashlib.sha256(data).hexdigest() for name, data in FILES.items()})
    for name, data in (FILES | {CONTENTS: listed, SIGNATURE: b"00"}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_what_is_as_built_passes(unpacked):
    (unpacked / "handlers" / "__pycache__").mkdir()
    (unpacked / "handlers" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"written by the worker itself")
    check_folder(unpacked)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: len(path.read_bytes()) // 2]), "has SHA-256"),
        (lambda path: path.write_bytes(bytes(len(path.read_bytes()))), "has SHA-256"),
        (lambda path: path.write_bytes(path.read_bytes() + b" "), "has SHA-256"),
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.rename(path.with_name("other")), "missing|not listed"),
        (lambda path: path.with_name("more.py").write_bytes(b""), r"more\.py is not listed"),
    ],
)
def test_every_difference_is_named(unpacked, name, harm, words):
    harm(unpacked / name)
    with pytest.raises(ValueError, match=words):
        check_folder(unpacked)


def test_an_archive_without_a_list_is_refused(unpacked):
    (unpacked / CONTENTS).unlink()
    with pytest.raises(ValueError, match=CONTENTS):
        check_folder(unpacked)


@pytest.mark.parametrize(
    "listed",
    [b"", b"[]", b"{", b"\xff", b'{"model": {}, "files": {}}',
     b'{"model": {"name": "m", "version": 1, "tasks": []}, "files": {}}',
     b'{"model": {"name": "m", "version": "1", "tasks": []}, "files": {"a": 1}}', b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_list_is_refused(listed):
    with pytest.raises(ValueError, match="no list of contents"):
        read_contents(listed)
