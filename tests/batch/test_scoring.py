"""A shard's part: the predictor's answers, an error for a bad file, and for one over which processes end."""

import hashlib
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from batch import scoring
from batch.manifest import open_job, part_name
from batch.rows import SCHEMA
from batch.scoring import ShardScorer
from batch.storage import Place
from imagetrust import limits
from imagetrust.errors import AnswerError, RequestError
from imagetrust.predictor import Predictor
from imagetrust.request import Request
from tests.procedural import encoded
from tests.provenance.files import TRAINED, signed


def rows_of(output: Place) -> list[dict]:
    return pq.read_table(output.path).to_pylist()


def test_the_same_bytes_get_the_predictors_answers(serving_folder, photo, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    contents = {f"{angle}.jpg": encoded(photo.rotate(angle), "JPEG") for angle in range(0, 200, 10)}
    contents |= {"a.png": encoded(photo, "PNG"), "b.webp": encoded(photo, "WEBP")}
    contents["signed.jpg"] = signed(TRAINED, source=contents["0.jpg"])
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    output = Place(str(tmp_path / "out"))
    job = open_job(str(folder), output, "0.3", "aa", 100)
    done = ShardScorer(str(serving_folder), job.source, output.address)({"shard": 0, "first": 0})
    assert (done["rows"], done["errors"]) == (len(contents), 0)
    rows = rows_of(output)
    assert sorted(row["input"] for row in rows) == list(range(len(contents)))
    predictor = Predictor(serving_folder)
    for row in rows:
        data = contents[row["path"]]
        (full,) = predictor.predict([Request(data)], "explanation")
        authenticity, family = full["inferred"]["authenticity"], full["inferred"]["generator_type"]
        assert row["sha256"] == hashlib.sha256(data).hexdigest() and row["bytes"] == len(data)
        assert (row["status"], row["error_code"]) == ("ok", None)
        assert (row["verdict"], row["family"]) == (authenticity["verdict"], family["family"])
        assert row["probability_generated"] == pytest.approx(authenticity["probability_generated"], abs=1e-5)
        assert row["family_probabilities"] == pytest.approx(family["probabilities"], abs=1e-5)
        assert {"real": row["threshold_real"], "generated": row["threshold_generated"]} == authenticity["thresholds"]
        assert row["summary"] == full["summary"]
        assert (row["width"], row["height"], row["format"]) == tuple(
            full["file"][name] for name in ("width", "height", "format")
        )
        assert (row["model_version"], row["engine"]) == ("0.3", authenticity["model"]["engine"])
    (declaring,) = (row for row in rows if row["path"] == "signed.jpg")
    assert declaring["declared"][0]["source"] == "c2pa"


def test_a_bad_file_is_a_row(serving_folder, photo, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "MAX_BYTES", 50_000)
    folder = tmp_path / "photos"
    (folder / "folder").mkdir(parents=True)
    good = encoded(photo, "JPEG")
    bad = {"empty": b"", "text": b"no picture", "half": good[: len(good) // 2], "large": good + bytes(50_000)}
    for name, content in bad.items():
        (folder / name).write_bytes(content)
    (folder / "good").write_bytes(good)
    names = ["empty", "text", "good", "half", "large", "missing", "folder", "", "pigeon://coop/a.jpg", "\0"]
    pq.write_table(scoring.table_of([{"path": name} for name in names]), folder / "list.parquet")
    output = Place(str(tmp_path / "out"))
    job = open_job(str(folder / "list.parquet"), output, "0.3", "aa", 100)
    ShardScorer(str(serving_folder), job.source, output.address)({"shard": 0, "first": 0})
    rows = rows_of(output)
    assert [row["path"] for row in rows] == names
    codes = ["empty_body", "unknown_format", None, "broken_picture", "too_many_bytes", "not_found", *["unreadable"] * 4]
    assert [row["error_code"] for row in rows] == codes
    for row in rows:
        assert (row["status"] == "error") == (row["error_code"] is not None) == (row["verdict"] is None)
        assert (row["sha256"] is None) == (row["error_code"] in ("too_many_bytes", "not_found", "unreadable"))


class Killed(BaseException):
    """What nobody catches, as the end of a process is."""


class Fragile:
    """A predictor whose process ends over some files."""

    def __init__(self, folder):
        self.model = SimpleNamespace(config=SimpleNamespace(version="1", weights_sha256="aa"))

    def predict(self, requests, question):
        if any(isinstance(one, Request) and one.image == b"kill" for one in requests):
            raise Killed
        return [one if isinstance(one, AnswerError) else RequestError("unknown_format", "none") for one in requests]


def test_a_file_over_which_processes_end_becomes_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "Predictor", Fragile)
    folder = tmp_path / "photos"
    folder.mkdir()
    deadly = {3, 14, 15}
    for number in range(20):
        (folder / f"{number:02}").write_bytes(b"kill" if number in deadly else b"good")
    output = Place(str(tmp_path / "out"))
    job = open_job(str(folder), output, "1", "aa", 100)

    deaths = 0
    while part_name(0) not in output.names():
        try:
            ShardScorer("model", job.source, output.address)({"shard": 0, "first": 0})
        except Killed:
            deaths += 1
    assert deaths == 1 + len(deadly) * scoring.MOST_DEATHS
    rows = rows_of(output)
    assert len(rows) == 20
    for row in rows:
        assert row["error_code"] == ("worker_died" if int(row["path"]) in deadly else "unknown_format")
    assert output.below("_notes").names() == []


def test_a_part_of_errors_alone_has_every_column():
    assert scoring.table_of([{"path": "a", "status": "error"}]).schema == SCHEMA
