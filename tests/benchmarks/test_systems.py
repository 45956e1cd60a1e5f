"""The baselines start, answer as the predictor does, are measured, and are gone afterwards."""

import zipfile

import psutil
import pytest
import yaml

from benchmarks import systems
from benchmarks.blocks import agreement, interleave, measure_idle
from benchmarks.compare import start_all
from benchmarks.systems import Setup, probabilities
from measuring.images import encode
from measuring.processes import family
from tests.releases import RELEASE

EAGER = (systems.STOCK, systems.FASTAPI)
IMAGES = [encode(name, 640, 480) for name in ("astronaut.png", "coffee.png", "rocket.jpg")]


def test_every_baseline_answers_as_the_predictor_does(serving_folder, folder):
    left_out = (systems.REST, systems.GRPC, systems.LITSERVE_SINGLE)  # needs archives; the same program in batches
    rows = [row for row in systems.one_question() if row.name not in left_out]
    servers = list(dict.fromkeys(row.server for row in rows))
    try:
        start_all(servers, folder, Setup(RELEASE, serving_folder, workers=1, batch_size=2, batch_delay=1))
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
    systems.build_one(tmp_path, Setup(RELEASE, serving_folder, workers=3, batch_size=5, batch_delay=7))
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
        broken.start(folder, Setup(RELEASE, serving_folder, workers=1, batch_size=1, batch_delay=0))
    assert broken.roots() == []
