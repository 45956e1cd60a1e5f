"""Registers, promotes and rolls back versions of a running server, so that no caller loses a request by it.

Each change is made at TorchServe first and written into the desired state last; the supervisor takes away what a change
left that was broken off.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from server.archive import Archive, ArchiveError, admit, describe, folder_name
from server.desired import Canary, Desired, DesiredError, Model, Served, changing
from server.instance import ServerError, TorchServe
from server.management import Management, ready_workers
from server.self_test import Reply, ask_version, read_self_test, verdicts
from server.supervisor import STARTED, STATUS, STORE, sizes

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
ROUNDS = 3  # in which a golden picture is asked about; the median of its latencies counts
GATE_TIMEOUT = 15  # seconds
_SLACK = 0.05  # seconds that a latency may be longer whatever the ratio: the clock of a busy machine


class Refused(Exception):
    """A change that is not made; what was served before still is. The message says why, a reason a line."""


@dataclass(frozen=True)
class Limits:
    """What a version may differ by from the default, on the golden pictures.

    changed: share of the verdicts. slower: ratio of the median latencies.
    """

    changed: float = 0.25
    slower: float = 2.0


class Versions:
    """The versions of one running server. report: gets a line for each step. dry: check and tell, change nothing."""

    def __init__(
        self, server: TorchServe, report: Callable[[str], None] = lambda line: None, dry: bool = False
    ) -> None:
        self.server, self.report, self.dry = server, report, dry
        self.management = Management(server)
        try:
            self.settings = json.loads((server.folder / STARTED).read_text())["settings"]
        except (OSError, ValueError, KeyError) as error:
            raise ServerError(f"no supervisor was started in {server.folder}") from error

    # ------------------------------------------------------------------------------------------ telling

    def table(self, name: str | None = None) -> list[dict[str, Any]]:
        """Describe each version of each model, or of one, the default first. Raises Refused for an unknown model."""
        desired = self._read()
        if name is not None:
            self._model(desired, name)
        rows = []
        for model_name in [name] if name else desired.models:
            model, running = desired.models[model_name], self.management.versions(model_name)
            for version, served in model.ordered():
                described = running.get(version) or {}
                role = {model.default: "default", model.previous: "previous"}.get(version, "beside")
                if model.canary and model.canary.version == version:
                    role = f"canary {model.canary.share:.0%}"
                rows.append(
                    {
                        "model": model_name,
                        "version": version,
                        "role": role,
                        "ready": ready_workers(described),
                        "workers": described.get("minWorkers", 0),
                        "queued": described.get("jobQueueStatus", {}).get("pendingRequests", 0),
                        "archive": served.archive,
                        "contents": served.contents,
                    }
                )
        return rows

    # ------------------------------------------------------------------------------------------ changing

    def register(self, name: str, version: str, workers: int | None = None) -> None:
        """Serve a version beside the default, once its workers have passed its self-test."""
        with self._changing() as desired:
            if name in desired.models and version in desired.models[name].versions:
                raise Refused(f"{name} {version} is registered already")
            archive = self._admit(name, version)
            if self._step(f"register {name} {version}"):
                with self._undoing(desired, [(name, version)]):
                    self._add(desired, archive, workers)
                    self._check(archive)
                    desired.write(self.server.folder)

    def scale(self, name: str, workers: int, version: str | None = None) -> None:
        """Set the number of workers of a version, of the default where none is named; at most its maxWorkers."""
        with self._changing() as desired:
            model = self._model(desired, name)
            version = version or model.default
            served = self._served(model, name, version)
            archive = self._archive(desired, name, version)
            limit = sizes(archive, Served("", ""), desired.sharing(name), self.settings)["maxWorkers"]
            if not 1 <= workers <= limit:
                raise Refused(f"{name} {version} may have 1 to {limit} workers (maxWorkers), not {workers}")
            if self._step(f"scale {name} {version} to {workers} worker(s)"):
                before = len(self.management.versions(name)[version]["workers"])
                try:
                    self.management.scale(name, version, workers)
                    self.management.wait_for_workers(name, version, workers)
                except ServerError:
                    self.management.scale(name, version, before)
                    raise
                served.workers = workers
                desired.write(self.server.folder)

    def promote(self, name: str, version: str, golden: Path | None = None, limits: Limits | None = None) -> None:
        """Make a version the default, of this model and of those that must agree, where it stands the comparison.

        The old default stays beside it for a rollback. Raises Refused where anything misses: nothing has changed then.
        """
        with self._changing() as desired:
            self._model(desired, name)
            group = [one for one in desired.group(name) if desired.models[one].default != version]
            if not group:
                raise Refused(f"{name} {version} is the default already")
            archives = [self._archive(desired, one, version) for one in group]
            new = [(one, version) for one in group if version not in desired.models[one].versions]
            steps = [f"register {one} {version}" for one, _ in new]
            steps += [f"compare {one} {version} with {desired.models[one].default}" for one in group]
            steps += [f"make {one} {version} the default" for one in group]
            if not self._step("; ".join(steps)):
                return
            with self._undoing(desired, new):
                for archive in archives:
                    model = desired.models[archive.name]
                    if version not in model.versions:
                        self._add(desired, archive, model.versions[model.default].workers)
                for archive in archives:
                    self._check(archive)
                    self._compare(desired, archive, golden, limits or Limits())
                self._switch(desired, dict.fromkeys(group, version))

    def rollback(self, name: str) -> None:
        """Make the previous version the default again, of this model and of those that must agree with it."""
        with self._changing() as desired:
            self._model(desired, name)
            group = desired.group(name)
            targets = {one: previous for one in group if (previous := desired.models[one].previous)}
            if name not in targets:
                raise Refused(f"{name} has no previous version")
            for one, version in targets.items():
                if not ready_workers(self.management.versions(one).get(version)):
                    raise Refused(f"{one} {version} has no worker")
            if self._step("; ".join(f"make {one} {version} the default" for one, version in targets.items())):
                self._switch(desired, targets)

    def canary(self, name: str, version: str, share: float) -> None:
        """Let the gate send a share of the requests to a version, of all models that must agree; 0 ends it."""
        with self._changing() as desired:
            self._model(desired, name)
            if not 0 <= share < 1:
                raise Refused("a canary's share is at least 0 % and less than 100 %")
            group = desired.group(name)
            for one in group:
                model = desired.models[one]
                self._served(model, one, version)
                if model.default == version:
                    raise Refused(f"{one} {version} is the default")
                if share and not ready_workers(self.management.versions(one).get(version)):
                    raise Refused(f"{one} {version} has no worker")
            if self._step(f"send {share:.1%} of the requests of {', '.join(group)} to {version}"):
                for one in group:
                    desired.models[one].canary = Canary(version, share) if share else None
                desired.write(self.server.folder)

    def unregister(self, name: str, version: str) -> None:
        """Take a version away. Raises Refused for the default and for a canary.

        Without the previous version there is no rollback, neither of the models that must agree.
        """
        with self._changing() as desired:
            model = self._model(desired, name)
            self._served(model, name, version)
            if version == model.default:
                raise Refused(f"{name} {version} is the default: promote another one first")
            if model.canary and model.canary.version == version:
                raise Refused(f"{name} {version} is a canary: end it first (models canary {name} {version} 0%)")
            if self._step(f"unregister {name} {version}"):
                self._wait_for_gate(name, version)
                del model.versions[version]
                if model.previous == version:
                    for one in desired.group(name):  # they roll back together or not at all
                        desired.models[one].previous = None
                desired.write(self.server.folder)
                self.management.unregister(name, version)

    # ------------------------------------------------------------------------------------------ steps

    def _wait_for_gate(self, name: str, version: str) -> None:
        """Return when the gate sends no requests to a version by chance any more: it has a moment to hear of an end."""
        deadline = time.monotonic() + GATE_TIMEOUT
        while self._canaries_of_gate().get(name) == version:
            if time.monotonic() > deadline:
                raise Refused(
                    f"the gate goes on sending requests to {name} {version}: python -m server status says why"
                )
            time.sleep(0.1)

    def _canaries_of_gate(self) -> dict[str, str]:
        try:
            return json.loads((self.server.folder / STATUS).read_text())["canaries"]
        except (OSError, ValueError, KeyError):
            return {}  # no supervisor runs

    @contextmanager
    def _changing(self) -> Iterator[Desired]:
        with changing(self.server.folder):
            yield self._read()

    def _read(self) -> Desired:
        desired = Desired.read(self.server.folder)
        if desired is None:
            raise DesiredError(f"{self.server.folder} has no desired state: start the server first")
        return desired

    def _step(self, line: str) -> bool:
        self.report(f"would {line}" if self.dry else line)
        return not self.dry

    def _model(self, desired: Desired, name: str) -> Model:
        if name not in desired.models:
            raise Refused(f"there is no model {name}: {', '.join(desired.models)}")
        return desired.models[name]

    def _served(self, model: Model, name: str, version: str) -> Served:
        if version not in model.versions:
            raise Refused(f"{name} has no version {version}: {', '.join(model.versions)}")
        return model.versions[version]

    def _archive(self, desired: Desired, name: str, version: str) -> Archive:
        """Return the archive of a version as it is registered, or that of the model store where it is not."""
        served = desired.models[name].versions.get(version)
        if served is None:
            return self._admit(name, version)
        return describe(self.server.folder / STORE / folder_name(name, version, served.contents))

    def _admit(self, name: str, version: str) -> Archive:
        """Return the archive of a version from the model store, where it stands. Raises Refused otherwise."""
        path = Path(self.settings["model_store"]) / f"{name}-{version}.mar"
        try:
            archive = admit(path, self.server.folder / STORE)
        except ArchiveError as error:
            raise Refused(str(error)) from error
        if (archive.name, archive.version) != (name, version):
            raise Refused(f"{path.name} holds {archive.name} {archive.version}")
        return archive

    def _add(self, desired: Desired, archive: Archive, workers: int | None) -> None:
        """Register a version with its workers, in TorchServe and in the desired state in memory."""
        served = Served(f"{archive.name}-{archive.version}.mar", archive.contents, workers)
        desired.add(archive.name, archive.version, served, archive.tasks)
        chosen = sizes(archive, served, desired.sharing(archive.name), self.settings)
        self.management.register(archive.folder.name, chosen)
        self.management.scale(archive.name, archive.version, chosen["minWorkers"])
        self.management.wait_for_workers(archive.name, archive.version, chosen["minWorkers"])

    def _check(self, archive: Archive) -> None:
        """Ask a version about every picture of its self-test. Raises Refused where it answers otherwise."""
        test = read_self_test(archive.folder)
        faults = []
        for picture, content in test.pictures.items() if test else ():
            reply = ask_version(self.server, archive.name, archive.version, content)
            if reply.status != 200:
                faults.append(f"{picture} gets {reply.status}")
            else:
                faults += test.faults(picture, archive.version, reply.answer)
        if faults:
            raise Refused(f"{archive.name} {archive.version} fails its self-test: " + "; ".join(faults))

    def _compare(self, desired: Desired, archive: Archive, golden: Path | None, limits: Limits) -> None:
        """Ask a version and the default about the golden pictures. Raises Refused where it misses a limit."""
        name, version = archive.name, archive.version
        default = desired.models[name].default
        pictures = _pictures(golden) if golden else (test := read_self_test(archive.folder)) and test.pictures
        if not pictures:
            raise Refused(f"{name} {version} has no golden pictures to be compared on: name a folder (--golden)")
        changed, verdicts_asked, faults = [], 0, []
        seconds: dict[str, list[float]] = {default: [], version: []}
        for picture, content in pictures.items():
            # In turn, so that what else the machine does meets both. The first answers warm the workers up.
            replies: dict[str, list[Reply]] = {one: [] for one in seconds}
            for _ in range(ROUNDS):
                for one, got in replies.items():
                    got.append(ask_version(self.server, name, one, content))
            errors = [reply.status for reply in replies[version] if reply.status != 200]
            if errors and any(reply.status == 200 for reply in replies[default]):
                faults.append(f"{name} {version} answers {picture} with {errors[0]}")
                continue
            if errors:
                continue  # what the default refuses too is no picture for either
            for one, got in replies.items():
                seconds[one].append(statistics.median(reply.seconds for reply in got))
            old = verdicts(replies[default][-1].answer) if replies[default][-1].status == 200 else {}
            for task, verdict in verdicts(replies[version][-1].answer).items():
                verdicts_asked += 1
                if old.get(task) != verdict:
                    changed.append(f"{picture}: {task} {old.get(task)} -> {verdict}")
        if verdicts_asked and len(changed) / verdicts_asked > limits.changed:
            share = len(changed) / verdicts_asked
            faults.append(f"{share:.0%} of the verdicts change, {limits.changed:.0%} may: {'; '.join(changed)}")
        before, after = (statistics.median(seconds[one] or [0.0]) for one in (default, version))
        if after > before * limits.slower + _SLACK:
            faults.append(
                f"it takes {after:.3f} s, {default} {before:.3f} s: {limits.slower:g} times as long is allowed"
            )
        self.report(
            f"{name} {version} on {len(pictures)} pictures: {len(changed)} of {verdicts_asked} verdicts change, "
            f"{after * 1000:.0f} ms against {before * 1000:.0f} ms"
        )
        if faults:
            raise Refused(f"{name} {version} is not promoted: " + "\n".join(faults))

    def _switch(self, desired: Desired, targets: Mapping[str, str]) -> None:
        """Make versions the defaults, of all models or of none, and end their canaries."""
        before = {name: desired.models[name].default for name in targets}
        try:
            for name, version in targets.items():
                self.management.set_default(name, version)
            for name, version in targets.items():
                model = desired.models[name]
                model.default, model.previous, model.canary = version, before[name], None
            desired.write(self.server.folder)
        except BaseException:
            for name, version in before.items():
                self.management.set_default(name, version)
            raise

    @contextmanager
    def _undoing(self, desired: Desired, added: list[tuple[str, str]]) -> Iterator[None]:
        """Take away what was registered where the block fails."""
        try:
            yield
        except BaseException as error:
            for name, version in added:
                if version in self.management.versions(name):
                    self.management.unregister(name, version)
            if isinstance(error, (ServerError, requests.RequestException)):
                raise Refused(f"{error}") from error
            raise


def _pictures(folder: Path) -> dict[str, bytes]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
