"""A job on the engine itself: killed in the middle, its workers killed, and run again."""

import collections
import json
import subprocess
import sys
import time

import psutil
import pyarrow.parquet as pq
import pytest

from batch.manifest import JobError
from imagetrust.errors import AnswerError
from imagetrust.predictor import Predictor
from imagetrust.request import Request
from tests.procedural import encoded


def start(photos, output, model, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "batch", "--input", str(photos), "--output", str(output), "--model", str(model)]
    return subprocess.Popen(
        [*command, "--processes", "2", "--shard-size", "4", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def parts(output) -> list:
    return sorted(output.glob("part-*.parquet"))


def wait_for(true, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.02)


def test_killed_in_the_middle_and_run_again(serving_folder, photo, tmp_path):
    photos, output, report = tmp_path / "photos", tmp_path / "out", tmp_path / "report.json"
    photos.mkdir()
    contents = {f"{number:03}.jpg": encoded(photo, "JPEG", quality=1 + number % 95) for number in range(160)}
    contents |= {"text.jpg": b"no picture", "empty.jpg": b"", "half.jpg": contents["090.jpg"][:3000]}
    for name, content in contents.items():
        (photos / name).write_bytes(content)

    first = start(photos, output, serving_folder)
    wait_for(lambda: len(parts(output)) >= 3, first)
    family = psutil.Process(first.pid).children(recursive=True)
    first.kill()  # as when a machine takes its memory back: nobody says goodbye
    first.communicate()
    agents = [process for process in family if process.is_running() and "Agent" in process.name()]
    assert psutil.wait_procs([one for one in family if one not in agents], timeout=30)[1] == []
    for process in agents:  # Ray's own, which end by themselves after two minutes
        process.kill()
    left = {path.name: path.stat().st_mtime_ns for path in parts(output)}
    assert 3 <= len(left) < 41

    second = start(photos, output, serving_folder, "--report", str(report))
    wait_for(lambda: len(parts(output)) > len(left), second)
    workers = [one for one in psutil.Process(second.pid).children(recursive=True) if "ShardScorer" in one.cmdline()[0]]
    assert len(workers) == 2
    workers[0].kill()
    said, _ = second.communicate(timeout=120)
    assert second.returncode == 0, said

    for name, written in left.items():
        assert (output / name).stat().st_mtime_ns == written  # what is done is not done again
    rows = pq.read_table(output).to_pylist()
    assert sorted(row["input"] for row in rows) == list(range(len(contents)))
    assert collections.Counter(row["path"] for row in rows) == collections.Counter(contents.keys())
    predictor = Predictor(serving_folder)
    for row in rows[:: len(rows) // 20] + [row for row in rows if row["status"] == "error"]:
        (answer,) = predictor.predict([Request(contents[row["path"]])], "authenticity")
        if isinstance(answer, AnswerError):
            assert (row["status"], row["error_code"], row["verdict"]) == ("error", answer.code, None)
        else:
            assert (row["status"], row["verdict"]) == ("ok", answer["verdict"])
    assert sorted(path.name for path in output.iterdir() if path.name[0] == "_") == ["_job.json", "_manifest"]
    assert f"{len(contents):,} of {len(contents):,} files" in said and "0 parts left" in said
    done = json.loads(report.read_text())
    assert 0 < done["files"] <= len(contents) - 4 * len(left) and done["files_per_second"] > 0

    third = start(photos, output, serving_folder)
    said, _ = third.communicate(timeout=60)
    assert third.returncode == 0 and "This run: 0 files" in said


def test_a_release_that_is_not_prepared_is_refused(tmp_path):
    from batch.job import run
    from tests.releases import RELEASE

    (tmp_path / "photos").mkdir()
    with pytest.raises(JobError, match="archive_scripts.prepare"):
        run(str(tmp_path / "photos"), str(tmp_path / "out"), RELEASE, 1)
    with pytest.raises(JobError, match="holds no model"):
        run(str(tmp_path / "photos"), str(tmp_path / "out"), tmp_path, 1)


@pytest.mark.parametrize("option", ["--processes", "--shard-size"])
def test_a_job_needs_a_process_and_a_shard_of_something(tmp_path, option):
    done = start(tmp_path, tmp_path / "out", tmp_path, option, "0")
    said, _ = done.communicate(timeout=60)
    assert done.returncode == 2 and "at least 1" in said
