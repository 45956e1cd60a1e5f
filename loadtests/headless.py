"""Starts Locust without its web UI."""

import os
import subprocess
import sys
from pathlib import Path

from server.instance import TorchServe
from server.settings import ROOT


class LocustError(Exception):
    """Locust itself failed; the message carries the end of its log."""


def run_locust(locustfile: str, server: TorchServe, prefix: Path, arguments: list[str]) -> None:
    """Lets the users of `loadtests/<locustfile>` loose on a server and returns when they have gone.

    prefix: of the files written: Locust's PREFIX.html and PREFIX_*.csv, PREFIX_requests.csv and PREFIX.log.
    Failed requests are in those; they raise nothing. Raises LocustError where Locust did not do its work.
    """
    command = [
        sys.executable, "-m", "locust", "-f", str(ROOT / "loadtests" / locustfile), "--headless", "--only-summary",
        "--host", server.addresses.inference, "--grpc-host", server.addresses.grpc_inference,
        "--stop-timeout", "60", "--exit-code-on-error", "0",
        "--html", f"{prefix}.html", "--csv", str(prefix), "--request-log", f"{prefix}_requests.csv", *arguments,
    ]  # fmt: skip
    python_path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {"IMAGETRUST_TOKEN": server.token("inference"), "PYTHONPATH": python_path}
    log = Path(f"{prefix}.log")
    with log.open("wb") as output:
        done = subprocess.run(command, cwd=prefix.parent, env=environment, stdout=output, stderr=output)
    if done.returncode:
        raise LocustError(f"Locust ended with status {done.returncode}.\n{log.read_text(errors='replace')[-3000:]}")
