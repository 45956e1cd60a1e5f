"""Starting, failing to start, and stopping: nothing stays behind."""

import shutil
import socket
import zipfile

import psutil
import pytest

from archive_scripts.build import ENDPOINTS
from server.instance import ServerError, TorchServe, free_ports
from tests.conftest import start_server


def test_stop_leaves_no_process_and_no_token(archives, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    shutil.copy(archives / "authenticity.mar", store)
    server = start_server(tmp_path / "server", store, load_models="authenticity.mar")
    family = [server.process, *server.process.children(recursive=True)]
    assert len(family) >= 2
    with pytest.raises(ServerError, match="already running"):
        server.start()
    assert server.stop()
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not (server.folder / "key_file.json").exists()
    assert not server.stop()
    assert TorchServe(server.folder).process is None


def test_a_taken_port_is_named(archives, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=str(port)):
            start_server(tmp_path / "server", archives, inference_address=f"http://127.0.0.1:{port}")
    assert TorchServe(tmp_path / "server").process is None


def test_an_archive_that_does_not_load_is_reported(archives, tmp_path):
    """The message carries the log; the server does not stay half-started."""
    store = tmp_path / "store"
    store.mkdir()
    (store / "authenticity.mar").write_bytes(b"not an archive")
    with pytest.raises(ServerError, match=r"(?s)worker died while loading.*model_log\.log"):
        start_server(tmp_path / "server", store, load_models="authenticity.mar")
    assert TorchServe(tmp_path / "server").process is None


def test_an_archive_that_is_not_there_is_reported(tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    with pytest.raises(ServerError, match="authenticity"):
        start_server(tmp_path / "server", store, load_models="authenticity.mar")
    assert TorchServe(tmp_path / "server").process is None


def test_weights_that_do_not_load_are_reported(archives, tmp_path):
    """A worker that dies while loading ends the start with its own words, long before the time-out."""
    store = tmp_path / "store"
    store.mkdir()
    with zipfile.ZipFile(archives / "authenticity.mar") as good, zipfile.ZipFile(store / "authenticity.mar", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, b"broken" if name.endswith(".safetensors") else good.read(name))
    with pytest.raises(ServerError, match="(?s)worker died.*SHA-256"):
        start_server(tmp_path / "server", store, load_models="authenticity.mar")
    assert TorchServe(tmp_path / "server").process is None


def test_free_ports_differ():
    assert len(set(free_ports(5))) == 5


def test_model_names(server):
    assert server.model_names() == list(ENDPOINTS)
