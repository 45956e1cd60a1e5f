"""Keeps one TorchServe serving what shall be served: `python -m server run`.

TorchServe gives a worker up for good after 300 seconds of failed loads, ends for want of memory, forgets versions at
its end, and says Healthy meanwhile. Each round here compares what runs with the desired state and mends the difference.
"""

import contextlib
import datetime
import fcntl
import json
import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil
import requests

from imagetrust.files import replace_json
from server.archive import Archive, ArchiveError, admit, describe, folder_name
from server.back_off import BackOff
from server.desired import Desired, DesiredError, Served, changing
from server.instance import ServerError, TorchServe, bound_file
from server.management import Management, is_loading, ready_pids, ready_workers
from server.metrics import GateLog, Metrics, answering, look_at_machine
from server.self_test import SelfTest, ask_version, read_self_test
from server.settings import CONFIG, archive_files, instance_settings
from server.sizing import size_archive, this_machine

logger = logging.getLogger(__name__)

READY = "ready.json"  # in the server's folder, while every model's default version answers as it should
STATUS = "status.json"  # what keeps it from being ready, what is amiss with the gate, and the gate's canaries
STARTED = "started.json"  # the settings that it runs with
LOG = "supervisor.log"
PID = "supervisor.pid"
STORE = "store"  # the unpacked archives, TorchServe's model store

ROUND = 1.0  # seconds between two comparisons
MAX_LOG = 4_000_000  # bytes
DRAIN_TIMEOUT = 30  # seconds that requests in flight may take once no more are admitted
# Seconds without a queue and without a computing worker after which nothing is in flight, though callers are connected:
# a batch of two may wait for a manifest's host for six (imagetrust/provenance/bounds.py).
QUIET = 7.0
MAX_SILENCE = 60  # seconds that the management API may be silent: a hostile request can hold it for 29
RETEST = 60  # seconds after which a version is tested anew, though its workers are the same
PATIENCE = 20  # seconds without any worker, loading ones aside: TorchServe retries after 0 to 55
MAX_BACK_OFF = 300
RENEW_BEFORE = 0.1  # of a token's life, at most five minutes


class Gate(Protocol):
    """The proxy in front of TorchServe, and what keeps it (server/gate_keeper.py).

    source: its file of settings. canaries: the versions and shares by model that it sends requests to. starts: how
    often it was started so far.
    """

    source: Path
    starts: int
    canaries: dict[str, tuple[str, float]]

    def look(self) -> list[str]:
        """Start it where it does not run, or take into use what has changed; return what is amiss."""

    def set_ready(self, ready: bool) -> None:
        """Say what it answers to who asks whether this server is ready."""

    def stop(self, timeout: float) -> None:
        """Admit nothing more, let what is under way end, and end."""


@dataclass
class Watched:
    """What is remembered of one version. faults: of its last self-test."""

    archive: Archive
    test: SelfTest | None
    tested: frozenset[int] = frozenset()
    tested_at: float = 0
    turn: int = 0
    faults: list[str] = field(default_factory=list)
    short_since: float | None = None
    repair: BackOff = field(default_factory=lambda: BackOff(MAX_BACK_OFF, PATIENCE))


class Supervisor:
    """Starts, watches, mends and ends one TorchServe, and the gate in front of it where there is one.

    changes: to config.properties. workers: of a model's default version, where the rule's number does not suit.
    """

    def __init__(
        self,
        server: TorchServe,
        changes: Mapping[str, str],
        workers: Mapping[str, int],
        gate: Gate | None = None,
        config: Path = CONFIG,
    ) -> None:
        self.server = server
        self.settings = instance_settings(config, dict(changes))
        self.workers = dict(workers)
        self.gate = gate
        self.management = Management(server)
        self.store = server.folder / STORE
        self.ending = threading.Event()
        self.metrics = Metrics()
        self._gate_log = GateLog(server.folder / "gate" / "logs" / "access.log")
        self._watched: dict[tuple[str, str], Watched] = {}
        self._refused: dict[object, tuple[BackOff, str]] = {}  # archives that do not stand, and why
        self._starting, self._renewing = BackOff(), BackOff()
        self._heard = time.monotonic()
        self._amiss: list[str] = []  # what is wrong with the gate, which keeps nobody on this machine from being served
        self._told: object = None
        self._stopped: set[psutil.Process] = set()
        self._unnamed = False

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises ServerError, ArchiveError or DesiredError where another supervisor has the folder, or nothing can start.
        """
        with self._alone(), answering(self.metrics, self.settings["supervisor_metrics_address"]):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: self.ending.set())
            self._ready(["it is starting"], None)
            self.metrics.set("imagetrust_queue_size", int(self.settings["job_queue_size"]))
            replace_json(
                self.server.folder / STARTED, started_with(self.settings, self.workers, self.gate and self.gate.source)
            )
            desired = self._first_desired()
            if self.server.process:
                logger.info("TorchServe already runs, process %d: watching it", self.server.process.pid)
            else:
                self._sweep_store(desired)
                self._starting.due()
                self._launch(desired)  # whatever keeps it from starting at all ends the supervisor too
            try:
                while not self.ending.is_set():
                    self._round()
                    self.ending.wait(ROUND)
            finally:
                self._drain()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self.server.logs.mkdir(parents=True, exist_ok=True)
        path = self.server.folder / PID
        with path.open("a+") as pid:
            try:
                fcntl.flock(pid, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ServerError(f"a supervisor already runs in {self.server.folder}") from error
            pid.truncate(0)
            pid.write(str(os.getpid()))
            pid.flush()
            yield
            pid.truncate(0)

    # ------------------------------------------------------------------------------------------ what shall be served

    def _first_desired(self) -> Desired:
        """Return the desired state of before, or that which the settings name where they name others by now."""
        files = [file for _, file in archive_files(self.settings)]
        with changing(self.server.folder):
            before = Desired.read(self.server.folder)
            if before and (before.made_from == files or self.server.process):
                if before.made_from != files:
                    logger.warning("The settings name other archives; what runs is left. Stop it to change over.")
                if not self.server.process:
                    self._take_rebuilt(before)
                return before
            desired = Desired(files, {}, left_out=files)
            reasons = self._take_left_out(desired)
            if not desired.models:
                raise ArchiveError("; ".join(reasons))
            for reason in reasons:
                logger.error("%s; the others are served", reason)
            if (unknown := sorted(self.workers.keys() - desired.models)) and not reasons:
                raise ServerError(f"--workers names {', '.join(unknown)}, which the server does not load")
            desired.write(self.server.folder)
            return desired

    def _take_rebuilt(self, desired: Desired) -> None:
        """Serve what was built anew in the same version, and mend what was damaged on disk."""
        for name, model in desired.models.items():
            for version, served in model.versions.items():
                try:
                    archive = admit(Path(self.settings["model_store"]) / served.archive, self.store)
                except ArchiveError as error:
                    logger.warning("%s; what was unpacked of it before is served, where it is there", error)
                    continue
                if (archive.name, archive.version) == (name, version) and archive.contents != served.contents:
                    logger.warning("%s has been built anew: serving it", served.archive)
                    served.contents = archive.contents
        desired.write(self.server.folder)

    def _take_left_out(self, desired: Desired) -> list[str]:
        """Serve archives that the settings name and that did not stand, where they do now; return why others do not."""
        reasons: list[str] = []
        taken: list[str] = []
        for file in desired.left_out:
            back_off, reason = self._refused.get(file, (BackOff(MAX_BACK_OFF), ""))
            if back_off.due():  # reading a large archive each second would keep the machine busy
                try:
                    archive = admit(Path(self.settings["model_store"]) / file, self.store)
                    if file != f"{archive.name}-{archive.version}.mar":
                        raise ArchiveError(f"{file} holds {archive.name} {archive.version}")
                except ArchiveError as error:
                    reason = str(error)
                else:
                    first = archive.name not in desired.models
                    workers = self.workers.get(archive.name) if first else None
                    desired.add(archive.name, archive.version, Served(file, archive.contents, workers), archive.tasks)
                    taken.append(file)
                    continue
            self._refused[file] = back_off, reason
            reasons.append(reason)
        if taken:
            # Once all were looked at: who reads the file finds none left out that is still to be looked at.
            desired.left_out = [file for file in desired.left_out if file not in taken]
            desired.write(self.server.folder)
        return reasons

    def _sweep_store(self, desired: Desired) -> None:
        """Remove unpacked archives that nobody wants any more."""
        wanted = {
            folder_name(name, version, served.contents)
            for name, model in desired.models.items()
            for version, served in model.versions.items()
        }
        for path in self.store.glob("*"):
            if path.name not in wanted:
                _remove(path)

    def _watch(self, name: str, version: str, served: Served) -> Watched:
        """Return what is known of a version whose archive stands. Raises ArchiveError where it does not."""
        watched = self._watched.get((name, version))
        if watched is None or watched.archive.contents != served.contents:
            back_off, reason = self._refused.get((name, version), (BackOff(MAX_BACK_OFF), ""))
            if not back_off.due():  # reading a large archive each second would keep the machine busy
                raise ArchiveError(reason)
            folder = self.store / folder_name(name, version, served.contents)
            try:
                archive = admit_again(Path(self.settings["model_store"]) / served.archive, folder, served)
            except ArchiveError as error:
                self._refused[name, version] = back_off, str(error)
                raise
            self._refused.pop((name, version), None)
            watched = self._watched[name, version] = Watched(archive, read_self_test(archive.folder))
        return watched

    def _sizes(self, desired: Desired, name: str, version: str) -> dict[str, int]:
        model, archive = desired.models[name], self._watched[name, version].archive
        return sizes(archive, model.versions[version], desired.sharing(name), self.settings)

    # ------------------------------------------------------------------------------------------ TorchServe

    def _launch(self, desired: Desired) -> None:
        """Start TorchServe with every version whose archive stands. Raises ServerError where it does not start."""
        self._watched.clear()
        self._refused.clear()
        folders, described, refused = [], {}, []
        for name, model in desired.models.items():
            for version, served in model.ordered():
                try:
                    archive = self._watch(name, version, served).archive
                except ArchiveError as error:
                    refused.append(str(error))
                    continue
                folders.append(archive.folder.name)
                chosen = {"defaultVersion": version == model.default, "marName": archive.folder.name}
                described.setdefault(name, {})[version] = chosen | self._sizes(desired, name, version)
        if not folders:
            raise ServerError("no archive stands: " + "; ".join(refused))
        changes = {
            "model_store": str(self.store),
            "load_models": ",".join(folders),
            "models": json.dumps(described),
            "enable_model_api": "true",
        }
        kept = {
            key: value for key, value in self.settings.items() if key != "allowed_urls"
        }  # narrowed to the new store
        settings = instance_settings(CONFIG, kept | changes)
        logger.info("sized for %s", this_machine(self.settings))
        for name, versions in described.items():
            for version, one in versions.items():
                batches = f"batches of {one['batchSize']} within {one['maxBatchDelay']} ms"
                logger.info("%s %s: %d worker(s), %s", name, version, one["minWorkers"], batches)
        self.server.launch(settings, lambda line: logger.info("%s", line.strip()))
        self._heard = time.monotonic()
        logger.info("TorchServe starts, process %s", self.server.process and self.server.process.pid)

    def _round(self) -> None:
        """Compare and mend once. Nothing that goes wrong here ends the supervisor."""
        problems: list[str] = []
        desired = None
        try:
            _reap()
            self.server.bound_console()
            bound_file(self.server.logs / LOG, MAX_LOG)
            self._gate_log.read(self.metrics)
            look_at_machine(self.metrics, self.server.folder)
            desired = Desired.read(self.server.folder)
            if desired is None:
                raise DesiredError("the file of what shall be served is gone")
            problems = self._torchserve(desired)
        except (ServerError, ArchiveError, DesiredError, requests.RequestException, OSError, psutil.Error) as error:
            problems = [*problems, str(error)]
        except Exception:
            logger.exception("a round failed")
            problems = [*problems, "a round failed: see the log"]
        self._look_at_gate()
        with contextlib.suppress(OSError):  # a full disk is told by the log of what it keeps from working
            self._ready(problems, desired)
        self.metrics.set("imagetrust_ready", not problems)

    def _torchserve(self, desired: Desired) -> list[str]:
        """Start, restart or mend TorchServe; return what keeps it from being ready."""
        if not self.server.process:
            self.metrics.saw(desired, {})
            if self._starting.due():
                logger.warning("TorchServe does not run: starting it")
                self.metrics.add("imagetrust_restarts_total", "torchserve")
                self._launch(desired)
            return ["TorchServe does not run"]
        try:
            self._renew_tokens()
            self._end_stopped_workers()
            names = set(self.management.names())
            self._heard = time.monotonic()
        except (ServerError, requests.RequestException) as error:
            if time.monotonic() - self._heard > MAX_SILENCE:
                logger.error("TorchServe has not answered for %d s: restarting it", MAX_SILENCE)
                self.server.stop()
            return [f"TorchServe does not answer: {type(error).__name__}"]
        problems = []
        with changing(self.server.folder, wait=False) as free:
            if free:  # while versions are changed by hand (server/versions.py) nothing is mended under those hands
                desired = Desired.read(self.server.folder) or desired
                problems = self._mend(desired, names)
        running = {name: self.management.versions(name) for name in desired.models}
        self.metrics.saw(desired, running)
        for name, model in desired.models.items():
            problems += self._test(name, model.default, running[name].get(model.default))
        if not problems:
            self._starting.reset()
        return problems

    def _mend(self, desired: Desired, names: set[str]) -> list[str]:
        """Bring models, versions, workers and defaults to the desired state; return what is still missing."""
        problems = self._take_left_out(desired)
        described = {name: self.management.versions(name) if name in names else {} for name in desired.models}
        self._unnamed = self._has_unnamed(described)
        for name, model in desired.models.items():
            running = described[name]
            for version, served in model.ordered():
                try:
                    problems += self._mend_version(desired, name, version, served, running.get(version))
                except ArchiveError as error:
                    problems.append(str(error))
            default = self.management.default(name)
            if default not in (None, model.default) and model.default in running:
                logger.warning("%s has %s as its default: setting %s", name, default, model.default)
                self.management.set_default(name, model.default)
            for version in running.keys() - model.versions.keys():
                logger.warning("%s %s is registered and not wanted: taking it away", name, version)
                self.management.unregister(name, version)
        return problems

    def _mend_version(
        self, desired: Desired, name: str, version: str, served: Served, running: dict[str, Any] | None
    ) -> list[str]:
        watched = self._watch(name, version, served)
        sizes = self._sizes(desired, name, version)
        wanted = sizes["minWorkers"]
        if running is None:
            if watched.repair.due():
                logger.warning("%s %s is not registered: registering it with %d worker(s)", name, version, wanted)
                self.management.register(watched.archive.folder.name, sizes)
                self.management.scale(name, version, wanted)
            return [f"{name} {version} is not registered"]
        ready, listed = ready_workers(running), len(running["workers"])
        if ready == wanted:
            watched.short_since = None
            watched.repair.reset()
            return []
        if ready > wanted:
            # TorchServe ends the workers that it listed last; those that it gave up stay listed.
            logger.warning("%s %s has %d workers, %d are wanted", name, version, ready, wanted)
            self.management.scale(name, version, listed - (ready - wanted))
            return []
        missing = [f"{name} {version} has {ready} of {wanted} worker(s)"]
        if listed < wanted:
            self.management.scale(name, version, wanted)
            return missing
        now = time.monotonic()
        watched.short_since = watched.short_since or now
        patience = PATIENCE if not ready else running.get("maxRetryTimeoutInSec", 300) + PATIENCE
        if self._unnamed or is_loading(running):
            patience = running["startupTimeout"] + PATIENCE
        if now - watched.short_since > patience and watched.repair.due():
            logger.warning("%s: starting workers anew", missing[0])
            self.metrics.add("imagetrust_repairs_total")
            # The archive may be what is damaged.
            admit_again(Path(self.settings["model_store"]) / served.archive, watched.archive.folder, served, check=True)
            if ready:
                self.management.scale(name, version, listed + wanted - ready)
            else:
                self.management.scale(name, version, 0)
                self.management.scale(name, version, wanted)
            watched.short_since = None
        return missing

    def _has_unnamed(self, described: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> bool:
        """Whether a worker lives that TorchServe does not name yet: it loads, for longer where the machine is busy."""
        named = {
            worker["pid"] for versions in described.values() for one in versions.values() for worker in one["workers"]
        }
        process = self.server.process
        try:
            return any(child.pid not in named for child in process.children()) if process else False
        except psutil.Error:
            return False

    def _test(self, name: str, version: str, running: dict[str, Any] | None) -> list[str]:
        """Return why a model's default version is not known to answer as it should; empty where it is."""
        pids = ready_pids(running)
        if not pids:
            return [f"{name} {version} has no worker"]
        watched = self._watched.get((name, version))
        if watched is None or watched.test is None:
            return []
        now = time.monotonic()
        if watched.tested == pids and now - watched.tested_at < (RETEST if not watched.faults else ROUND):
            return watched.faults
        pictures = list(watched.test.pictures)
        picture = pictures[watched.turn % len(pictures)]
        try:
            reply = ask_version(self.server, name, version, watched.test.pictures[picture])
            busy = reply.status == 503
            faults = (
                watched.test.faults(picture, version, reply.answer)
                if reply.status == 200
                else [f"its self-test gets {reply.status}"]
            )
        except requests.RequestException as error:
            busy, faults = isinstance(error, requests.Timeout), [f"its self-test gets {type(error).__name__}"]
        # A queue that is full says nothing of the answers: those workers that passed still do.
        if not (busy and watched.tested <= pids and watched.tested and not watched.faults):
            watched.faults = [f"{name} {version}: {fault}" for fault in faults]
            watched.turn += 1
        watched.tested, watched.tested_at = pids, now
        if not watched.faults:
            self.metrics.set("imagetrust_self_test_timestamp_seconds", time.time(), name, version)
        return watched.faults

    def _end_stopped_workers(self) -> None:
        """End workers that live and are stopped (SIGSTOP) in two rounds: TorchServe takes responseTimeout to see it."""
        process, stopped = self.server.process, set()
        for child in process.children() if process else ():
            with contextlib.suppress(psutil.Error):
                if child.status() == psutil.STATUS_STOPPED:
                    stopped.add(child)
        for child in stopped & self._stopped:
            logger.warning("worker %d is stopped: ending it", child.pid)
            with contextlib.suppress(psutil.Error):
                child.kill()
        self._stopped = stopped

    def _renew_tokens(self) -> None:
        """Replace TorchServe's tokens before they expire, and tell the gate at once."""
        left = self.server.token_seconds_left()
        life = 60 * float(self.settings.get("token_expiration_min", 60))
        if left < min(300, RENEW_BEFORE * life) and self._renewing.due():
            self.server.renew_tokens()
            logger.info("TorchServe's tokens are renewed")
        elif left > RENEW_BEFORE * life:
            self._renewing.reset()

    # ------------------------------------------------------------------------------------------ gate, readiness, end

    def _look_at_gate(self) -> None:
        """Keep the gate running, whatever TorchServe does: it says meanwhile that no worker is there."""
        if self.gate:
            try:
                started = self.gate.starts
                self._amiss = self.gate.look()
                if started and self.gate.starts > started:
                    self.metrics.add("imagetrust_restarts_total", "gate")
            except Exception:
                logger.exception("a look at the gate failed")
                self._amiss = ["a look at the gate failed: see the log"]

    def _ready(self, problems: list[str], desired: Desired | None) -> None:
        """Tell everyone whether this server is ready: two files, written when that changes."""
        ready = self.server.folder / READY
        served = {name: model.default for name, model in desired.models.items()} if desired else {}
        if self.gate:
            self.gate.set_ready(not problems)
        if problems or not desired:
            ready.unlink(missing_ok=True)
        elif not ready.exists() or json.loads(ready.read_text())["models"] != served:
            replace_json(ready, {"since": _now(), "models": served})
        canaries = {name: version for name, (version, _) in self.gate.canaries.items()} if self.gate else {}
        told = {"problems": problems, "gate": self._amiss, "canaries": canaries}
        if told != self._told:
            replace_json(self.server.folder / STATUS, {"since": _now()} | told)
            logger.info("%s", f"not ready: {'; '.join(problems)}" if problems else "ready")
            for line in self._amiss:
                logger.warning("the gate: %s", line)
            self._told = told

    def _drain(self) -> None:
        """Be ready no more, admit nothing, let what is in flight end, and end TorchServe."""
        logger.info("ending: no longer ready")
        (self.server.folder / READY).unlink(missing_ok=True)
        deadline = time.monotonic() + DRAIN_TIMEOUT
        if self.gate:
            self.gate.stop(DRAIN_TIMEOUT)
        quiet_since = time.monotonic()
        computed = self._computed()
        while self._has_callers() and time.monotonic() < min(deadline, quiet_since + QUIET):
            time.sleep(0.2)
            before, computed = computed, self._computed()
            if computed - before > 0.01 or self._queued():
                quiet_since = time.monotonic()
        self.server.stop()
        self.server.clean()
        (self.server.folder / STATUS).unlink(missing_ok=True)
        logger.info("ended")

    def _has_callers(self) -> bool:
        """Whether anybody is connected who may wait for an answer."""
        process = self.server.process
        if not process:
            return False
        ports = self.server.addresses.inference_ports()
        try:
            connections = process.net_connections("tcp")
        except psutil.Error:
            return False
        return any(one.status == psutil.CONN_ESTABLISHED and one.laddr.port in ports for one in connections)

    def _queued(self) -> int:
        try:
            return sum(
                described["jobQueueStatus"]["pendingRequests"]
                for name in self.management.names()
                for described in self.management.versions(name).values()
            )
        except (ServerError, requests.RequestException):
            return 0

    def _computed(self) -> float:
        """Return the seconds of the processor that TorchServe's workers have used."""
        total, process = 0.0, self.server.process
        with contextlib.suppress(psutil.Error):
            for worker in process.children(recursive=True) if process else ():
                times = worker.cpu_times()
                total += times.user + times.system
        return total


def sizes(archive: Archive, served: Served, versions: int, settings: dict[str, str]) -> dict[str, int]:
    """Return workers, their limit, batch size and delay of a version, by TorchServe's names.

    versions: how many share the model's workers, this one among them.
    """
    chosen = size_archive(archive.name, archive.settings, this_machine(settings), served.workers, versions)
    if served.workers:
        chosen |= {"minWorkers": served.workers, "maxWorkers": max(chosen["maxWorkers"], served.workers)}
    return chosen


def admit_again(path: Path, folder: Path, served: Served, check: bool = False) -> Archive:
    """Return the archive that is unpacked in a folder, or unpack it again where it is not there.

    check: compare every file first. Raises ArchiveError where the archive in the model store is another by now.
    """
    if folder.exists() and not check:
        return describe(folder)
    archive = admit(path, folder.parent)
    if archive.contents != served.contents:
        _remove(archive.folder)
        raise ArchiveError(f"{path.name} is not the archive that was registered: it has been built anew")
    return archive


def started_with(settings: Mapping[str, str], workers: Mapping[str, int], gate: Path | None) -> dict[str, object]:
    """Return what STARTED holds. gate: the file of its settings, None where there is no gate."""
    return {"settings": dict(settings), "workers": dict(workers), "gate": str(gate) if gate else None}


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _reap() -> None:
    """Let ended processes go that became ours when their parent ended: in a container this is the first process."""
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error, ChildProcessError):
            if child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, os.WNOHANG)
