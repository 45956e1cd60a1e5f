"""TorchServe's management API, asked so that no other caller waits.

A registration that waits for its workers, which is TorchServe's default, and a scaling that does keep a quarter of all
connections from being served meanwhile (on two cores): they hold one of the threads that answer. Here every call
returns at once, and what it began is polled.
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil
import requests

from server.instance import ServerError, TorchServe

TIMEOUT = 5  # seconds for one call
POLL = 0.25
_DRAIN = 10  # seconds that requests in a version's queue may take before its workers end


class Management:
    """The management API of one instance."""

    def __init__(self, server: TorchServe) -> None:
        self._server = server

    def _call(self, method: str, path: str, **parameters: object) -> Any:
        answer = requests.request(
            method,
            f"{self._server.addresses.management}/models{path}",
            params={name: str(value) for name, value in parameters.items()},
            headers=self._server.headers("management"),
            timeout=TIMEOUT,
        )
        if answer.status_code == 404:
            return None
        if answer.status_code >= 400:
            raise ServerError(f"TorchServe refuses {method} {path or '/'}: {answer.status_code} {answer.text.strip()}")
        return answer.json()

    def names(self) -> list[str]:
        """Return the names of the models that are registered."""
        return [model["modelName"] for model in self._call("GET", "")["models"]]

    def versions(self, name: str) -> dict[str, dict[str, Any]]:
        """Return what TorchServe says of each version of a model; empty for a model that it does not have."""
        return {described["modelVersion"]: described for described in self._call("GET", f"/{name}/all") or ()}

    def default(self, name: str) -> str | None:
        """Return the default version of a model, or None."""
        described = self._call("GET", f"/{name}")
        return described[0]["modelVersion"] if described else None

    def register(self, folder: str, sizes: Mapping[str, int]) -> None:
        """Register an unpacked archive of the instance's store, without workers."""
        self._call(
            "POST", "", url=folder, initial_workers=0, synchronous="false",
            batch_size=sizes["batchSize"], max_batch_delay=sizes["maxBatchDelay"],
        )  # fmt: skip

    def scale(self, name: str, version: str, workers: int) -> None:
        """Ask for a number of workers; they start and end later."""
        done = self._call(
            "PUT", f"/{name}/{version}", min_worker=workers, max_worker=workers, synchronous="false"
        )  # fmt: skip
        if done is None:
            raise ServerError(f"TorchServe has no {name} {version}")

    def set_default(self, name: str, version: str) -> None:
        """Let a version answer the requests that name none."""
        if self._call("PUT", f"/{name}/{version}/set-default") is None:
            raise ServerError(f"TorchServe has no {name} {version}")

    def unregister(self, name: str, version: str) -> None:
        """Let a version's queue run empty, end its workers, and take it away. It may not be the default."""
        self._wait(lambda: self._queued(name, version) == 0, _DRAIN)
        if self.versions(name).get(version):
            self.scale(name, version, 0)
            # Deleting waits for workers in the thread that answers others too: there are none by then.
            self._wait(lambda: not self.versions(name).get(version, {}).get("workers"), _DRAIN)
            self._call("DELETE", f"/{name}/{version}")

    def _queued(self, name: str, version: str) -> int:
        return self.versions(name).get(version, {}).get("jobQueueStatus", {}).get("pendingRequests", 0)

    @staticmethod
    def _wait(condition: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
        return True

    def wait_for_workers(self, name: str, version: str, workers: int) -> None:
        """Return when a version has so many READY workers.

        Raises ServerError where one dies while it loads, or they take longer than the version's startupTimeout.
        """
        log = self._server.logs / "model_log.log"
        start = log.stat().st_size if log.exists() else 0
        deadline = time.monotonic() + self.versions(name).get(version, {}).get("startupTimeout", 120)
        while ready_workers(self.versions(name).get(version)) < workers:
            if died := self._died(name, version, start):
                raise ServerError(f"a worker of {name} {version} died while loading: {died}")
            if time.monotonic() > deadline:
                raise ServerError(f"{name} {version} has not {workers} worker(s) in time")
            time.sleep(POLL)

    def _died(self, name: str, version: str, start: int) -> str | None:
        """Return the last thing that a worker of a version logged before it died, since byte `start` of the log."""
        path = self._server.logs / "model_log.log"
        if not path.exists():
            return None
        with path.open("rb") as log:
            log.seek(start if start <= path.stat().st_size else 0)
            # The name of the thread that logs what a worker says: `W-9000-NAME_VERSION-stdout`.
            lines = [line.decode(errors="replace") for line in log if f"-{name}_{version}-std".encode() in line]
        if not any("Backend worker process died" in line for line in lines):
            return None
        said = [json.loads(line)["message"] for line in lines if "Error" in line]
        return said[-1] if said else "its log says why"


def ready_workers(described: Mapping[str, Any] | None) -> int:
    """Count the workers of a version that have loaded the model and live, from what TorchServe says of it."""
    return len(ready_pids(described))


def ready_pids(described: Mapping[str, Any] | None) -> frozenset[int]:
    """Return the process numbers of these workers."""
    return frozenset(worker["pid"] for worker in (described or {}).get("workers", ()) if worker["status"] == "READY")


def is_loading(described: Mapping[str, Any]) -> bool:
    """Whether a worker of a version that is not READY has a living process."""
    return any(
        worker["status"] != "READY" and worker["pid"] > 0 and psutil.pid_exists(worker["pid"])
        for worker in described["workers"]
    )
