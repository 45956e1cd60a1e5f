"""The gate: nginx in front of TorchServe, which alone listens beyond loopback. docs/operations.md describes it."""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import requests

from imagetrust.files import replace_bytes, replace_file
from server.gate_config import Behind, GateError, GateSettings, read_callers, render
from server.instance import bound_file

START_TIMEOUT = 10  # seconds
RELOAD_GRACE = 2.0
LOG_BYTES = 100_000_000  # of the access log, and of the one before it
ERROR_LOG_BYTES = 4_000_000
_MARKS = ("closing", "ending")  # files that nginx's workers look for
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
        self._error_log = self.folder / "logs" / "error.log"
        self._status = self.folder / "status"
        self._ready = self._status / "ready.json"
        self._connected: dict[str, float] = {}  # since when each connection's socket is known
        self._refused: tuple[dict[Path, str], str] = ({}, "")  # the last files that nginx did not take, and why

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
        own words, and what the function that says what is behind raises.
        """
        return bool(self._write(self._behind())[0])

    def _write(self, behind: Behind) -> tuple[set[str], Callable[[str], None]]:
        """Do as `write`; return the names of the files that differ, and what takes them back, with the reason."""
        self._make_folders()
        paths = {self.folder / name: text for name, text in render(self.settings, behind, self.folder).items()}
        before = {path: path.read_text() if path.exists() else None for path in paths}
        changed = {path.name for path, text in paths.items() if before[path] != text}

        def take_back(reason: str) -> None:
            for path, old in before.items():
                path.unlink(missing_ok=True) if old is None else _write_private(path, old)
            self._refused = paths, reason

        if not changed:
            return changed, take_back
        refused, why = self._refused
        if paths == refused:  # asking nginx each second would say the same
            raise GateError(why)
        for path, text in paths.items():
            _write_private(path, text)
        try:
            self.check()
        except GateError as error:
            take_back(str(error))
            raise
        return changed, take_back

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
        self._refused = ({}, "")
        self.write()
        for mark in _MARKS:
            (self._status / mark).unlink(missing_ok=True)
        done = subprocess.run(
            [nginx(), *self._arguments()], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            start_new_session=True,
        )  # fmt: skip
        if done.returncode:
            raise GateError(f"nginx does not start:\n{done.stderr.strip()}")
        if not _wait_until(lambda: (master := self.process) and master.children(), START_TIMEOUT):
            raise GateError(f"nginx does not start; its log: {self._error_log}")

    def reload(self, grace: float | None = None) -> bool:
        """Take changed settings, tokens and certificates into use; requests under way end as they began.

        grace: seconds before, RELOAD_GRACE by default, in which answers end their connections, so that no caller sends
        into a closing one. There are none where TorchServe has another token: until the reload nobody is answered.
        Return whether anything had changed. Raises GateError as `write`, and where nginx does not run or goes on with
        its old files.
        """
        process = self.process
        if not process:
            raise GateError(f"no gate runs in {self.folder}")
        behind = self._behind()
        changed, take_back = self._write(behind)
        if not changed:
            return False
        grace = RELOAD_GRACE if grace is None else grace
        if "behind.conf" in changed and not behind.are_gates:
            grace = 0
        with self._marked("closing"):
            time.sleep(grace)
            if not _renew_workers(process):
                take_back(f"nginx goes on with its old files; its log says why: {self._error_log}")
                raise GateError(self._refused[1])
            time.sleep(0.2)  # the old workers stop listening only now
        return True

    def stop(self, timeout: float | None = None) -> bool:
        """Refuse what comes with 503 and Retry-After, end what is under way, and stop; return whether it ran.

        timeout: seconds for what is under way, by default `answer_seconds`; then it stops all the same.
        """
        self.set_ready(False)
        process = self.process
        if not process:
            return False
        deadline = time.monotonic() + (self.settings.answer_seconds if timeout is None else timeout)
        with self._marked("ending"):
            if self._callers_are_connected(process):
                time.sleep(min(RELOAD_GRACE, max(0.0, deadline - time.monotonic())))
                before = process.children()
                if _renew_workers(process):  # the new ones refuse while the old ones end
                    _wait_until(lambda: not any(map(_is_alive, before)), deadline - time.monotonic())
            family = [process]
            with contextlib.suppress(psutil.NoSuchProcess):
                family += process.children(recursive=True)
                process.send_signal(signal.SIGQUIT)
            if not _wait_until(lambda: not any(map(_is_alive, family)), max(1.0, deadline - time.monotonic())):
                for straggler in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        straggler.kill()
                _wait_until(lambda: not any(map(_is_alive, family)), 5)
        (self.folder / "nginx.pid").unlink(missing_ok=True)
        return True

    @contextlib.contextmanager
    def _marked(self, mark: str) -> Iterator[None]:
        """Let nginx's workers see a mark while the block runs."""
        path = self._status / mark
        with contextlib.suppress(OSError):  # a full disk keeps nobody from stopping it
            path.touch()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)

    @property
    def _ports(self) -> set[int]:
        return {int(address.rpartition(":")[2]) for address in (self.settings.rest, self.settings.grpc)}

    def _callers_are_connected(self, process: psutil.Process) -> bool:
        try:
            return any(
                one.status == psutil.CONN_ESTABLISHED and one.laddr.port in self._ports
                for worker in process.children()
                for one in worker.net_connections("tcp")
            )
        except psutil.Error:
            return True

    def end_dripping(self) -> int:
        """End connections of twice the age at which an answer ends them; return how many there were.

        nginx bounds the time between two parts of a body, and not that of the whole. Here its workers are replaced, and
        those that were have `answer_seconds` for what they have begun.
        """
        process, now = self.process, time.monotonic()
        if not process:
            return 0
        seen: dict[str, float] = {}
        for worker in process.children():
            with contextlib.suppress(psutil.Error):
                if "shutting down" in " ".join(worker.cmdline()):
                    continue
                for one in worker.net_connections("tcp"):
                    if one.status == psutil.CONN_ESTABLISHED and one.laddr.port in self._ports:
                        # Its addresses do not name it: a caller's next connection may have the port of its last.
                        with contextlib.suppress(OSError):
                            socket = str(Path(f"/proc/{worker.pid}/fd/{one.fd}").readlink())  # socket:[INODE]
                            seen[socket] = self._connected.get(socket, now)
        self._connected = seen
        old = sum(now - since > 2 * self.settings.connection_seconds for since in seen.values())
        if old:
            self._connected = {}
            with self._marked("closing"):
                time.sleep(RELOAD_GRACE)
                _renew_workers(process)
                time.sleep(0.2)  # the old workers stop listening only now
        return old

    def set_ready(self, ready: bool) -> None:
        """Say what /health/ready answers: 200 where `ready`, else 503."""
        if not ready:
            self._ready.unlink(missing_ok=True)
        elif not self._ready.exists():
            self._make_folders()
            replace_bytes(self._ready, b'{"status":"ready"}', 0o644)

    def bound_logs(self, limit: int = LOG_BYTES) -> None:
        """Begin a new access log where it holds more than `limit` bytes; the one before it is kept, older ones not.

        The log of errors is cut to its last half.
        """
        bound_file(self._error_log, ERROR_LOG_BYTES)
        process = self.process
        if process and self.access_log.exists() and self.access_log.stat().st_size > limit:
            self.access_log.replace(self.access_log.with_suffix(".log.1"))
            process.send_signal(signal.SIGUSR1)

    def _arguments(self) -> list[str]:
        return ["-p", str(self.folder), "-c", str(self._config), "-e", str(self._error_log)]

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


def _renew_workers(master: psutil.Process) -> bool:
    """Let nginx read its files anew; return whether it has started workers with them."""
    before = set(master.children())
    master.send_signal(signal.SIGHUP)
    return _wait_until(lambda: set(master.children()) - before, START_TIMEOUT)


def _write_private(path: Path, text: str) -> None:
    replace_bytes(path, text.encode(), 0o600)


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

    def write(temporary: Path) -> None:
        temporary.write_text("\n".join([*lines, f"{name} {token}"]) + "\n")
        read_callers(temporary)

    replace_file(callers, write, 0o600)
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
