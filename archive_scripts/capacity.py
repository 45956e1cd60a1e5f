"""The rule by which a machine's cores and GPUs become workers, threads and batches. docs/operations.md explains it."""

import os
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """What serves: cores that this process may use, and GPUs."""

    cores: int
    gpus: int


def this_machine() -> Machine:
    """The cores that this process is allowed and the GPUs that nvidia-smi lists, as TorchServe counts them."""
    return Machine(len(os.sched_getaffinity(0)), _gpus())


def _gpus() -> int:
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return len(listed.stdout.split()) if listed.returncode == 0 else 0


# Of each endpoint: its share of the cores. All may be asked at once; what idles costs memory alone.
CORE_SHARES = {"authenticity": 1.0, "generator_type": 0.5, "explanation": 0.5}


def settings(endpoint: str, machine: Machine) -> dict[str, int]:
    """What `auto` stands for in archive_scripts/endpoints.yaml, by the setting's name.

    On processors a worker has one thread, since workers do not wait for each other as threads do, and there are as many
    workers as the endpoint's share of the cores. A batch hardly makes inference cheaper there; two requests a batch
    save half of the messages under full load, more would only wait for each other. On a GPU one worker feeds it, its
    batches are large, and the first request of one waits a little for others.
    """
    if machine.gpus:
        workers, batch, delay = machine.gpus, 32, 5
    else:
        workers, batch, delay = max(1, int(machine.cores * CORE_SHARES[endpoint])), 2, 1
    return {
        "minWorkers": workers,
        "maxWorkers": max(4, 2 * workers),
        "batchSize": batch,
        "maxBatchDelay": delay,
        "threads": max(1, machine.cores // (3 * machine.gpus)) if machine.gpus else 1,
    }
