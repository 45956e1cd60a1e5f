"""The release that the archives serve, by the real server: what the others test on a small network holds for it too."""

import os
import time

import pytest
import torch

from archive_scripts.build import ENDPOINTS, build
from archive_scripts.prepare import prepare
from clients.rest import ask
from imagetrust.models.model import Model
from imagetrust.runtime.engine import exact_engine
from server.samples import photograph
from tests.conftest import start_server
from tests.procedural import encoded
from tests.releases import CURRENT, archive_of
from training.augment import ServedViews
from training.data import Images, Record

MAX_SECONDS = 30  # from the start to the last worker's being ready
MAX_MEGABYTES = 2500  # of the four workers of two cores, what they share counted once (PSS)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    folder = tmp_path_factory.mktemp("current") / "model"
    prepare(CURRENT, folder)
    return folder


@pytest.fixture(scope="module")
def running(serving, tmp_path_factory):
    """One worker of `explanation`, in fp32."""
    store, folder = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("s")
    build(serving, "explanation", store, {"minWorkers": 1, "maxWorkers": 1, "handler": {"precision": "fp32"}})
    server = start_server(folder, store, load_models=archive_of("explanation", CURRENT.name))
    yield server
    server.stop()


def test_training_and_serving_agree_in_fp32(running, photo, tmp_path):
    files = {
        "photo.jpg": encoded(photo, "JPEG", quality=70),
        "wide.webp": encoded(photo.resize((900, 300)), "WEBP"),
        "large.jpg": encoded(photo.resize((1600, 1200)), "JPEG", quality=85),
        "cat.png": photograph().read_bytes(),
    }
    model = Model(CURRENT)
    preprocessing, reference = model.config.preprocessing, exact_engine(model)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        item = (Record(tmp_path / name, "s", "real", "real", "mixed", name), 0)
        views, _ = Images([item], ServedViews(preprocessing), preprocessing.min_side())[0]
        expected = reference.score([views.numpy()], tuple(model.heads))[0].logits
        options = {"detail": "verdicts"}
        status, answer = ask(
            running.addresses.inference, "explanation", data, running.token("inference"), options=options
        )
        assert status == 200
        for task, head in model.config.heads.items():
            served = torch.tensor([answer["inferred"][task]["logits"][name] for name in head.classes])
            assert (served - expected[task]).abs().max() < 2e-4, (name, task)


def test_its_heat_map_covers_the_image(running, photo):
    data = encoded(photo, "JPEG")
    status, answer = ask(running.addresses.inference, "explanation", data, running.token("inference"))
    assert status == 200
    assert answer["inferred"]["authenticity"]["model"]["version"] == CURRENT.name
    heatmap = answer["inferred"]["heatmap"]
    assert len(heatmap["values"]) == heatmap["rows"] and min(map(min, heatmap["values"])) >= 0
    assert max(map(max, heatmap["values"])) == pytest.approx(1, abs=0.01)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) > 2, reason="the budget is for two cores; this machine has more")
def test_start_and_memory_stay_within_budget(serving, tmp_path_factory, photo):
    """Of all endpoints with the workers of the rule, once each worker has computed again what is close to changing."""
    store, folder = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("s")
    for endpoint in ENDPOINTS:
        build(serving, endpoint, store)
    begin = time.monotonic()
    server = start_server(
        folder, store, load_models=",".join(archive_of(endpoint, CURRENT.name) for endpoint in ENDPOINTS)
    )
    seconds = time.monotonic() - begin
    try:
        for size in ((1000, 700), (400, 600)):
            data = encoded(photo.resize(size), "JPEG", quality=90)
            for endpoint in ENDPOINTS:
                for _ in range(4):
                    assert ask(server.addresses.inference, endpoint, data, server.token("inference"))[0] == 200
        workers = server.process.children(recursive=True)
        megabytes = sum(worker.memory_full_info().pss for worker in workers) / 1e6
        print(f"ready after {seconds:.1f} s, {megabytes:.0f} MB in {len(workers)} workers")
        assert seconds < MAX_SECONDS and megabytes < MAX_MEGABYTES, f"{seconds:.1f} s, {megabytes:.0f} MB"
    finally:
        server.stop()
