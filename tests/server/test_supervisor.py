"""The supervisor starts what died, mends what TorchServe gave up, and ends without losing a request."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests

from archive_scripts.build import ENDPOINTS, write_archive
from clients.rest import ask
from server.__main__ import stop, supervisor_of
from server.archive import Archive, ArchiveError
from server.desired import Canary, Desired, Served
from server.instance import ServerError, TorchServe, bound_file, free_addresses
from server.management import Management, ready_pids
from server.settings import ROOT
from server.supervisor import PATIENCE, READY, STATUS, BackOff, Supervisor, Watched
from tests.procedural import encoded
from tests.releases import RELEASE, archive_of

NAME, VERSION = "authenticity", RELEASE.name


def wait(condition, seconds: float = 90):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def store(archives, tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(archives / archive_of(NAME), folder)
    return folder


@pytest.fixture(scope="module")
def command(store, tmp_path_factory) -> list[str]:
    changes = {"model_store": str(store), "token_expiration_min": "600"} | free_addresses()
    folder = tmp_path_factory.mktemp("v")
    settings = [f"--set={key}={value}" for key, value in changes.items()]
    return [sys.executable, "-m", "server", "--folder", str(folder), "run", *settings, "--workers", f"{NAME}=1"]


@pytest.fixture(scope="module")
def start(command):
    """Start the supervisor in the foreground and wait until it is ready."""
    server = TorchServe(Path(command[4]))

    def started() -> TorchServe:
        server.logs.mkdir(parents=True, exist_ok=True)
        with (server.logs / "supervisor.log").open("ab") as log:
            subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        wait((server.folder / READY).exists)
        return server

    yield started
    stop(server.folder)


@pytest.fixture(scope="module")
def running(start) -> TorchServe:
    return start()


def answers(server: TorchServe, photo) -> bool:
    try:
        return ask(server.addresses.inference, NAME, encoded(photo, "PNG"), server.token("inference"))[0] == 200
    except (ServerError, requests.RequestException):
        return False


def test_it_is_ready_when_the_default_version_has_answered(running):
    assert json.loads((running.folder / READY).read_text())["models"] == {NAME: VERSION}
    assert json.loads((running.folder / STATUS).read_text())["problems"] == []
    assert supervisor_of(running.folder)


def test_a_second_supervisor_is_refused(running, command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "already runs" in done.stderr


def test_java_killed_is_started_anew_with_what_was_served(running, photo):
    before = running.process
    workers = ready_pids(running.describe(NAME))
    before.kill()
    wait(lambda: not (running.folder / READY).exists())
    wait(lambda: running.process and running.process.pid != before.pid and (running.folder / READY).exists())
    assert answers(running, photo)
    assert not [pid for pid in workers if psutil.pid_exists(pid)]
    assert len(list((running.folder / "tmp").glob(".ts.sock.*"))) == 1  # none of before is left


def test_what_others_changed_is_set_right(running, photo):
    """Workers taken away at the management API come back; the limit holds whoever asks."""
    management = Management(running)
    for workers in (0, 3):
        management.scale(NAME, VERSION, workers)
        wait(lambda: len(ready_pids(running.describe(NAME))) == 1 and (running.folder / READY).exists())
    assert answers(running, photo)


def test_a_killed_supervisor_loses_nothing(running, start, photo):
    java = running.process.pid
    supervisor = supervisor_of(running.folder)
    supervisor.kill()
    supervisor.wait(10)
    assert answers(running, photo)
    (running.folder / READY).unlink()
    start()
    assert running.process.pid == java


def test_the_end_answers_what_was_begun(running, photo):
    """SIGTERM: not ready at once, every request that was sent is answered, no process and no token is left."""
    large = encoded(photo.resize((2400, 1800)), "PNG")
    statuses: list[int] = []
    token, address = running.token("inference"), running.addresses.inference
    callers = [threading.Thread(target=lambda: statuses.append(ask(address, NAME, large, token)[0])) for _ in range(4)]
    for caller in callers:
        caller.start()
    time.sleep(0.3)  # by then all are under way
    supervisor = supervisor_of(running.folder)
    os.kill(supervisor.pid, signal.SIGTERM)
    wait(lambda: not (running.folder / READY).exists(), 5)
    for caller in callers:
        caller.join()
    assert statuses == [200] * 4
    wait(lambda: running.process is None, 60)
    wait(lambda: supervisor_of(running.folder) is None, 10)
    assert not (running.folder / "key_file.json").exists() and not (running.folder / "tmp").exists()


# ---------------------------------------------------------------------------------- without TorchServe: rules alone


class FakeManagement:
    """Keeps what it is told, and says of workers what a test says."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def scale(self, *arguments: object) -> None:
        self.calls.append(("scale", *arguments))

    def register(self, folder: str, sizes: dict[str, int]) -> None:
        self.calls.append(("register", folder))


@pytest.fixture
def mending(tmp_path, monkeypatch):
    """Let a supervisor mend a version of a model of two workers, described by the statuses of its workers."""
    monkeypatch.setattr("server.supervisor.admit_again", lambda *_, **__: archive)
    archive = Archive("m", "1", (), "c" * 64, tmp_path / "m-1", {})
    supervisor = Supervisor(TorchServe(tmp_path), {}, {})
    supervisor.management = FakeManagement()
    served = Served("m-1.mar", "c" * 64, 2)
    desired = Desired([], {})
    desired.add("m", "1", served, ())
    watched = supervisor._watched["m", "1"] = Watched(archive, None)

    def mend(*statuses: str, later: float = 0, loading: bool = False) -> list[tuple]:
        supervisor.management.calls.clear()
        if watched.short_since is not None:
            watched.short_since -= later
        pid = os.getpid() if loading else -1
        workers = [
            {"status": status, "pid": 10 + number if status == "READY" else pid}
            for number, status in enumerate(statuses)
        ]
        running = {"workers": workers, "startupTimeout": 120, "maxRetryTimeoutInSec": 300}
        supervisor._mend_version(desired, "m", "1", served, running if statuses else None)
        return [call[-1] for call in supervisor.management.calls]

    return mend


def test_what_is_not_registered_is_registered(mending):
    assert mending() == ["m-1", 2]


@pytest.mark.parametrize(("statuses", "asked"), [(["READY"] * 2, []), (["READY"] * 3, [2]), (["READY"], [2])])
def test_the_number_of_workers_is_kept(mending, statuses, asked):
    assert mending(*statuses) == asked


def test_all_workers_given_up_are_started_anew(mending):
    assert mending("UNLOADING", "UNLOADING") == []  # TorchServe retries by itself first
    assert mending("UNLOADING", "UNLOADING", later=PATIENCE - 1) == []
    assert mending("UNLOADING", "UNLOADING", later=2) == [0, 2]
    assert mending("UNLOADING", "UNLOADING") == []
    assert mending("UNLOADING", "UNLOADING", later=PATIENCE + 1) == []  # the next try comes later


def test_one_worker_given_up_is_replaced_beside_those_that_serve(mending):
    assert mending("READY", "UNLOADING") == [] == mending("READY", "UNLOADING", later=300)
    assert mending("READY", "UNLOADING", later=PATIENCE + 1) == [3]
    assert mending("READY", "UNLOADING", "READY") == []
    assert mending("READY", "UNLOADING", "READY", "READY") == [3]


def test_a_worker_that_loads_is_left_to_load(mending):
    assert mending("UNLOADING", "UNLOADING", loading=True) == []
    assert mending("UNLOADING", "UNLOADING", later=100, loading=True) == []
    assert mending("UNLOADING", "UNLOADING", later=100, loading=True) == [0, 2]


def test_tries_come_later_and_later(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    back_off, tried = BackOff(longest=8, shortest=1), []
    for now[0] in range(30):
        if back_off.due():
            tried.append(now[0])
    assert tried == [0, 1, 3, 7, 15, 23]
    back_off.reset()
    assert back_off.due()


def test_an_archive_built_anew_is_taken_at_a_start(tmp_path):
    """In the same version: a developer's way. While TorchServe runs, and after its end, what was unpacked is served."""
    code, store = tmp_path / "m.py", tmp_path / "store"
    store.mkdir()
    server = SimpleNamespace(folder=tmp_path / "server", process=None)
    built = []
    for text in ("first", "second"):
        code.write_text(text)
        write_archive(store / "m-1.mar", "m", "1", {}, {"m.py": code})
        supervisor = Supervisor(server, {"model_store": str(store)}, {})
        served = supervisor._first_desired().models["m"].versions["1"]
        built.append(served.contents)
        assert (supervisor._watch("m", "1", served).archive.folder / "m.py").read_text() == text
    assert built[0] != built[1] and Desired.read(server.folder).models["m"].versions["1"].contents == built[1]
    (store / "m-1.mar").write_bytes(b"half of a copy")
    assert (
        Supervisor(server, {"model_store": str(store)}, {})._first_desired().models["m"].versions["1"].contents
        == built[1]
    )


def test_an_archive_that_does_not_stand_is_left_out_and_the_rest_is_served(tmp_path, monkeypatch):
    launched: list[dict[str, str]] = []
    store, code = tmp_path / "store", tmp_path / "m.py"
    store.mkdir()
    code.write_text("pass")
    for name in ("good", "bad"):
        write_archive(store / f"{name}-1.mar", name, "1", {}, {f"{name}.py": code})
    server = SimpleNamespace(
        folder=tmp_path / "server", process=None, launch=lambda settings, report: launched.append(settings)
    )
    supervisor = Supervisor(server, {"model_store": str(store)}, {})
    desired = supervisor._first_desired()
    shutil.rmtree(server.folder / "store")
    (store / "bad-1.mar").write_bytes((store / "bad-1.mar").read_bytes()[:-100])
    supervisor._launch(desired)
    assert [name.startswith("good-1-") for name in launched[0]["load_models"].split(",")] == [True]
    read = []
    monkeypatch.setattr("server.supervisor.admit", lambda *_: read.append(1))
    for _ in range(3):
        with pytest.raises(ArchiveError, match=r"bad-1\.mar does not stand"):
            supervisor._watch("bad", "1", desired.models["bad"].versions["1"])
    assert read == [], "it is not read anew in every round"


@pytest.mark.parametrize("current", ["1", "2\n1\n"])
def test_another_current_makes_the_state_anew(tmp_path, current):
    """Unless TorchServe runs: then a roll-out may be under way."""
    (tmp_path / "m.py").write_text("pass")
    store = tmp_path / "store"
    store.mkdir()
    for endpoint in ENDPOINTS:
        for version in ("0", "1", "2"):
            write_archive(
                store / f"{endpoint}-{version}.mar", endpoint, version, {}, {f"{endpoint}.py": tmp_path / "m.py"}
            )
    server = SimpleNamespace(folder=tmp_path / "server", process=None)
    (store / "current").write_text("0")
    before = Supervisor(server, {"model_store": str(store)}, {})._first_desired()
    (store / "current").write_text(current)
    server.process = SimpleNamespace(pid=1)
    assert Supervisor(server, {"model_store": str(store)}, {})._first_desired() == before
    server.process = None
    after = Supervisor(server, {"model_store": str(store)}, {})._first_desired()
    for endpoint in ENDPOINTS:
        assert after.models[endpoint].default == current.split()[0]
        assert [version for version, _ in after.models[endpoint].ordered()] == current.split()
        assert after.sharing(endpoint) == len(current.split())


class FakeGate:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.running = False

    def start(self) -> None:
        self.calls.append("start")
        self.running = True

    def stop(self) -> None:
        self.calls.append("stop")
        self.running = False

    def reload(self) -> None:
        self.calls.append("reload")

    def is_running(self) -> bool:
        return self.running

    def set_ready(self, ready: bool) -> None:
        self.ready = ready

    def bound_logs(self) -> None:
        pass


@pytest.fixture
def gated(tmp_path):
    """A supervisor with a gate, before a TorchServe that always runs."""
    server = SimpleNamespace(
        folder=tmp_path, process=None, token=lambda kind: server.now, now="first", stop=lambda: True, clean=lambda: None
    )
    supervisor = Supervisor(server, {}, {}, gate=FakeGate())
    desired = Desired([], {})
    desired.add("m", "1", Served("m-1.mar", "c"), ())
    desired.add("m", "2", Served("m-2.mar", "c"), ())
    return supervisor, desired


def test_the_gate_is_started_watched_and_told_what_changes(gated):
    supervisor, desired = gated
    supervisor._gate(desired)
    assert supervisor.gate.calls == []  # there is no token yet
    supervisor.server.process = SimpleNamespace(pid=1)
    for _ in range(2):
        supervisor._gate(desired)
    assert supervisor.gate.calls == ["start"]
    supervisor.server.now = "second"
    supervisor._gate(desired)
    desired.models["m"].canary = Canary("2", 0.05)
    for _ in range(2):
        supervisor._gate(desired)
    assert supervisor.gate.calls == ["start", "reload", "reload"]
    supervisor.gate.running = False
    supervisor._gate(desired)
    assert supervisor.gate.calls[-1] == "start"


def test_readiness_is_told_to_the_gate_and_in_a_file(gated):
    supervisor, desired = gated
    for problems, ready in ((["one"], False), ([], True), (["two"], False)):
        supervisor._ready(problems, desired)
        assert supervisor.gate.ready == (supervisor.server.folder / READY).exists() == ready
        assert json.loads((supervisor.server.folder / STATUS).read_text())["problems"] == problems


def test_the_gate_ends_first(gated):
    supervisor, desired = gated
    supervisor.gate.start()
    supervisor._ready([], desired)
    supervisor.server.stop = lambda: supervisor.gate.calls.append("TorchServe stops")
    supervisor._drain()
    assert supervisor.gate.calls == ["start", "stop", "TorchServe stops"]
    assert not (supervisor.server.folder / READY).exists()


@pytest.mark.parametrize(("left", "renewed"), [(30_000, 0), (301, 0), (299, 1), (-10, 1)])
def test_tokens_are_renewed_in_time(tmp_path, left, renewed):
    renewals: list[int] = []
    server = SimpleNamespace(folder=tmp_path, token_seconds_left=lambda: left, renew_tokens=lambda: renewals.append(1))
    supervisor = Supervisor(server, {}, {})
    for _ in range(3):
        supervisor._renew_tokens()
    assert len(renewals) == renewed  # and the next try comes later


def test_a_log_keeps_its_last_half(tmp_path):
    log = tmp_path / "log"
    with log.open("ab") as writer:
        writer.write(bytes(100))
        writer.flush()
        bound_file(log, 100)
        assert log.stat().st_size == 100
        writer.write(b"end")
        writer.flush()
        bound_file(log, 100)
        assert log.read_bytes() == bytes(47) + b"end"
        writer.write(b"more")
    assert log.read_bytes() == bytes(47) + b"endmore"
