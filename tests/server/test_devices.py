"""TorchServe gives each worker the GPU that its archive names. The GPUs are a list that nvidia-smi prints."""

import re

import pytest

from archive_scripts.build import ENDPOINTS, RELEASED, build
from archive_scripts.capacity import Machine, settings, this_machine
from clients.rest import ask
from server.samples import photograph
from tests.conftest import start_server


@pytest.fixture
def four_gpus(tmp_path, monkeypatch):
    """Puts an nvidia-smi that lists four GPUs first into PATH."""
    command = tmp_path / "bin" / "nvidia-smi"
    command.parent.mkdir()
    command.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "  *--query-gpu=index*noheader*) printf '0\\n1\\n2\\n3\\n';;\n"
        "  *--query-gpu=index*) printf 'index\\n0\\n1\\n2\\n3\\n';;\n"
        "  *) exit 1;;\n"
        "esac\n"
    )
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:/usr/bin:/bin")


def test_each_worker_gets_its_gpu(four_gpus, folder):
    """Two models on devices of their own. This machine's torch may have no GPU: a worker then says so and serves."""
    store = folder / "store"
    build("authenticity", RELEASED, store, {"deviceIds": [2, 0], "minWorkers": 2})
    build("generator_type", RELEASED, store, {"deviceIds": [3], "minWorkers": 1})
    server = start_server(folder, store, load_models="authenticity.mar,generator_type.mar")
    try:
        log = (server.logs / "model_log.log").read_text()
        for endpoint in ("authenticity", "generator_type"):
            status, _ = ask(server.addresses.inference, endpoint, photograph().read_bytes(), server.token("inference"))
            assert status == 200
    finally:
        server.stop()
    given = re.findall(r"W-\d+-(\w+)_\d\S*.*TorchServe assigned GPU (\d)", log)
    assert sorted(given) == [("authenticity", "0"), ("authenticity", "2"), ("generator_type", "3")]


def test_the_rule_counts_gpus(four_gpus):
    machine = this_machine()
    assert machine.gpus == 4
    for endpoint in ENDPOINTS:
        chosen = settings(endpoint, machine)
        assert chosen["minWorkers"] == 4 and chosen["batchSize"] == 32


@pytest.mark.parametrize(
    ("cores", "workers"),
    [(1, (1, 1, 1)), (2, (2, 1, 1)), (8, (8, 4, 4))],
)
def test_the_rule_counts_cores(cores, workers):
    chosen = [settings(endpoint, Machine(cores, 0)) for endpoint in ENDPOINTS]
    assert tuple(one["minWorkers"] for one in chosen) == workers
    assert all(one["threads"] == 1 and one["maxWorkers"] >= one["minWorkers"] for one in chosen)
