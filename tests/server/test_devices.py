"""TorchServe gives each worker the GPU that its archive names. The GPUs are a list that nvidia-smi prints."""

import math
import re

import pytest

from archive_scripts.build import ENDPOINTS, build
from clients.rest import ask
from imagetrust.provenance.bounds import MAX_FETCH_SECONDS
from server import sizing
from server.samples import photograph
from server.sizing import Machine, cpu_quota, read_packed, size, size_models, this_machine
from tests.archive_scripts.test_build import settings_of
from tests.conftest import start_server
from tests.releases import archive_of


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


def test_each_worker_gets_its_gpu(serving_folder, four_gpus, folder):
    """Two models on devices of their own. This machine's torch may have no GPU: a worker then says so and serves."""
    store = folder / "store"
    build(serving_folder, "authenticity", store, {"deviceIds": [2, 0], "minWorkers": 2})
    build(serving_folder, "generator_type", store, {"deviceIds": [3], "minWorkers": 1})
    server = start_server(folder, store, load_models=f"{archive_of('authenticity')},{archive_of('generator_type')}")
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
        chosen = size(endpoint, machine)
        assert chosen["minWorkers"] == 4 and chosen["batchSize"] >= 16


@pytest.mark.parametrize(
    ("cores", "workers"),
    [(1, (1, 1, 1)), (2, (2, 1, 1)), (8, (8, 4, 4))],
)
def test_the_rule_counts_cores(cores, workers):
    chosen = [size(endpoint, Machine(cores, 0)) for endpoint in ENDPOINTS]
    assert tuple(one["minWorkers"] for one in chosen) == workers
    assert Machine(cores, 0).threads == 1
    assert all(one["maxWorkers"] >= one["minWorkers"] for one in chosen)


@pytest.mark.parametrize(
    ("own", "files", "quota"),
    [
        ("", {}, math.inf),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        (
            "4:memory:/m\n3:cpu,cpuacct:/pod/x\n",
            {"cpu,cpuacct/cpu.cfs_quota_us": "300000\n", "cpu,cpuacct/cpu.cfs_period_us": "100000\n"},
            3,
        ),
    ],
)
def test_a_container_has_the_cores_of_its_limit(own, files, quota, tmp_path, monkeypatch):
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    assert cpu_quota(tmp_path / "groups", tmp_path / "own") == quota
    monkeypatch.setattr(sizing, "cpu_quota", lambda: quota)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(64)))
    assert this_machine({"number_of_gpu": "0"}).cores == max(1, min(64, quota // 1))


@pytest.mark.parametrize("gpus", [0, 2])
def test_a_batch_of_silent_hosts_ends_before_its_worker_counts_as_hung(gpus, archives):
    batch = size("explanation", Machine(8, gpus))["batchSize"]
    assert batch * MAX_FETCH_SECONDS < settings_of(archives / archive_of("explanation"))["responseTimeout"]


def test_the_server_is_sized_by_the_rule(server):
    """When it starts, on the machine that it starts on."""
    for endpoint in ENDPOINTS:
        described, chosen = server.describe(endpoint), size(endpoint, this_machine())
        assert {key: described[key] for key in chosen} == chosen
        assert len(described["workers"]) == chosen["minWorkers"]
    assert "1 thread(s)" in (server.logs / "model_log.log").read_text()


def test_an_archive_and_the_operator_win_over_the_rule(serving_folder, tmp_path):
    for name, fixed in (
        ("authenticity", {"batchSize": 7}),
        ("generator_type", {"deviceIds": [3]}),
        ("explanation", {}),
    ):
        build(serving_folder, name, tmp_path, fixed)
    assert read_packed(tmp_path / "missing.mar") is None
    store = {path: read_packed(path) for path in tmp_path.glob("*.mar")}
    sizes = size_models(store, Machine(16, 4), {"explanation": 3})
    by_name = {name: only for name, versions in sizes.items() for only in versions.values()}
    assert set(by_name) == set(ENDPOINTS)
    assert by_name["authenticity"]["batchSize"] == 7 and by_name["authenticity"]["minWorkers"] == 4
    assert by_name["generator_type"]["minWorkers"] == 1
    assert by_name["explanation"]["minWorkers"] == 3 and by_name["explanation"]["maxWorkers"] == 6
