"""The supervisor starts what died, mends what TorchServe gave up, and ends without losing a request."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import requests

from archive_scripts.build import ENDPOINTS, write_archive
from clients.rest import ask
from server.__main__ import stop, supervisor_of
from server.archive import Archive, ArchiveError
from server.desired import Desired, Served
from server.gate import Gate
from server.gate_command import settings_of
from server.gate_config import read_callers
from server.instance import ServerError, TorchServe, bound_file, free_addresses, free_ports
from server.management import Management, ready_pids
from server.settings import ROOT
from server.supervisor import PATIENCE, READY, STATUS, BackOff, Supervisor, Watched
from tests.procedural import encoded
from tests.releases import RELEASE, archive_of
from tests.server.test_gate import needs_nginx, open_for_workers

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
    folder = open_for_workers(tmp_path_factory.mktemp("v"))
    settings = [f"--set={key}={value}" for key, value in changes.items()]
    rest, grpc = free_ports(2)
    gate = folder / "gate.toml"
    gate.write_text(f'rest = "127.0.0.1:{rest}"\ngrpc = "127.0.0.1:{grpc}"\n')
    return [
        sys.executable, "-m", "server", "--folder", str(folder), "run", *settings, "--workers", f"{NAME}=1",
        "--gate", str(gate),
    ]  # fmt: skip


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


@pytest.fixture(scope="module")
def gate(command) -> Gate:
    """The gate that the supervisor keeps, as far as nginx is there."""
    folder = Path(command[4])
    return Gate(folder / "gate", settings_of(folder, Path(command[-1])), lambda: None)


def ask_gate(gate: Gate, picture: bytes) -> requests.Response:
    ((_, token),) = read_callers(Path(gate.settings.callers))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
    return requests.post(f"http://{gate.settings.rest}/predictions/{NAME}", data=picture, headers=headers, timeout=60)


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


@needs_nginx
def test_the_gate_runs_with_it(running, gate, photo):
    """With a first token; readiness is what the supervisor says; what dies is started again."""
    data = encoded(photo, "PNG")
    assert ask_gate(gate, data).status_code == 200
    assert requests.get(f"http://{gate.settings.rest}/health/ready", timeout=9).status_code == 200
    before = gate.process
    for process in (before, *before.children()):
        process.kill()
    wait(lambda: gate.process not in (None, before), 10)
    assert ask_gate(gate, data).status_code == 200


@needs_nginx
def test_while_java_is_down_the_gate_says_so(running, gate, photo):
    """No request gets anything but an answer, or 503 with Retry-After, and readiness says so without a token."""
    before, data, seen = running.process, encoded(photo, "PNG"), Counter()
    before.kill()
    wait(lambda: not (running.folder / READY).exists(), 10)
    assert requests.get(f"http://{gate.settings.rest}/health/ready", timeout=9).status_code == 503
    deadline = time.monotonic() + 60
    while seen[200] < 3:
        assert time.monotonic() < deadline, seen
        answer = ask_gate(gate, data)
        seen[answer.status_code] += 1
        assert answer.status_code == 200 or answer.headers["Retry-After"], answer.text
        time.sleep(0.05)
    assert set(seen) == {200, 503}
    wait((running.folder / READY).exists)


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


@needs_nginx
def test_the_end_at_the_gate_refuses_what_comes_and_answers_what_was_begun(running, start, gate, photo):
    """SIGTERM: what comes after it gets 503 with Retry-After while the queue is worked off, then nobody listens."""
    large, small = encoded(photo.resize((3000, 2400)), "PNG"), encoded(photo, "PNG")
    statuses: list[int] = []
    callers = [threading.Thread(target=lambda: statuses.append(ask_gate(gate, large).status_code)) for _ in range(6)]
    for caller in callers:
        caller.start()
    time.sleep(0.3)
    supervisor_of(running.folder).terminate()
    wait(lambda: not (running.folder / READY).exists(), 5)
    refused: list[requests.Response] = []
    with contextlib.suppress(requests.ConnectionError):
        while len(refused) < 1000:
            refused.append(ask_gate(gate, small))
    for caller in callers:
        caller.join()
    assert statuses == [200] * 6
    ended = [answer for answer in refused if answer.status_code == 503]
    assert ended and all(answer.status_code in (200, 503) for answer in refused)
    assert {answer.headers["Retry-After"] for answer in ended} == {"5"}
    assert {answer.json()["error"]["code"] for answer in ended} == {"ending"}
    wait(lambda: supervisor_of(running.folder) is None, 60)
    assert gate.process is None and running.process is None
    start()


def test_the_end_answers_what_was_begun(running, gate, photo):
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
    assert gate.process is None


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

    def mend(*statuses: str, later: float = 0, loading: bool = False, unnamed: bool = False) -> list[tuple]:
        supervisor.management.calls.clear()
        supervisor._unnamed = unnamed
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


def test_a_worker_that_torchserve_does_not_name_yet_is_left_to_load(mending):
    """It names a worker's process once that has spoken, which takes a busy machine more than a while."""
    assert mending("UNLOADING", "UNLOADING", unnamed=True) == []
    assert mending("UNLOADING", "UNLOADING", later=100, unnamed=True) == []
    assert mending("UNLOADING", "UNLOADING", later=60, unnamed=True) == [0, 2]


@pytest.mark.parametrize(("children", "unnamed"), [([], False), ([7], False), ([7, 8], True)])
def test_workers_without_a_name_are_found(gated, children, unnamed):
    supervisor, _ = gated
    supervisor.server.process = SimpleNamespace(children=lambda: [SimpleNamespace(pid=pid) for pid in children])
    assert supervisor._has_unnamed({"m": {"1": {"workers": [{"pid": 7}, {"pid": -1}]}}}) == unnamed


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


def test_no_archive_is_told_as_left_out_that_is_still_to_be_looked_at(tmp_path, monkeypatch):
    store, code = tmp_path / "store", tmp_path / "m.py"
    store.mkdir()
    code.write_text("pass")
    for name in ("one", "two", "three"):
        write_archive(store / f"{name}-1.mar", name, "1", {}, {f"{name}.py": code})
    told = []
    write = Desired.write
    monkeypatch.setattr(
        Desired, "write", lambda desired, folder: (write(desired, folder), told.append(desired.left_out))
    )
    server = SimpleNamespace(folder=tmp_path / "server", process=None)
    Supervisor(
        server, {"model_store": str(store), "load_models": "one-1.mar,two-1.mar,three-1.mar"}, {}
    )._first_desired()
    assert told and not any(told)


def test_at_a_first_start_too_and_it_is_served_once_it_stands(tmp_path, monkeypatch):
    """It is told while it is missing, so that nobody takes the server for ready; nothing stands: it does not start."""
    store, code = tmp_path / "store", tmp_path / "m.py"
    store.mkdir()
    code.write_text("pass")
    for name in ("good", "bad"):
        write_archive(store / f"{name}-1.mar", name, "1", {}, {f"{name}.py": code})
    whole = (store / "bad-1.mar").read_bytes()
    server = SimpleNamespace(folder=tmp_path / "server", process=None)
    files = {"model_store": str(store), "load_models": "good-1.mar,bad-1.mar"}
    spoiled = {"half": whole[:-100], "another": (store / "good-1.mar").read_bytes(), "nothing": b""}
    for content in spoiled.values():
        (store / "bad-1.mar").write_bytes(content)
        shutil.rmtree(server.folder, ignore_errors=True)
        supervisor = Supervisor(server, files, {"good": 2, "bad": 3})
        supervisor.management = FakeManagement()
        desired = supervisor._first_desired()
        assert list(desired.models) == ["good"] and desired.left_out == ["bad-1.mar"]
        assert Supervisor(server, files, {})._first_desired() == desired, "a restart remembers it"
        supervisor._refused.clear()
        (reason,) = supervisor._take_left_out(desired)
        assert "bad-1.mar" in reason
        assert supervisor._take_left_out(desired) == [reason], "it is told again and not read again"
    with pytest.raises(ArchiveError, match=r"bad-1\.mar"):
        Supervisor(server, files | {"load_models": "bad-1.mar"}, {})._first_desired()
    (store / "bad-1.mar").write_bytes(whole)
    supervisor._refused.clear()
    assert supervisor._take_left_out(desired) == [] and desired.left_out == []
    assert Desired.read(server.folder).models["bad"].versions["1"].workers == 3


def test_a_worker_that_is_stopped_is_ended_in_the_second_round(tmp_path):
    """One that was stopped for a moment alone goes on."""
    sleeping = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    try:
        supervisor = Supervisor(SimpleNamespace(folder=tmp_path, process=psutil.Process()), {}, {})
        stopped, moment, running = (psutil.Process(one.pid) for one in sleeping)
        stopped.suspend(), moment.suspend()
        wait(lambda: moment.status() == stopped.status() == psutil.STATUS_STOPPED, 5)
        supervisor._end_stopped_workers()
        moment.resume()
        wait(lambda: moment.status() != psutil.STATUS_STOPPED, 5)
        supervisor._end_stopped_workers()
        assert sleeping[0].wait(5) == -signal.SIGKILL
        assert [one.poll() for one in sleeping[1:]] == [None, None] and running.is_running()
    finally:
        for one in sleeping:
            one.kill()
            one.wait()


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
    source = Path("gate.toml")

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.amiss: list[str] = []
        self.starts = 0
        self.canaries: dict[str, tuple[str, float]] = {}

    def look(self) -> list[str]:
        self.calls.append("look")
        self.starts += 1
        return self.amiss

    def stop(self, timeout: float) -> None:
        self.calls.append("stop")

    def set_ready(self, ready: bool) -> None:
        self.ready = ready


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


def test_the_gate_is_looked_after_whatever_torchserve_does(gated, monkeypatch):
    """And what is amiss with it keeps nobody from being ready who answers on this machine."""
    supervisor, desired = gated
    desired.write(supervisor.server.folder)
    supervisor.server.bound_console, supervisor.server.logs = lambda: None, supervisor.server.folder
    supervisor.gate.amiss, supervisor.gate.canaries = ["a port is taken"], {"m": ("2", 5.0)}
    for problems in ([], ["TorchServe does not run"]):
        monkeypatch.setattr(supervisor, "_torchserve", lambda _, problems=problems: problems)
        supervisor._round()
        assert supervisor.gate.calls.pop() == "look" and supervisor.gate.ready == (not problems)
        told = json.loads((supervisor.server.folder / STATUS).read_text())
        assert (told["problems"], told["gate"], told["canaries"]) == (problems, ["a port is taken"], {"m": "2"})
    # Its first start is none.
    assert 'imagetrust_restarts_total{program="gate"} 1' in supervisor.metrics.text()


def test_readiness_is_told_to_the_gate_and_in_a_file(gated):
    supervisor, desired = gated
    for problems, ready in ((["one"], False), ([], True), (["two"], False)):
        supervisor._ready(problems, desired)
        assert supervisor.gate.ready == (supervisor.server.folder / READY).exists() == ready
        assert json.loads((supervisor.server.folder / STATUS).read_text())["problems"] == problems


def test_the_gate_ends_first(gated):
    supervisor, desired = gated
    supervisor._ready([], desired)
    supervisor.server.stop = lambda: supervisor.gate.calls.append("TorchServe stops")
    supervisor._drain()
    assert supervisor.gate.calls == ["stop", "TorchServe stops"]
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
