"""Versions are registered, compared, promoted and rolled back on a running TorchServe, and no request is lost by it."""

import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import requests
from safetensors.torch import load_file, save_file

from archive_scripts.build import build
from archive_scripts.prepare import prepare
from archive_scripts.self_test import SELF_TEST
from imagetrust.files import file_sha256, replace_json
from imagetrust.models.config import CONFIG, WEIGHTS
from imagetrust.runtime.precision_gate import EXACT_NETWORK, GATE
from server.__main__ import start, stop
from server.desired import Desired
from server.instance import TorchServe, free_addresses
from server.management import Management
from server.models_command import REFUSED, UNREACHABLE
from server.settings import ROOT
from server.supervisor import STARTED, STATUS
from server.versions import Refused, Versions
from tests.procedural import encoded
from tests.releases import RELEASE, archive_of
from tests.server.test_archive import rewritten

OLD, NEW = RELEASE.name, "9.9"
TWO = ("authenticity", "explanation")  # they share a task


def changed(folder: Path, name: str, **members: object) -> None:
    path = folder / name
    replace_json(path, json.loads(path.read_text()) | members)


def copied(folder: Path, target: Path, version: str) -> Path:
    """Copy a release or a serving folder under another version; what is large is linked."""
    for path in folder.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.hardlink_to(path)
    changed(target, CONFIG, version=version)
    return target


@pytest.fixture(scope="module")
def store(serving_folder, archives, tmp_path_factory):
    """Archives of two models in the version that is served, in a good one, and in some that must not be promoted.

    opposite: answers the contrary of what the others do. forgetful: does not answer what its self-test says.
    """
    store, work = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("made")
    for name in TWO:
        (store / archive_of(name)).hardlink_to(archives / archive_of(name))
        build(copied(serving_folder, work / NEW, NEW) if name == TWO[0] else work / NEW, name, store)

    release = copied(RELEASE, work / "release", "opposite")
    (release / GATE).unlink()
    tensors = load_file(release / WEIGHTS)
    (release / WEIGHTS).unlink()
    save_file({name: -one if "authenticity" in name else one for name, one in tensors.items()}, release / WEIGHTS)
    changed(release, CONFIG, weights_sha256=file_sha256(release / WEIGHTS))
    prepare(release, work / "opposite")
    forgetful = copied(serving_folder, work / "forgetful", "forgetful")
    test = json.loads((forgetful / SELF_TEST).read_text())
    for expected in test["logits"].values():
        expected["authenticity"] = {name: -value for name, value in expected["authenticity"].items()}
    changed(forgetful, SELF_TEST, **test)
    lost = copied(serving_folder, work / "lost", "lost")
    for folder in (work / "opposite", forgetful, lost):
        for name in TWO:
            build(folder, name, store)
    network = "model/" + EXACT_NETWORK.replace(".xml", ".bin")

    def zeroed(members):
        members[network] = members[network][: len(members[network]) // 2].ljust(len(members[network]), b"\0")

    rewritten(store / archive_of(TWO[0], "lost"), zeroed)
    (store / archive_of(TWO[0], "halved")).write_bytes((store / archive_of(TWO[0])).read_bytes()[:-5_000_000])
    (store / archive_of(TWO[0], "renamed")).hardlink_to(store / archive_of(TWO[0]))
    (store / archive_of(TWO[0], "alone")).hardlink_to(
        build(copied(serving_folder, work / "alone", "alone"), TWO[0], work)
    )
    return store


@pytest.fixture(scope="module")
def server(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("v")
    load = ",".join(archive_of(name) for name in TWO)
    start(folder, {"model_store": str(store), "load_models": load} | free_addresses(), dict.fromkeys(TWO, 1))
    yield TorchServe(folder)
    stop(folder)


@pytest.fixture
def models(server):
    """Run `models`; return the exit code, and what it says."""

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "server", "--folder", str(server.folder), "models", *arguments],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="module")
def defaults(server):
    """Of each model the default version, at TorchServe and in the desired state, and all versions."""

    def read() -> dict[str, tuple[str, str, set[str]]]:
        management, desired = Management(server), Desired.read(server.folder)
        return {
            name: (management.default(name), desired.models[name].default, set(management.versions(name)))
            for name in TWO
        }

    return read


class Callers:
    """Ask all the time: for verdicts, and on ever new connections whether TorchServe answers at all."""

    def __init__(self, server: TorchServe, picture: bytes) -> None:
        self.statuses: Counter = Counter()
        self.longest = 0.0
        self._end = threading.Event()
        self._server, self._picture = server, picture
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in TWO]
        self._threads.append(threading.Thread(target=self._probe))

    def __enter__(self) -> "Callers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, name: str) -> None:
        headers = self._server.headers() | {"Content-Type": "image/png"}
        with requests.Session() as session:
            while not self._end.wait(0.2):
                url = f"{self._server.addresses.inference}/predictions/{name}"
                self.statuses[session.post(url, data=self._picture, headers=headers, timeout=60).status_code] += 1

    def _probe(self) -> None:
        while not self._end.wait(0.1):
            begin = time.monotonic()
            requests.get(f"{self._server.addresses.inference}/ping", headers=self._server.headers(), timeout=60)
            self.longest = max(self.longest, time.monotonic() - begin)


def test_versions_roll_forth_and_back_and_no_request_is_lost(server, models, defaults, photo):
    old = {name: (OLD, OLD, {OLD}) for name in TWO}
    assert defaults() == old
    with Callers(server, encoded(photo, "PNG")) as callers:
        code, said = models("register", TWO[0], NEW)
        assert code == 0, said
        assert defaults() == old | {TWO[0]: (OLD, OLD, {OLD, NEW})}

        code, said = models("promote", TWO[0], NEW, "--max-slower", "20")  # a busy machine is no slow model
        assert code == 0, said
        assert defaults() == {name: (NEW, NEW, {OLD, NEW}) for name in TWO}, "models that agree roll together"

        begin = time.monotonic()
        assert models("rollback", TWO[1]) == (
            0,
            f"make authenticity {OLD} the default; make explanation {OLD} the default\n",
        )
        assert time.monotonic() - begin < 3  # under a second on an idle machine, most of it Python's own start
        assert defaults() == {name: (OLD, OLD, {OLD, NEW}) for name in TWO}

        assert models("canary", TWO[0], NEW, "5%")[0] == 0
        assert Desired.read(server.folder).canaries() == dict.fromkeys(TWO, (NEW, 5))
        code, said = models("unregister", TWO[0], NEW)
        assert code == REFUSED and "is a canary" in said
        assert models("canary", TWO[1], NEW, "0%")[0] == 0 and Desired.read(server.folder).canaries() == {}
        for name in TWO:
            assert models("unregister", name, NEW)[0] == 0
        assert defaults() == old
    assert callers.statuses.keys() == {200} and callers.statuses.total() > 20, callers.statuses
    assert callers.longest < 2, "one connection in four waited until the workers were up"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("opposite", "verdicts change"),
        ("forgetful", "fails its self-test"),
        ("lost", r"network\.fp32\.bin has SHA-256"),
        ("halved", "does not stand"),
        ("renamed", f"holds authenticity {OLD}"),
        ("alone", r"explanation-alone\.mar is not in"),
        ("missing", r"authenticity-missing\.mar is not in"),
        (OLD, "is the default already"),
    ],
)
def test_what_misses_leaves_all_as_it_was(models, defaults, version, words):
    before = defaults()
    code, said = models("promote", TWO[0], version)
    assert code == REFUSED and re.search(words, said), said
    assert defaults() == before == {name: (OLD, OLD, {OLD}) for name in TWO}


def test_a_dry_run_changes_nothing(models, defaults):
    before = defaults()
    code, said = models("promote", TWO[0], NEW, "--dry-run")
    assert code == 0 and said.startswith(f"would register authenticity {NEW}; register explanation {NEW}; compare")
    assert defaults() == before


def test_the_limit_of_workers_holds(models, server):
    for workers in ("5", "100"):
        code, said = models("scale", TWO[0], workers)
        assert code == REFUSED and "may have 1 to 4 workers (maxWorkers)" in said
    assert models("scale", TWO[0], "0")[0] == 2
    assert models("scale", TWO[0], "2")[0] == 0
    assert (
        len(server.describe(TWO[0])["workers"]) == 2 == Desired.read(server.folder).models[TWO[0]].versions[OLD].workers
    )
    assert models("scale", TWO[0], "1")[0] == 0


def test_it_tells_what_is_served(models):
    code, said = models("list")
    assert code == 0 and said.splitlines()[0].split() == [
        "model",
        "version",
        "role",
        "ready",
        "workers",
        "queued",
        "archive",
    ]
    assert said.splitlines()[1].split()[:3] == ["authenticity", OLD, "default"]
    (row,) = json.loads(models("describe", TWO[1], "--json")[1])
    assert row["version"] == OLD and row["role"] == "default" and row["ready"] == 1 and len(row["contents"]) == 64
    code, said = models("describe", "nothing", "--json")
    assert code == REFUSED and "no model nothing" in json.loads(said)["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("rollback", TWO[0]), "no previous version"),
        (("unregister", TWO[0], OLD), "is the default"),
        (("unregister", TWO[0], "7"), "no version 7"),
        (("register", TWO[0], OLD), "registered already"),
        (("canary", TWO[0], "7", "5%"), "no version 7"),
        (("canary", TWO[0], OLD, "5%"), "is the default"),
        (("scale", "nothing", "2"), "no model nothing"),
    ],
)
def test_what_cannot_be_is_refused(models, arguments, words):
    code, said = models(*arguments)
    assert code == REFUSED and words in said


def test_a_promoted_version_is_served_after_a_restart(server, models, defaults):
    """What is promoted outlives TorchServe's end, and another start of the server does not undo it."""
    assert models("promote", TWO[0], NEW, "--max-slower", "20")[0] == 0
    settings = json.loads((server.folder / "started.json").read_text())["settings"]
    keys = ("model_store", "load_models", *free_addresses())
    arguments = server.folder, {key: settings[key] for key in keys}, dict.fromkeys(TWO, 1)
    start(*arguments)
    assert defaults() == {name: (NEW, NEW, {OLD, NEW}) for name in TWO}
    stop(server.folder)
    assert models("list")[0] == UNREACHABLE
    start(*arguments)
    assert defaults() == {name: (NEW, NEW, {OLD, NEW}) for name in TWO}


def test_a_version_is_taken_away_when_the_gate_has_let_go_of_it(tmp_path, monkeypatch):
    """A canary's end is heard of by the gate a moment later; without a supervisor there is nobody to wait for."""
    replace_json(tmp_path / STARTED, {"settings": {}})
    versions = Versions(TorchServe(tmp_path))
    versions._wait_for_gate("m", "2")
    replace_json(tmp_path / STATUS, {"canaries": {"m": "2"}})
    versions._wait_for_gate("m", "3")
    versions._wait_for_gate("other", "2")
    monkeypatch.setattr("server.versions.GATE_TIMEOUT", 0.3)
    with pytest.raises(Refused, match="goes on sending requests to m 2"):
        versions._wait_for_gate("m", "2")
    later = threading.Timer(0.2, replace_json, (tmp_path / STATUS, {"canaries": {}}))
    monkeypatch.setattr("server.versions.GATE_TIMEOUT", 10)
    later.start()
    versions._wait_for_gate("m", "2")
