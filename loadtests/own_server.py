"""A server for one run, beside any that runs already; nothing of it is left afterwards but its logs."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from server.instance import ServerError, TorchServe, free_addresses
from server.settings import ROOT


@contextmanager
def own_server(logs: Path, workers: list[str]) -> Iterator[TorchServe]:
    """Builds the archives, starts a server on free ports, and stops it when the block ends.

    logs: folder that gets the server's logs. workers: "ENDPOINT=N", as archive_scripts.build takes them.
    Raises ServerError where the archives cannot be built or the server does not start.
    """
    # A short path in the system's folder: the workers' sockets lie in it, and theirs may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        store = Path(folder) / "model_store"
        chosen = [part for worker in workers for part in ("--workers", worker)]
        # In a process of its own, because it needs torch, which would stay in this one's memory.
        built = subprocess.run(
            [sys.executable, "-m", "archive_scripts.build", "--model-store", str(store), *chosen],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        if built.returncode:
            raise ServerError(f"the archives cannot be built.\n{built.stdout}{built.stderr}")
        server = TorchServe(Path(folder) / "server")
        try:
            server.start(changes={"model_store": str(store)} | free_addresses())
            yield server
        finally:
            server.stop()
            shutil.copytree(server.logs, logs, dirs_exist_ok=True)
