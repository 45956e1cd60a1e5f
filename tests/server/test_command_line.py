"""`python -m server` from start to stop, and what its server does with too much, too slow and dying work."""

import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests

import server.__main__ as command_line
from archive_scripts.build import write_archive
from clients.rest import ask
from server.instance import TorchServe, free_addresses
from server.sizing import this_machine
from tests.procedural import encoded
from tests.releases import archive_of

QUEUE = 2
# A handler that takes as many seconds as the request says.
SLOW = """
import time

def handle(data, context):
    if data:
        time.sleep(float(bytes(data[0]["body"])))
    return ["done"] * len(data or ())
"""


@pytest.fixture(scope="module")
def store(archives, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(archives / archive_of("authenticity"), folder)
    (folder / "slow.py").write_text(SLOW)
    settings = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 1, "responseTimeout": 3}
    write_archive(folder / "slow-1.0.mar", "slow", "1.0", settings, {"slow.py": folder / "slow.py"})
    return folder


@pytest.fixture(scope="module")
def start_arguments(store) -> list[str]:
    changes = {
        "model_store": str(store),
        "load_models": f"{archive_of('authenticity')},slow-1.0.mar",
        "job_queue_size": str(QUEUE),
    }
    pairs = (f"--set={key}={value}" for key, value in (changes | free_addresses()).items())
    return ["start", *pairs, "--workers", "authenticity=1", "--no-gate"]


@pytest.fixture(scope="module")
def serving(start_arguments, tmp_path_factory):
    """The server as the command line starts it, where a killed one's number belongs to another program by now."""
    folder = tmp_path_factory.mktemp("c")
    (folder / "tmp").mkdir()
    (folder / "tmp" / ".model_server.pid").write_text(str(os.getpid()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["server", "--folder", str(folder), *start_arguments])
        command_line.main()
        yield TorchServe(folder)
        command_line.stop(folder)


@pytest.fixture
def run(serving, monkeypatch, capsys):
    """Run a command against that server; its output, and after it the message or number that it ends with."""

    def command(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["server", "--folder", str(serving.folder), *arguments])
        try:
            command_line.main()
        except SystemExit as end:
            return capsys.readouterr().out + str(end.code or "")
        return capsys.readouterr().out

    return command


def ask_slow(serving, seconds: float) -> requests.Response:
    return requests.post(
        f"{serving.addresses.inference}/predictions/slow",
        data=str(seconds).encode(),
        headers=serving.headers() | {"Content-Type": "application/octet-stream"},
        timeout=60,
    )


def wait_for_answer(serving) -> None:
    """Wait until a worker of `slow` answers again; TorchServe replaces one that died."""
    deadline = time.monotonic() + 60
    while ask_slow(serving, 0).status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_started_again_it_is_left_alone(serving, run, start_arguments):
    before = serving.process.pid
    said = run(*start_arguments)
    assert "already runs" in said and "authenticity: version 0.3" in said and "settings were others" not in said
    assert serving.process.pid == before


def test_started_with_other_settings_it_says_so(serving, run, start_arguments):
    before = serving.process.pid
    assert "Its settings were others" in run(*start_arguments, "--set", "job_queue_size=9")
    assert "Its settings were others" in run(*(one for one in start_arguments if one != "--no-gate"))
    assert serving.process.pid == before


def test_status_says_what_runs(serving, run):
    status = run("status")
    assert f"process {serving.process.pid}" in status
    assert f"Sized for {this_machine()}." in status and "thread(s) a worker" in status
    assert "authenticity: version 0.3, 1 of 1 worker(s), batches of 2 within 1 ms" in status
    assert "slow: version 1.0, 1 of 1 worker(s), batches of 1" in status and "Ready." in status
    assert "No gate runs (--no-gate)" in status


def test_renewed_tokens_replace_the_old(serving, run, photo):
    old = run("token").strip()
    assert old == serving.token("inference")
    new = run("token", "--renew").strip()
    assert new == serving.token("inference") != old
    data = encoded(photo, "PNG")
    assert ask(serving.addresses.inference, "authenticity", data, new)[0] == 200
    assert ask(serving.addresses.inference, "authenticity", data, old)[0] == 400


def test_workers_that_are_not_loaded_are_named(start_arguments, folder, monkeypatch):
    elsewhere = [f"--set={key}={value}" for key, value in free_addresses().items()]  # beside the server that runs
    arguments = [*start_arguments, *elsewhere, "--workers", "nothing=2"]
    monkeypatch.setattr(sys, "argv", ["server", "--folder", str(folder), *arguments])
    with pytest.raises(SystemExit, match="--workers names nothing, which the server does not load"):
        command_line.main()


def test_workers_are_numbers(run):
    assert run("start", "--workers", "authenticity=0").endswith("2")


def test_a_model_is_described_with_its_own_facts(serving):
    answer = requests.get(
        f"{serving.addresses.management}/models/authenticity",
        params={"customized": "true"},
        headers=serving.headers("management"),
        timeout=30,
    )
    assert answer.status_code == 200
    (model,) = answer.json()[0]["customizedMetadata"]["models"]
    assert model["version"] == "0.3" and model["heads"]["authenticity"]["classes"] == ["real", "generated"]


def test_a_full_queue_refuses_with_503(serving):
    """One request is worked on, QUEUE wait, the others are refused at once; those that wait are answered."""
    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(lambda _: ask_slow(serving, 1).status_code, range(8)))
    assert statuses[0] == 200 and set(statuses) == {200, 503}
    assert QUEUE <= statuses.count(200) <= QUEUE + 2
    assert ask_slow(serving, 0).status_code == 200


def test_a_killed_worker_fails_its_request_alone(serving):
    (worker,) = serving.describe("slow")["workers"]
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask_slow, serving, 2)
        threading.Event().wait(0.5)  # by then the worker has it
        os.kill(worker["pid"], signal.SIGKILL)
        assert asked.result().status_code in (500, 507)  # 507 where Java knows by then what ended it
    wait_for_answer(serving)
    assert serving.describe("slow")["workers"][0]["pid"] != worker["pid"]


def test_a_worker_that_hangs_is_replaced(serving):
    (worker,) = serving.describe("slow")["workers"]
    begin = time.monotonic()
    assert ask_slow(serving, 30).status_code == 500
    assert 2.5 < time.monotonic() - begin < 20
    wait_for_answer(serving)
    assert not psutil.pid_exists(worker["pid"])


def test_stop_ends_it_and_what_was_begun(serving, run):
    """A request that is being worked on when the end is asked for is answered."""
    before = serving.process.pid
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask_slow, serving, 2)
        threading.Event().wait(0.5)
        assert run("stop") == "The server has stopped.\n"
        assert asked.result().status_code == 200
    assert serving.process is None and not psutil.pid_exists(before)
    assert not (serving.folder / "ready.json").exists()
    assert run("stop") == "No server runs.\n"
    assert "does not run" in run("status")
