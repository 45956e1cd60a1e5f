"""What several test modules share: pictures, released weights, one running server."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from archive_scripts.build import ENDPOINTS, build
from archive_scripts.prepare import prepare
from imagetrust.models.backbone import import_torchvision
from server.instance import TorchServe, free_addresses
from tests.procedural import make_data_set, scene
from tests.releases import RELEASE

# Beside a CPU build of torch nothing else may import torchvision first, as the grad-cam package would.
import_torchvision()
ROOT = Path(__file__).resolve().parent.parent
os.environ["NO_PROXY"] = "127.0.0.1"  # the servers are on this machine, whatever proxy is set
# matplotlib, and the toolbox of attacks, would write to the home, where two processes meet.
SETTINGS = ROOT / ".tests" / os.environ.get("PYTEST_XDIST_WORKER", "main")
os.environ["IMAGETRUST_KEYS"] = str(SETTINGS / "keys")  # archives of tests are signed with a key of their own
os.environ["MPLCONFIGDIR"], os.environ["ART_DATA_PATH"] = str(SETTINGS / "matplotlib"), str(SETTINGS / "art")

ARTIFACT_MINI = ROOT.parent / "shared" / "data" / "artifact_mini"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Tests share two cores with the servers that they start."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def photo() -> Image.Image:
    """A smooth 320 x 240 RGB picture with noise, the same every time."""
    rng = np.random.default_rng(7)
    pixels = scene(rng, 320, 240) + rng.normal(0, 6, (240, 320, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def data_root(tmp_path_factory) -> Path:
    """A procedural data set of 5 sources with 120 pictures each."""
    return make_data_set(tmp_path_factory.mktemp("data") / "procedural", per_source=120)


@pytest.fixture(scope="session")
def artifact_mini() -> Path:
    """The shared data set; what needs it is skipped, and says so, where it is not there."""
    if not (ARTIFACT_MINI / "sources.csv").exists():
        pytest.skip(f"needs the data set {ARTIFACT_MINI.name} in ../shared/data, which this checkout does not have")
    return ARTIFACT_MINI


@pytest.fixture(scope="session")
def serving_folder(tmp_path_factory) -> Path:
    """What an archive's folder holds of the release that is served."""
    folder = tmp_path_factory.mktemp("serving") / "model"
    prepare(RELEASE, folder)
    return folder


@pytest.fixture(scope="session")
def archives(serving_folder, tmp_path_factory) -> Path:
    """A model store with the three archives of the release that is served."""
    store = tmp_path_factory.mktemp("store") / "model_store"
    for endpoint in ENDPOINTS:
        build(serving_folder, endpoint, store)
    return store


@pytest.fixture
def folder(tmp_path_factory) -> Path:
    """A temporary folder with a short path: the sockets of a server in it must not exceed 107 bytes."""
    return tmp_path_factory.mktemp("s")


def start_server(folder: Path, store: Path, **changes: str) -> TorchServe:
    """A TorchServe on free ports with this model store. The caller stops it."""
    server = TorchServe(folder)
    server.start(changes={"model_store": str(store)} | free_addresses() | changes)
    return server


@pytest.fixture(scope="session")
def started(archives, tmp_path_factory):
    """The real TorchServe with the three archives, on free ports, in a temporary folder, and how many seconds it took
    from its start until all workers were ready.
    """
    folder = tmp_path_factory.mktemp("s")
    begin = time.monotonic()
    running = start_server(folder, archives)
    yield running, time.monotonic() - begin
    running.stop()
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def server(started) -> TorchServe:
    """The server of `started`."""
    return started[0]
