"""A folder of any pictures becomes a source like the others, whole or not at all."""

import io
import random
import shutil

import pytest
from PIL import Image

from imagetrust.images.decode import decode
from tests.procedural import encoded
from training.data import read_artifact
from training.import_folder import QUALITY, SIDE, artifact_recipe, import_folder


@pytest.fixture
def pictures(photo, tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deeper").mkdir(parents=True)
    (folder / "a.png").write_bytes(encoded(photo, "PNG"))
    (folder / "b.webp").write_bytes(encoded(photo.resize((900, 1200)), "WEBP"))
    (folder / "deeper" / "a.jpg").write_bytes(encoded(photo.resize((150, 120)), "JPEG"))
    (folder / "readme.txt").write_text("not a picture")
    return folder


def do_import(folder, root, source="new", family="diffusion"):
    return import_folder(folder, root, source, family, "sdxl", "mixed", seed=0)


def test_the_recipe(photo):
    with Image.open(io.BytesIO(artifact_recipe(photo, random.Random(1)))) as made:
        assert made.format == "JPEG" and made.size == (SIDE, SIDE)
    # Quality 100 has tables of ones; 65 the largest. The draw covers the whole range.
    strength = set()
    for seed in range(60):
        with Image.open(io.BytesIO(artifact_recipe(photo, random.Random(seed)))) as made:
            strength.add(sum(made.quantization[0]))
    assert len(strength) > (QUALITY[1] - QUALITY[0]) / 2


def test_a_folder_becomes_a_source(pictures, data_root, tmp_path):
    root = tmp_path / "root"
    shutil.copytree(data_root, root)
    before = read_artifact(root)
    count, left_out = do_import(pictures, root)
    assert count == 3 and len(left_out) == 1 and "readme.txt" in left_out[0]
    records = read_artifact(root)
    new = [record for record in records if record.source == "new"]
    assert len(new) == 3 and {record.family for record in new} == {"diffusion"}
    assert {record.generator for record in new} == {"sdxl"}
    assert [record for record in records if record.source != "new"] == before
    for record in new:
        assert decode(record.path.read_bytes()).image.size == (SIDE, SIDE)


def test_the_same_folder_gives_the_same_source(pictures, tmp_path):
    roots = [tmp_path / name for name in ("one", "two")]
    for root in roots:
        do_import(pictures, root)
    files = [sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file()) for root in roots]
    assert files[0] == files[1]
    assert all((roots[0] / file).read_bytes() == (roots[1] / file).read_bytes() for file in files[0])


def test_a_source_is_never_overwritten(pictures, tmp_path):
    do_import(pictures, tmp_path / "root")
    with pytest.raises(FileExistsError, match="new"):
        do_import(pictures, tmp_path / "root")


def test_nothing_readable_leaves_nothing(tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="no image"):
        do_import(folder, tmp_path / "root")
    assert not any((tmp_path / "root").iterdir())


def test_an_interrupted_import_leaves_no_source(pictures, tmp_path, monkeypatch):
    root = tmp_path / "root"

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.import_folder.artifact_recipe", stop)
        with pytest.raises(KeyboardInterrupt):
            do_import(pictures, root)
    assert not (root / "new").exists() and not (root / "sources.csv").exists()
    assert do_import(pictures, root)[0] == 3
