"""The gate: nginx in front of TorchServe, which alone listens beyond loopback. docs/operations.md describes it."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests

from server.gate_config import Behind, GateError, GateSettings, read_callers, render
from server.instance import ServerError, TorchServe

START_TIMEOUT = 10  # seconds
RELOAD_GRACE = 2.0
LOG_BYTES = 100_000_000  # of the access log, and of the one before it
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/nginx/sbin")  # which a user's PATH may leave out
_MISSING = (
    "nginx is not installed (apt-get install nginx; to run it needs no root). Without it TorchServe answers callers on "
    "this machine alone"
)


def nginx() -> str:
    """Return the path of nginx's binary. Raises GateError where there is none."""
    found = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", ""), *_PLACES)))
    if not found:
        raise GateError(_MISSING)
    return found


def torchserve(server: TorchServe) -> Behind:
    """Return one TorchServe as what is behind a gate. Raises ServerError where it does not run."""
    listening = server.addresses
    return Behind((urlsplit(listening.inference).netloc,), (listening.grpc_inference,), server.token("inference"))


class Gate:
    """One nginx with all its files in `folder`, which names the same gate from any process at any later time.

    behind: says what is behind the gate at the moment; asked again at each `reload`.
    """

    def __init__(self, folder: Path, settings: GateSettings, behind: Callable[[], Behind]) -> None:
        self.folder = folder.resolve()
        self.settings = settings
        self.access_log = self.folder / "logs" / "access.log"
        self._behind = behind
        self._config = self.folder / "nginx.conf"
        self._ready = self.folder / "status" / "ready.json"

    @property
    def process(self) -> psutil.Process | None:
        """The master process of nginx, or None where the gate does not run."""
        try:
            process = psutil.Process(int((self.folder / "nginx.pid").read_text()))
            # Another program may have the number by now.
            if str(self._config) in " ".join(process.cmdline()) and _is_alive(process):
                return process
        except (OSError, ValueError, psutil.Error):
            pass
        return None

    def is_running(self) -> bool:
        """Whether its nginx runs."""
        return self.process is not None

    def write(self) -> bool:
        """Write nginx's files where they differ from those that are there; return whether they do.

        nginx checks them, and the old ones stay where it does not accept the new ones. Raises GateError with nginx's
        own words, and ServerError where TorchServe does not run.
        """
        self._make_folders()
        texts = render(self.settings, self._behind(), self.folder)
        paths = {self.folder / name: text for name, text in texts.items()}
        before = {path: path.read_text() if path.exists() else None for path in paths}
        if before == paths:
            return False
        for path, text in paths.items():
            _write_private(path, text)
        try:
            self.check()
        except GateError:
            for path, old in before.items():
                path.unlink() if old is None else _write_private(path, old)
            raise
        return True

    def check(self) -> None:
        """Let nginx check the files as they are. Raises GateError with what it says."""
        checked = subprocess.run([nginx(), *self._arguments(), "-t", "-q"], capture_output=True, text=True)
        if checked.returncode:
            raise GateError(f"nginx does not accept {self._config}:\n{checked.stderr.strip()}")

    def start(self) -> None:
        """Start it and return when it answers. Raises GateError where it runs already or does not answer."""
        if self.process:
            raise GateError(f"the gate already runs in {self.folder}, process {self.process.pid}")
        self.set_ready(False)
        self.write()
        done = subprocess.run(
            [nginx(), *self._arguments()], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            start_new_session=True,
        )  # fmt: skip
        if done.returncode:
            raise GateError(f"nginx does not start:\n{done.stderr.strip()}")
        if not _wait_until(lambda: (master := self.process) and master.children(), START_TIMEOUT):
            raise GateError(f"nginx does not start; its log: {self.folder / 'logs' / 'error.log'}")

    def reload(self, grace: float = RELOAD_GRACE) -> bool:
        """Take changed settings, tokens and certificates into use; requests under way end as they began.

        grace: seconds before, in which answers end their connections, so that no caller sends into a closing one.
        Return whether anything had changed. Raises GateError as `write`, and where the gate does not run.
        """
        process = self.process
        if not process:
            raise GateError(f"no gate runs in {self.folder}")
        if not self.write():
            return False
        closing = self.folder / "status" / "closing"
        closing.touch()
        try:
            time.sleep(grace)
            before = set(process.children())
            process.send_signal(signal.SIGHUP)
            _wait_until(lambda: set(process.children()) - before, START_TIMEOUT)
            time.sleep(min(grace, 0.2))  # the old workers stop listening only now
        finally:
            closing.unlink()
        return True

    def stop(self, timeout: float | None = None) -> bool:
        """Take no more requests, end those under way and stop; return whether it ran.

        timeout: seconds for those under way, by default `answer_seconds`; then it stops all the same.
        """
        self.set_ready(False)
        process = self.process
        if not process:
            return False
        family = [process]
        with contextlib.suppress(psutil.NoSuchProcess):
            family += process.children(recursive=True)
            process.send_signal(signal.SIGQUIT)
        limit = self.settings.answer_seconds if timeout is None else timeout
        if not _wait_until(lambda: not any(map(_is_alive, family)), limit):
            for straggler in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    straggler.kill()
            _wait_until(lambda: not any(map(_is_alive, family)), 5)
        (self.folder / "nginx.pid").unlink(missing_ok=True)
        return True

    def set_ready(self, ready: bool) -> None:
        """Say what /health/ready answers: 200 where `ready`, else 503."""
        if not ready:
            self._ready.unlink(missing_ok=True)
        elif not self._ready.exists():
            self._make_folders()
            new = self._ready.with_suffix(".new")
            new.write_text('{"status":"ready"}')
            new.chmod(0o644)
            new.replace(self._ready)

    def bound_logs(self, limit: int = LOG_BYTES) -> None:
        """Begin a new access log where it holds more than `limit` bytes; the one before it is kept, older ones not."""
        process = self.process
        if process and self.access_log.exists() and self.access_log.stat().st_size > limit:
            self.access_log.replace(self.access_log.with_suffix(".log.1"))
            process.send_signal(signal.SIGUSR1)

    def _arguments(self) -> list[str]:
        return ["-p", str(self.folder), "-c", str(self._config), "-e", str(self.folder / "logs" / "error.log")]

    def _make_folders(self) -> None:
        for name in ("", "logs", "tmp", "status"):
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
        # nginx's workers pass through these where root has started it; secrets are readable by their owner alone.
        for name in ("", "logs", "tmp", "status"):
            (self.folder / name).chmod(0o711)


def _is_alive(process: psutil.Process) -> bool:
    # Nobody may have waited for one that has ended, where nginx's parent is the first process of a container.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _wait_until(true: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _write_private(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def unready(server: TorchServe) -> list[str]:
    """Return what keeps a TorchServe from being ready: itself, or models whose default version has no READY worker."""
    try:
        answer = requests.get(f"{server.addresses.inference}/ping", headers=server.headers(), timeout=5)
        answer.raise_for_status()
        return [
            name
            for name in server.model_names()
            if not any(worker["status"] == "READY" for worker in server.describe(name)["workers"])
        ]
    except (ServerError, requests.RequestException) as error:
        return [f"TorchServe: {error}"]


def unready_machines(behind: Behind) -> list[str]:
    """Return why no gate behind another is ready; nothing where one is."""
    scheme, reasons = "https" if behind.certificate_authority else "http", []
    for address in behind.rest:
        try:
            answer = requests.get(
                f"{scheme}://{address}/health/ready", timeout=5, verify=behind.certificate_authority or None
            )
        except requests.RequestException as error:
            reasons.append(f"{address}: {error}")
            continue
        if answer.status_code == 200:
            return []
        reasons.append(f"{address}: status {answer.status_code}")
    return reasons


def add_token(callers: Path, name: str) -> str:
    """Add a new token of a caller to a file of lines `NAME TOKEN`, which is made where there is none; return it.

    Raises GateError for a name that is none, and for a file that others may read.
    """
    token = secrets.token_urlsafe(32)
    lines = callers.read_text().rstrip("\n").split("\n") if callers.exists() else []
    if lines:
        read_callers(callers)
    callers.parent.mkdir(parents=True, exist_ok=True)
    new = callers.with_name(callers.name + ".checked")
    _write_private(new, "\n".join([*lines, f"{name} {token}"]) + "\n")
    try:
        read_callers(new)
    except GateError:
        new.unlink()
        raise
    new.replace(callers)
    return token


def self_signed(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a certificate for a name or address, to try TLS with; return the paths of it and of its key.

    It is valid for 30 days and no browser trusts it. Raises GateError where openssl is missing or fails.
    """
    certificate, key = folder / "self-signed.pem", folder / "self-signed.key"
    folder.mkdir(parents=True, exist_ok=True)
    kind = "IP" if name.replace(".", "").isdecimal() or ":" in name else "DNS"
    try:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "30", "-subj", f"/CN={name}", "-addext", f"subjectAltName={kind}:{name}",
             "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise GateError("openssl is not installed, and makes the certificate: apt-get install openssl") from error
    except subprocess.CalledProcessError as error:
        raise GateError(f"openssl makes no certificate for {name!r}: {error.stderr.strip()}") from error
    key.chmod(0o600)
    return certificate, key
