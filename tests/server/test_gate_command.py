"""`python -m server gate`: tokens, certificates, settings, and the gate before several machines."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

import server.__main__ as command_line
from server import gate as gate_module
from server.gate import Gate, add_token
from server.gate_command import FIRST_CALLER, gate_lines, kept_gate
from server.gate_config import GateError, read_callers, read_settings
from server.instance import TorchServe, free_ports
from server.settings import CONFIG, instance_settings
from tests.server.test_gate import TOKEN, behind, needs_nginx, open_for_workers, post

__all__ = ["behind"]  # a fixture


@pytest.fixture
def settings(folder) -> Path:
    rest, grpc = free_ports(2)
    path = folder / "gate.toml"
    path.write_text(f'rest = "127.0.0.1:{rest}"\ngrpc = "127.0.0.1:{grpc}"\ncallers = "callers"\n')
    return path


@pytest.fixture
def run(folder, settings, monkeypatch, capsys):
    """Run a command of the gate; its output, or the message that it ends with."""
    open_for_workers(folder)

    def command(*arguments: str) -> str:
        monkeypatch.setattr(
            sys, "argv", ["server", "--folder", str(folder), "gate", "--settings", str(settings), *arguments]
        )
        try:
            command_line.main()
        except SystemExit as end:
            return str(end.code)
        return capsys.readouterr().out

    return command


@needs_nginx
def test_settings_are_checked_and_not_taken_into_use(folder, settings, run):
    assert "gate token NAME" in run("check")
    token = run("token", "alice").strip()
    assert read_callers(folder / "callers") == [("alice", token)]
    assert run("check") == "nginx accepts the settings.\n"
    settings.write_text(
        settings.read_text().replace("callers =", "certificate = 'callers'\ncertificate_key = 'callers'\ncallers =")
    )
    assert "nginx does not accept" in run("check")
    assert not list((folder / "gate").iterdir())


@needs_nginx
def test_status_says_who_may_ask_and_what_is_missing(folder, settings, run):
    assert "The gate does not run." in run("status") and "Nobody may ask" in run("status")
    run("token", "alice"), run("token", "bob"), run("token", "bob")
    assert "Who may ask: alice, bob, with the tokens in" in run("status")
    assert f"name a certificate and addresses in {settings}" in run("status")


def test_without_nginx_or_without_a_gate_it_is_said(folder, settings, monkeypatch):
    assert "--no-gate" in gate_lines(folder, None)[0]
    monkeypatch.setattr(gate_module.shutil, "which", lambda *_, **__: None)
    assert gate_lines(folder, settings)[0].startswith("No gate runs: nginx is not installed (apt-get install nginx")


@needs_nginx
@pytest.mark.parametrize("named", [False, True])
def test_a_first_caller_gets_a_token_where_no_file_of_them_is_named(folder, settings, named):
    """A file that somebody named and that is not there is a mistake."""
    if not named:
        settings.write_text("")
    server = TorchServe(folder)
    for _ in range(2):
        keeper = kept_gate(server, settings, instance_settings(CONFIG, {}))
        if named:
            with pytest.raises(GateError, match="no tokens in"):
                read_callers(Path(keeper.gate.settings.callers))
        else:
            assert [name for name, _ in read_callers(folder / "callers")] == [FIRST_CALLER]


def test_one_machine_has_no_gate_alone(run):
    assert "python -m server run" in run("run")


@needs_nginx
def test_before_several_machines_in_the_foreground(folder, settings, behind):
    """It is started again where it dies, takes new tokens by itself, says when it is ready, and ends on a signal."""
    open_for_workers(folder)
    (folder / "token").write_text(f"front {TOKEN}\n")
    (folder / "token").chmod(0o600)
    address = f"127.0.0.1:{behind.server_port}"
    settings.write_text(
        f'{settings.read_text()}[behind]\nrest = ["{address}"]\ngrpc = ["{address}"]\ntoken = "token"\n'
    )
    token = add_token(folder / "callers", "alice")
    gate = Gate(folder / "gate", read_settings(settings), lambda: None)
    url = f"http://{gate.settings.rest}"

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
        sys.executable, "-m", "server", "--folder", str(folder), "gate", "--settings", str(settings), "run",
    ]  # fmt: skip
    with subprocess.Popen(command, cwd=command_line.ROOT, stdout=subprocess.PIPE, text=True) as keeper:
        try:
            wait_for(is_ready)
            assert post(gate, token=token, data=b"p").status_code == 200
            before = gate.process
            for process in (before, *before.children()):
                process.kill()
            wait_for(lambda: gate.process not in (None, before) and is_ready())
            second = add_token(folder / "callers", "bob")
            wait_for(lambda: post(gate, token=second, data=b"p").status_code == 200)
        finally:
            keeper.send_signal(signal.SIGTERM)
            output = keeper.communicate(timeout=60)[0]
    assert "The gate runs" in output and "Ready." in output
    assert not gate.is_running()


def test_a_certificate_to_try_with(run, settings):
    lines = run("certificate", "localhost").splitlines()
    settings.write_text('rest = "0.0.0.0:8443"\ngrpc = "0.0.0.0:7443"\n' + "\n".join(lines))
    assert read_settings(settings).certificate.endswith("self-signed.pem")
