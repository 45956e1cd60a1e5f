"""Starting, failing to start, and stopping: nothing stays behind."""

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import psutil
import pytest
import requests

from archive_scripts.build import ENDPOINTS, build
from clients.rest import ask
from server.instance import ServerError, TorchServe, find_in_rest, free_ports
from tests.conftest import start_server
from tests.procedural import encoded
from tests.releases import archive_of

ARCHIVE = archive_of("authenticity")


def test_stop_leaves_no_process_and_no_token(archives, folder):
    store = folder / "store"
    store.mkdir()
    shutil.copy(archives / ARCHIVE, store)
    server = start_server(folder, store, load_models=ARCHIVE)
    family = [server.process, *server.process.children(recursive=True)]
    assert len(family) >= 2
    with pytest.raises(ServerError, match="already running"):
        server.start()
    assert server.stop()
    assert not [process for process in family if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]
    assert not (server.folder / "key_file.json").exists()
    assert not server.stop()
    assert TorchServe(server.folder).process is None


def test_a_taken_port_is_named(archives, folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=str(port)):
            start_server(folder, archives, inference_address=f"http://127.0.0.1:{port}")
    assert TorchServe(folder).process is None


def test_an_archive_that_does_not_load_is_reported(archives, folder):
    """The message carries the log; the server does not stay half-started."""
    store = folder / "store"
    store.mkdir()
    (store / ARCHIVE).write_bytes(b"not an archive")
    with pytest.raises(ServerError, match=r"(?s)worker died while loading.*model_log\.log"):
        start_server(folder, store, load_models=ARCHIVE)
    assert TorchServe(folder).process is None


def test_an_archive_that_is_not_there_is_reported(folder):
    store = folder / "store"
    store.mkdir()
    with pytest.raises(ServerError, match="authenticity"):
        start_server(folder, store, load_models=ARCHIVE)
    assert TorchServe(folder).process is None


def test_a_worker_is_heard_out(tmp_path):
    """What it says as it dies comes line by line."""
    server = TorchServe(tmp_path)
    server.logs.mkdir()
    with (server.logs / "model_log.log").open("w", buffering=1) as log:
        log.write("Backend worker process died\n")

        def go_on():
            for line in ("Traceback", "  File", "ValueError: SHA-256"):
                time.sleep(0.1)
                log.write(f"{line}\n")

        writing = threading.Thread(target=go_on)
        writing.start()
        said = server.last_words()
        writing.join()
    assert "SHA-256" in said


def test_weights_that_do_not_load_are_reported(archives, folder):
    """A worker that dies while loading ends the start with its own words, long before the time-out."""
    store = folder / "store"
    store.mkdir()
    with (
        zipfile.ZipFile(archives / ARCHIVE) as good,
        zipfile.ZipFile(store / ARCHIVE, "w") as bad,
    ):
        for name in good.namelist():
            bad.writestr(name, b"broken" if name.endswith(".safetensors") else good.read(name))
    with pytest.raises(ServerError, match="(?s)worker died.*SHA-256"):
        start_server(folder, store, load_models=ARCHIVE)
    assert TorchServe(folder).process is None


@pytest.fixture
def impostor(tmp_path):
    """Run a process that looks like TorchServe with the settings of a folder; it takes the folder's path."""
    with contextlib.ExitStack() as stack:

        def run(config: Path) -> subprocess.Popen:
            command = [sys.executable, "-c", "input()", "org.pytorch.serve.ModelServer", "-f", str(config)]
            process = stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE))
            stack.callback(process.kill)
            return process

        yield run


def pid_file(folder) -> Path:
    (folder / "tmp").mkdir()
    return folder / "tmp" / ".model_server.pid"


def test_a_reused_process_number_is_not_ours(folder, impostor, tmp_path):
    pid_file(folder).write_text(str(impostor(tmp_path / "config.properties").pid))
    assert TorchServe(folder).process is None
    assert not TorchServe(folder).stop()


def test_a_server_that_ends_while_it_is_stopped(folder, impostor, monkeypatch):
    running = impostor(folder.resolve() / "config.properties")
    pid_file(folder).write_text(str(running.pid))

    def ended(process, recursive):
        running.kill()
        running.wait()
        raise psutil.NoSuchProcess(running.pid)

    monkeypatch.setattr(psutil.Process, "children", ended)
    assert TorchServe(folder).stop()


def test_a_launcher_that_fails_is_reported(archives, folder, monkeypatch):
    monkeypatch.setattr("server.instance.LOG_CONFIG", folder / "missing.xml")
    with pytest.raises(ServerError, match=r"(?s)could not be started.*missing\.xml"):
        start_server(folder, archives)


def test_a_log_is_read_once(tmp_path):
    log = tmp_path / "log"
    assert find_in_rest(log, b"died", 0) == (0, False)
    log.write_bytes(b"it died before\nnow it ")
    assert find_in_rest(log, b"died", 15) == (15, False)
    log.write_bytes(log.read_bytes() + b"died\n")
    assert find_in_rest(log, b"died", 15) == (27, True)
    assert find_in_rest(log, b"died", 27) == (27, False)
    log.write_bytes(b"died again\n")  # rotated
    assert find_in_rest(log, b"died", 27) == (11, True)


def test_free_ports_differ():
    assert len(set(free_ports(5))) == 5


def test_model_names(server):
    assert sorted(server.model_names()) == sorted(ENDPOINTS)


def test_gpu_assignment_changes_nothing_without_a_gpu(serving_folder, photo, folder):
    """An archive that names GPUs serves on the processor where TorchServe counts none."""
    store = folder / "store"
    build(serving_folder, "authenticity", store, {"deviceIds": [0, 1], "minWorkers": 1})
    server = start_server(folder, store, load_models=ARCHIVE, number_of_gpu="0")
    try:
        status, answer = ask(
            server.addresses.inference, "authenticity", encoded(photo, "PNG"), server.token("inference")
        )
        described = requests.get(
            f"{server.addresses.management}/models/authenticity", headers=server.headers("management"), timeout=10
        ).json()
    finally:
        server.stop()
    assert status == 200 and "verdict" in answer
    assert [worker["gpu"] for worker in described[0]["workers"]] == [False]


def test_a_path_too_long_for_sockets_is_named(archives, folder):
    with pytest.raises(ServerError, match="too long"):
        start_server(folder / ("long" * 25), archives)
