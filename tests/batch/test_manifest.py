"""A job lists its inputs once, and knows which shards have no whole part."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch import manifest
from batch.manifest import JOB, JobError, open_job, parquet_bytes, part_name, pending_shards, read_shard, shard_name
from batch.storage import Place


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for number in range(7):
        (folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
        (folder / str(number % 2) / f"{number}.jpg").write_bytes(b"x")
    return folder


def opened(source, output, version="1.0", weights="aa", size=3):
    return open_job(str(source), output, version, weights, size)


def test_a_folder_is_listed_once_in_shards(photos, tmp_path):
    output = Place(str(tmp_path / "out"))
    job = opened(photos, output)
    assert (job.inputs, job.shards, [job.rows(shard) for shard in range(3)]) == (7, 3, [3, 3, 1])
    listed = [read_shard(output, shard) for shard in range(3)]
    assert sorted(path for shard in listed for path in shard) == sorted(f"{n % 2}/{n}.jpg" for n in range(7))
    (photos / "later.jpg").write_bytes(b"x")
    assert opened(photos, output) == job and [read_shard(output, shard) for shard in range(3)] == listed


def test_a_list_keeps_its_order_and_its_repetitions(tmp_path):
    names = ["b.jpg", "/a.jpg", "s3://bucket/c.jpg", "b.jpg", None]
    pq.write_table(pa.table({"path": names, "other": range(5)}), tmp_path / "list.parquet")
    output = Place(str(tmp_path / "out"))
    job = opened(tmp_path / "list.parquet", output)
    assert job.inputs == 5
    assert read_shard(output, 0) + read_shard(output, 1) == ["b.jpg", "/a.jpg", "s3://bucket/c.jpg", "b.jpg", ""]


def test_a_name_that_is_no_utf_8_is_listed(photos, tmp_path):
    with open(os.fsencode(photos) + b"/\xff.jpg", "wb"):  # noqa: PTH123 (of bytes)
        pass
    output = Place(str(tmp_path / "out"))
    job = opened(photos, output)
    assert r"\xff.jpg" in [path for shard in range(job.shards) for path in read_shard(output, shard)]


def test_what_a_killed_listing_left_is_listed_anew(photos, tmp_path):
    output = Place(str(tmp_path / "out"))
    for number in range(9):
        output.write(shard_name(number), parquet_bytes(pa.table({"path": ["old"]})))
    job = opened(photos, output)
    assert "old" not in read_shard(output, 0)
    assert len(output.below("_manifest").names()) == job.shards


@pytest.mark.parametrize(
    ("changed", "named"), [({"version": "2.0"}, "version is 1.0"), ({"weights": "bb"}, "weights_sha256 is aa")]
)
def test_results_of_another_job_are_not_mixed(photos, tmp_path, changed, named):
    output = Place(str(tmp_path / "out"))
    opened(photos, output)
    with pytest.raises(JobError, match=named):
        opened(photos, output, **changed)
    with pytest.raises(JobError, match="source is"):
        opened(tmp_path, output)


@pytest.mark.parametrize("source", ["nowhere", "nowhere.parquet", "text.parquet", "columns.parquet", "photos/0/0.jpg"])
def test_what_cannot_be_listed(photos, tmp_path, source):
    (tmp_path / "text.parquet").write_text("no parquet")
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "columns.parquet")
    output = Place(str(tmp_path / "out"))
    with pytest.raises(JobError, match="cannot be listed"):
        opened(tmp_path / source, output)
    with pytest.raises(FileNotFoundError):
        output.read(JOB)


def test_results_among_the_inputs_are_refused(photos):
    with pytest.raises(JobError, match="among the inputs"):
        opened(photos, Place(str(photos / "out")))


def test_a_part_counts_when_it_is_whole(photos, tmp_path):
    output = Place(str(tmp_path / "out"))
    job = opened(photos, output)
    whole = parquet_bytes(pa.table({"path": ["a", "b", "c"]}))
    output.write(part_name(0), whole)
    output.write(part_name(1), whole[:-5])
    output.write(part_name(2), whole)  # which has another number of rows
    assert pending_shards(job, output) == [1, 2]


def test_a_long_list_is_never_held_whole(tmp_path, monkeypatch):
    pq.write_table(pa.table({"path": [f"{n}.jpg" for n in range(1000)]}), tmp_path / "list.parquet")
    monkeypatch.setattr(manifest, "_LISTED_AT_ONCE", 10)
    written = []
    output = Place(str(tmp_path / "out"))
    write = Place.write
    monkeypatch.setattr(Place, "write", lambda self, name, content: (written.append(name), write(self, name, content)))
    names = manifest._list(str(tmp_path / "list.parquet"), output)
    seen = [next(names) for _ in range(25)]
    assert seen[-1] == "24.jpg" and not written
    opened(tmp_path / "list.parquet", output, size=100)
    assert written == [*(shard_name(n) for n in range(10)), JOB]
