"""The baselines start, answer as the predictor does, are measured, and are gone afterwards."""

import tempfile
import zipfile
from pathlib import Path

import psutil
import pytest
import yaml

from archive_scripts.prepare import prepare
from benchmarks import systems
from benchmarks.blocks import agreement, interleave, measure_idle
from benchmarks.compare import start_all
from benchmarks.systems import Setup, System, probabilities
from measuring.images import encode
from measuring.processes import family
from server.gate import nginx
from server.gate_config import GateError
from tests.releases import RELEASE

EAGER = (systems.STOCK, systems.FASTAPI, systems.LITSERVE)
IMAGES = [encode("astronaut.png", 640, 480), encode("coffee.png", 640, 480, "HEIC"), encode("rocket.jpg", 640, 480)]


@pytest.fixture
def place():
    """A folder with a path that is short enough for Ray's sockets, and that nginx's workers may pass through."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def test_every_baseline_answers_as_the_predictor_does(serving_folder, place):
    left_out = (systems.REST, systems.GRPC, systems.LITSERVE_SINGLE, systems.RAY)  # see below; the same in batches
    check([row for row in systems.one_question(gate=False) if row.name not in left_out], serving_folder, place)


def test_the_gate_answers_as_the_predictor_does(place):
    try:
        nginx()
    except GateError as error:
        pytest.skip(str(error))
    rows = systems.one_question(gate=True)
    prepare(RELEASE, place / "serving")
    check([rows[0], *(row for row in rows if row.name in (systems.REST, systems.GATED))], place / "serving", place)


def test_ray_serve_answers_as_the_predictor_does(serving_folder, place):
    pytest.importorskip("ray.serve", reason="not installed: pip install -c constraints.txt -e '.[bench]'")
    rows = systems.one_question(gate=False)
    check([rows[0], *(row for row in rows if row.name == systems.RAY)], serving_folder, place)


def check(rows: list[System], serving_folder: Path, folder: Path) -> None:
    servers = list(dict.fromkeys(row.server for row in rows))
    try:
        start_all(servers, folder, [Setup(serving_folder, workers=1, batch_size=2, batch_delay=1)] * len(servers))
        started = [process for server in servers for process in family(server.roots())]
        agreed = agreement(rows, IMAGES)
        measured = interleave({"s": rows}, {"s": IMAGES}, {"s": 4}, blocks=1, concurrency=2, report=print)["s"]
        assert all(measure_idle(server, 0.1)["memory_mb"] > 100 for server in servers)
    finally:
        for server in servers:
            server.stop()
    for name, found in agreed.items():
        # A baseline resizes before it crops and the predictor crops before it resizes: by part of a pixel.
        assert found["largest_difference"] < (0.1 if name in EAGER else 0.01), name
        assert name in EAGER or found["same_labels"] == 1, name
        assert measured[name].cpu_ms[0] > 0 and len(measured[name].latencies) == 4, name
    assert not [process for process in started if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def test_the_archive_of_a_setup_is_built(serving_folder, tmp_path):
    systems.build_one(tmp_path, Setup(serving_folder, workers=3, batch_size=5, batch_delay=7))
    with zipfile.ZipFile(tmp_path / f"{systems.TASK}-{RELEASE.name}.mar") as archive:
        settings = yaml.safe_load(archive.read("model-config.yaml"))
    assert (settings["minWorkers"], settings["batchSize"], settings["maxBatchDelay"]) == (3, 5, 7)


@pytest.mark.parametrize(
    "answer",
    [
        b'{"logits": {"real": 0.0, "generated": 1.0986122886681098}, "label": "generated"}',
        b'{"inferred": {"authenticity": {"logits": {"real": 0.0, "generated": 1.0986122886681098}}}}',
        b'{"real": 0.25, "generated": 0.75}',
    ],
    ids=["verdict", "both questions", "baseline"],
)
def test_probabilities_are_read_from_every_form_of_answer(answer):
    assert probabilities(answer) == pytest.approx({"real": 0.25, "generated": 0.75})


def test_a_server_that_does_not_start_shows_its_log(folder, serving_folder):
    broken = systems.Program(lambda port, setup: ["benchmarks.nonsense"], "image", suspend=False)
    with pytest.raises(systems.StartError, match="No module named benchmarks.nonsense"):
        broken.start(folder, Setup(serving_folder, workers=1, batch_size=1, batch_delay=0))
    assert broken.roots() == []
