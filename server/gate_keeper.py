"""Keeps a gate running and up to date: for the supervisor, and alone before several machines."""

import contextlib
import logging
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from server.back_off import BackOff
from server.desired import Desired, DesiredError
from server.gate import Gate
from server.gate_config import Behind, GateSettings
from server.instance import ServerError, TorchServe
from server.settings import Addresses

logger = logging.getLogger(__name__)

DRIPPING = 10  # seconds between two searches for connections that send for too long
STEADY = 60  # seconds that nginx must have run until the next start may come at once


class Keeper:
    """Keeps one gate.

    settings: reads them; asked at each look, so that a changed file is taken into use. source: that file.
    """

    def __init__(
        self, folder: Path, settings: Callable[[], GateSettings], behind: Callable[[], Behind], source: Path
    ) -> None:
        self.source = source
        self.gate = Gate(folder, settings(), behind)
        self.canaries: dict[str, tuple[str, float]] = {}  # that the gate sends requests to
        self._settings = settings
        self._behind = behind
        self._starting = BackOff()
        self._started = self._searched = 0.0
        self._amiss: list[str] = []

    def look(self) -> list[str]:
        """Start the gate where it does not run, or take into use what has changed; return what is amiss.

        What nginx does not accept is left aside, and the gate runs on as it was.
        """
        before = self.gate.settings
        try:
            self.gate.settings = self._settings()
            canaries = dict(self._behind().canaries)
            if self.gate.is_running():
                self.gate.bound_logs()
                self.gate.reload()
                if time.monotonic() - self._searched > DRIPPING:
                    self._searched = time.monotonic()
                    if ended := self.gate.end_dripping():
                        logger.warning("the gate: ending %d connection(s) that have sent for too long", ended)
                if time.monotonic() - self._started > STEADY:
                    self._starting.reset()
            elif not self._starting.due():
                return self._amiss or ["the gate has ended and is started soon"]
            else:
                logger.info("starting the gate")
                self._started = time.monotonic()
                self.gate.start()
            self.canaries, self._amiss = canaries, []
        except (ServerError, DesiredError, OSError) as error:
            self.gate.settings = before
            self._amiss = [str(error)]
        return self._amiss

    def set_ready(self, ready: bool) -> None:
        """Say what the gate answers to who asks whether this server is ready."""
        with contextlib.suppress(OSError):  # a full disk, or a folder that is not there yet
            self.gate.set_ready(ready)

    def stop(self, timeout: float) -> None:
        """Admit nothing more, let what is under way end, and end the gate. timeout: in seconds."""
        self.gate.stop(timeout)


def own_server(server: TorchServe, listening: Addresses) -> Callable[[], Behind]:
    """Return what tells what is behind the gate of one TorchServe, whether that runs at the moment or not.

    While it has no token the gate answers that no worker is there. Canaries are those of the desired state; the
    function raises DesiredError where that is damaged.
    """
    token = "none"

    def behind() -> Behind:
        nonlocal token
        with contextlib.suppress(ServerError):
            token = server.token("inference")
        desired = Desired.read(server.folder)
        canaries = desired.canaries() if desired else {}
        return Behind((urlsplit(listening.inference).netloc,), (listening.grpc_inference,), token, canaries=canaries)

    return behind
