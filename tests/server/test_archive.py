"""TorchServe gets no archive that is not whole, signed and as it was signed."""

import json
import zipfile
from pathlib import Path

import pytest

from archive_scripts.build import write_archive
from imagetrust.contents import CONTENTS, SIGNATURE
from server.archive import ArchiveError, admit, describe

NETWORK = "model/network.fp32.bin"


def written(folder: Path, name: str, network: bytes) -> Path:
    """Write a small signed archive."""
    (folder / f"{name}.py").write_text("pass\n")
    (folder / "network").write_bytes(network)
    path = folder / f"{name}-1.0.mar"
    files = {f"{name}.py": folder / f"{name}.py", NETWORK: folder / "network"}
    write_archive(path, name, "1.0", {"minWorkers": 1}, files, ["a"])
    return path


@pytest.fixture
def archive(tmp_path) -> Path:
    return written(tmp_path, "m", bytes(range(256)) * 400)


def rewritten(archive: Path, change) -> Path:
    """Write an archive anew, its members changed."""
    with zipfile.ZipFile(archive) as old:
        members = {name: old.read(name) for name in old.namelist()}
    change(members)
    with zipfile.ZipFile(archive, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    return archive


def test_what_stands_is_unpacked_once(archive, tmp_path):
    store = tmp_path / "store"
    first = admit(archive, store)
    assert (first.name, first.version, first.tasks, dict(first.settings)) == ("m", "1.0", ("a",), {"minWorkers": 1})
    assert (first.folder / NETWORK).read_bytes() == (tmp_path / "network").read_bytes()
    inode = (first.folder / NETWORK).stat().st_ino
    assert admit(archive, store) == describe(first.folder) == first
    assert (first.folder / NETWORK).stat().st_ino == inode and [path.name for path in store.iterdir()] == [
        first.folder.name
    ]


def test_what_was_damaged_on_disk_is_unpacked_again(archive, tmp_path):
    first = admit(archive, tmp_path / "store")
    (first.folder / NETWORK).write_bytes(bytes(10))
    assert admit(archive, tmp_path / "store") == first
    assert (first.folder / NETWORK).read_bytes() == (tmp_path / "network").read_bytes()


def zeroed(members):
    members[NETWORK] = members[NETWORK][:50_000] + bytes(len(members[NETWORK]) - 50_000)


def relisted(members):
    listed = json.loads(members[CONTENTS])
    listed["files"][NETWORK] = "0" * 64
    members[CONTENTS] = json.dumps(listed).encode()


def other_version(members):
    manifest = json.loads(members["MAR-INF/MANIFEST.json"])
    manifest["model"]["modelVersion"] = "9.9"
    members["MAR-INF/MANIFEST.json"] = json.dumps(manifest).encode()


HARMS = {
    "half of the network zeroed": (zeroed, f"{NETWORK} has SHA-256"),
    "a file more": (lambda members: members.update({"evil.py": b"boom"}), "evil.py is"),
    "a file outside": (lambda members: members.update({"../evil.py": b"boom"}), "evil.py is"),
    "a file less": (lambda members: members.pop("m.py"), "m.py is"),
    "no signature": (lambda members: members.pop(SIGNATURE), "nobody signed it"),
    "no list": (lambda members: members.pop(CONTENTS), "nobody signed it"),
    "another signature": (lambda members: members.update({SIGNATURE: b"00" * 64}), "none of the keys"),
    "a signature that is none": (lambda members: members.update({SIGNATURE: b"\xff"}), "does not stand"),
    "another list": (relisted, "none of the keys"),
    "another version": (other_version, r"MANIFEST\.json has SHA-256"),
}  # fmt: skip


@pytest.mark.parametrize(("harm", "words"), HARMS.values(), ids=HARMS)
def test_what_was_changed_is_refused(archive, tmp_path, harm, words):
    with pytest.raises(ArchiveError, match=f"m-1.0.mar.*{words}"):
        admit(rewritten(archive, harm), tmp_path / "store")
    assert not list((tmp_path / "store").glob("*"))


@pytest.mark.parametrize("share", [0, 0.3, 0.6, 0.99])
def test_half_a_copy_is_refused(archive, tmp_path, share):
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArchiveError, match="does not stand"):
        admit(archive, tmp_path / "store")


def test_an_archive_of_another_key_is_refused(archive, tmp_path, monkeypatch):
    monkeypatch.setenv("IMAGETRUST_KEYS", str(tmp_path / "others"))
    with pytest.raises(ArchiveError, match="no public key"):
        admit(archive, tmp_path / "store")
    write_archive(tmp_path / "other.mar", "other", "1.0", {}, {"other.py": tmp_path / "m.py"})
    admit(tmp_path / "other.mar", tmp_path / "store")
    with pytest.raises(ArchiveError, match="none of the keys"):
        admit(archive, tmp_path / "store")


def test_an_archive_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ArchiveError, match=r"m-2\.0\.mar is not in"):
        admit(tmp_path / "m-2.0.mar", tmp_path / "store")


def test_large_files_that_are_alike_lie_on_the_disk_once(tmp_path):
    """So that workers of different models map the same memory. What is small, another or damaged has its own."""
    store, network = tmp_path / "store", bytes(range(256)) * 8192
    first, second = (admit(written(tmp_path, name, network), store).folder for name in ("m", "n"))
    other = admit(written(tmp_path, "o", network[:-1] + b"x"), store).folder
    small = [admit(written(tmp_path, name, b"small"), store).folder for name in ("p", "q")]
    inodes = [(folder / NETWORK).stat().st_ino for folder in (first, second, other, *small)]
    assert inodes[0] == inodes[1] and len(set(inodes)) == 4
    (first / NETWORK).write_bytes(b"damaged")
    third = admit(written(tmp_path, "r", network), store).folder
    assert (third / NETWORK).read_bytes() == network
    assert not list(store.rglob("*.link"))


def test_a_damaged_archive_is_refused_though_its_files_are_there_already(tmp_path):
    store, network = tmp_path / "store", bytes(range(256)) * 8192
    admit(written(tmp_path, "m", network), store)
    harmed = rewritten(written(tmp_path, "n", network), zeroed)
    with pytest.raises(ArchiveError, match=f"{NETWORK} has SHA-256"):
        admit(harmed, store)
