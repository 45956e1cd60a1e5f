"""The gate is started again where it dies, takes changes into use by itself, and runs on where they cannot be used."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from server.desired import Canary, Desired, Served
from server.gate_config import GateError, read_settings
from server.gate_keeper import Keeper, own_server
from server.instance import ServerError, free_ports
from server.settings import Addresses
from tests.server.test_gate import OTHER, SECOND, TOKEN, behind, callers, needs_nginx, open_for_workers, post

__all__ = ["behind", "callers"]  # fixtures


@pytest.fixture
def server(folder, behind):
    """A server that runs, with two versions of one model, as far as the gate sees it."""
    served = SimpleNamespace(folder=folder / "server", now="behindtoken")

    def token(kind: str) -> str:
        if served.now is None:
            raise ServerError("no token")
        return served.now

    served.token = token
    desired = Desired([], {})
    for version in ("1", "2"):
        desired.add("authenticity", version, Served(f"a-{version}.mar", "c"), ())
    served.folder.mkdir()
    desired.write(served.folder)
    return served


@pytest.fixture
def keeper(folder, callers, server, behind):
    rest, grpc = free_ports(2)
    source = folder / "gate.toml"
    source.write_text(f'rest = "127.0.0.1:{rest}"\ngrpc = "127.0.0.1:{grpc}"\ncallers = "{callers}"\n')
    address = f"127.0.0.1:{behind.server_port}"
    listening = Addresses(f"http://{address}", "", "", address, "")
    made = Keeper(
        open_for_workers(folder) / "gate", lambda: read_settings(source), own_server(server, listening), source
    )
    yield made
    made.gate.stop(5)


@needs_nginx
def test_it_is_started_and_started_again_later_and_later(keeper):
    assert keeper.look() == [] and keeper.gate.is_running()
    for _ in range(2):
        for process in (keeper.gate.process, *keeper.gate.process.children()):
            process.kill()
        while keeper.gate.is_running():
            time.sleep(0.01)
        first = keeper.look()
        assert first and not keeper.gate.is_running(), "the second start waits"
        deadline = time.monotonic() + 10
        while keeper.look() or not keeper.gate.is_running():
            assert time.monotonic() < deadline
            time.sleep(0.1)


@needs_nginx
def test_what_has_changed_is_taken_into_use(keeper, callers, server, behind, monkeypatch):
    monkeypatch.setattr("server.gate.RELOAD_GRACE", 0.1)
    keeper.look()
    assert post(keeper.gate, data=b"p").status_code == 200
    callers.write_text(f"alice {SECOND}\n")
    keeper.look()
    assert post(keeper.gate, token=SECOND, data=b"p").status_code == 200
    assert post(keeper.gate, token=TOKEN, data=b"p").status_code == 401
    assert post(keeper.gate, token=OTHER, data=b"p").status_code == 401

    desired = Desired.read(server.folder)
    desired.models["authenticity"].canary = Canary("2", 0.5)
    desired.write(server.folder)
    keeper.look()
    assert keeper.canaries == {"authenticity": ("2", 50.0)}
    behind.seen.clear()
    for _ in range(40):
        post(keeper.gate, token=SECOND, data=b"p")
    assert {path for path, _, _ in behind.seen} == {"/predictions/authenticity", "/predictions/authenticity/2"}

    keeper.source.write_text(keeper.source.read_text() + "body_bytes = 1000\n")
    keeper.look()
    assert post(keeper.gate, token=SECOND, data=bytes(2000)).status_code == 413


@needs_nginx
def test_another_token_behind_is_taken_at_once(keeper, server, behind):
    """Until then nobody is answered, so that a grace for connections would only make that longer."""
    keeper.look()
    server.now = None
    assert keeper.look() == [], "while Java is down the gate runs on"
    server.now = "thenexttoken"
    begin = time.monotonic()
    assert keeper.look() == []
    assert time.monotonic() - begin < 2
    post(keeper.gate, data=b"p")
    assert behind.seen[-1][1]["Authorization"] == "Bearer thenexttoken"


@needs_nginx
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda keeper, callers: callers.write_text("alice short\n"), "is not `NAME TOKEN`"),
        (lambda keeper, callers: callers.unlink(), "no tokens in"),
        (lambda keeper, callers: callers.chmod(0o644), "chmod 600"),
        (lambda keeper, callers: keeper.source.write_text("rest = 5\n"), "must be str"),
        (lambda keeper, callers: keeper.source.write_text('rest = "127.0.0.1:99999"\n' + settings_but(keeper, "rest")),
         "nginx does not accept"),
        (lambda keeper, callers: add(keeper, f'certificate = "{callers}"\ncertificate_key = "{callers}"\n'),
         "nginx does not accept"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_and_the_gate_runs_on(keeper, callers, spoil, says):
    keeper.look()
    before, address = keeper.gate.process, keeper.gate.settings.rest
    saved = {path: path.read_text() for path in (callers, keeper.source)}
    spoil(keeper, callers)
    for _ in range(2):
        (amiss,) = keeper.look()
        assert says in amiss and TOKEN not in amiss
    assert keeper.gate.process == before
    assert requests.post(f"http://{address}/predictions/authenticity", data=b"p", timeout=9,
                         headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "image/png"}).ok  # fmt: skip
    for path, text in saved.items():
        path.write_text(text)
        path.chmod(0o600)
    assert keeper.look() == []


@needs_nginx
def test_a_port_that_is_taken_leaves_the_old_one(keeper, behind, monkeypatch):
    """nginx's own check does not notice it."""
    monkeypatch.setattr("server.gate.START_TIMEOUT", 4)
    keeper.look()
    saved = keeper.source.read_text()
    keeper.source.write_text(f'rest = "127.0.0.1:{behind.server_port}"\n' + settings_but(keeper, "rest"))
    assert "goes on with its old files" in keeper.look()[0]
    assert post(keeper.gate, data=b"p").status_code == 200
    begin = time.monotonic()
    assert "goes on with its old files" in keeper.look()[0]
    assert time.monotonic() - begin < 1, "it is not tried each second"
    keeper.source.write_text(saved)
    assert keeper.look() == []


def settings_but(keeper: Keeper, name: str) -> str:
    return "\n".join(line for line in keeper.source.read_text().splitlines() if not line.startswith(name)) + "\n"


def add(keeper: Keeper, text: str) -> None:
    keeper.source.write_text(keeper.source.read_text() + text)


def test_settings_at_fault_keep_it_from_being_made(tmp_path):
    (tmp_path / "gate.toml").write_text("nonsense = 1\n")
    with pytest.raises(GateError, match="nonsense"):
        Keeper(tmp_path, lambda: read_settings(tmp_path / "gate.toml"), lambda: None, Path("gate.toml"))
