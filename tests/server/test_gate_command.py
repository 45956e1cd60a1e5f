"""`python -m server gate` from its first token to its stop."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

import server.__main__ as command_line
from clients.rest import ask
from server.gate import Gate, add_token, torchserve
from server.gate_config import read_settings
from server.instance import free_ports
from tests.procedural import encoded
from tests.server.test_gate import needs_nginx, open_for_workers


@pytest.fixture
def settings(server, folder):
    """A file of settings for a gate before the running server, whose folder the command line is given."""
    open_for_workers(server.folder)
    rest, grpc = free_ports(2)
    path = folder / "gate.toml"
    path.write_text(f'rest = "127.0.0.1:{rest}"\ngrpc = "127.0.0.1:{grpc}"\ncallers = "callers"\n')
    return path


@pytest.fixture
def run(server, settings, monkeypatch, capsys):
    """Run a command of the gate; its output, or the message that it ends with."""
    monkeypatch.setattr(command_line, "FOLDER", server.folder)

    def command(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["server", "gate", "--settings", str(settings), *arguments])
        try:
            command_line.main()
        except SystemExit as end:
            return str(end.code)
        return capsys.readouterr().out

    return command


@needs_nginx
def test_by_hand(server, settings, run, photo):
    assert "gate token NAME" in run("write")
    token = run("token", "alice").strip()
    assert "have changed" in run("write") and "as they were" in run("write")
    assert run("check") == "nginx accepts the files.\n"
    assert "no gate runs" in run("reload")
    gate = Gate(server.folder / "gate", read_settings(settings), lambda: torchserve(server))
    gate.start()
    try:
        data = encoded(photo, "PNG")
        assert ask(f"http://{gate.settings.rest}", "authenticity", data, token)[0] == 200
        assert run("reload") == "Nothing has changed.\n"
        second = run("token", "bob").strip()
        assert ask(f"http://{gate.settings.rest}", "authenticity", data, second)[0] == 401
        assert run("reload") == "Taken into use.\n"
        assert ask(f"http://{gate.settings.rest}", "authenticity", data, second)[0] == 200
    finally:
        assert run("stop") == "The gate has stopped.\n"
    assert run("stop") == "No gate runs.\n"


@needs_nginx
def test_kept_in_the_foreground(server, settings, run, photo):
    """It is started again where it dies, takes new tokens by itself, says when it is ready, and ends on a signal."""
    token = run("token", "alice").strip()
    gate = Gate(server.folder / "gate", read_settings(settings), lambda: None)
    url, data = f"http://{gate.settings.rest}", encoded(photo, "PNG")

    def wait_for(true) -> None:
        deadline = time.monotonic() + 30
        while not true():
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def is_ready() -> bool:
        try:
            return requests.get(f"{url}/health/ready", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    command = [
        sys.executable,
        "-m",
        "server",
        "--folder",
        str(server.folder),
        "gate",
        "--settings",
        str(settings),
        "run",
    ]
    with subprocess.Popen(command, cwd=command_line.ROOT, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            wait_for(is_ready)
            assert ask(url, "authenticity", data, token)[0] == 200
            before = gate.process
            for process in (before, *before.children()):
                process.kill()
            wait_for(lambda: gate.process not in (None, before) and is_ready())
            second = add_token(Path(gate.settings.callers), "bob")
            wait_for(lambda: ask(url, "authenticity", data, second)[0] == 200)
        finally:
            keeper.send_signal(signal.SIGTERM)
            output = keeper.communicate(timeout=60)[0]
    assert "The gate runs" in output and "Ready." in output
    assert not gate.is_running()


def test_a_certificate_to_try_with(run, settings):
    lines = run("certificate", "localhost").splitlines()
    settings.write_text('rest = "0.0.0.0:8443"\ngrpc = "0.0.0.0:7443"\n' + "\n".join(lines))
    assert read_settings(settings).certificate.endswith("self-signed.pem")
