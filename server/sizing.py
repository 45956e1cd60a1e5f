"""The rule by which a machine's cores and GPUs become workers, threads and batches. docs/operations.md explains it."""

import contextlib
import json
import math
import os
import subprocess
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Machine:
    """What serves: cores that this process may use, whole ones, and GPUs."""

    cores: int
    gpus: int

    @property
    def threads(self) -> int:
        """The threads of one worker: a share of the cores where a GPU computes, one where the workers do."""
        return max(1, self.cores // (3 * self.gpus)) if self.gpus else 1

    def __str__(self) -> str:
        """Say what the rule goes by."""
        return f"{self.cores} core(s) and {self.gpus or 'no'} GPU(s), {self.threads} thread(s) a worker"


def this_machine(settings: Mapping[str, str] | None = None) -> Machine:
    """Count the cores that this process is allowed and the GPUs that TorchServe uses with these settings."""
    bound = (settings or {}).get("number_of_gpu")
    gpus = _listed_gpus()
    cores = int(min(len(os.sched_getaffinity(0)), cpu_quota()))
    return Machine(max(1, cores), gpus if bound is None else min(gpus, int(bound)))


def cpu_quota(groups: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float:
    """Return how many cores' time this process's control groups allow, as a container's limit; infinite without one.

    groups: where they are mounted. own: names those of this process (man 7 cgroups). In a container that sees its own
    group alone, the name leads nowhere, and the top of what is mounted is that group.
    """
    quotas = [math.inf]
    for line in own.read_text().splitlines() if own.exists() else ():
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = groups / controllers  # of version 2 the empty name
        lowest = top / name.lstrip("/")
        for folder in (lowest, *lowest.parents):
            if folder.is_relative_to(top):
                quotas.append(_quota_of(folder))
    return min(quotas)


def _quota_of(group: Path) -> float:
    """Return the cores' time that one control group allows, by the files of version 2 or 1."""
    for names in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        with contextlib.suppress(OSError):
            limit, period = " ".join((group / name).read_text() for name in names).split()
            return math.inf if limit in ("max", "-1") else int(limit) / int(period)
    return math.inf


def _listed_gpus() -> int:
    # TorchServe counts with nvidia-smi too.
    try:
        listed = subprocess.run(
            ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return len(listed.stdout.split()) if listed.returncode == 0 else 0


# Of each endpoint: its share of the cores. All may be asked at once; what idles costs memory alone.
CORE_SHARES = {"authenticity": 1.0, "generator_type": 0.5, "explanation": 0.5}
# On a GPU. Each image of an explanation's batch may wait 3 seconds for a host that keeps its manifest (manifest_hosts),
# and the batch must end within the 60 seconds of its responseTimeout.
GPU_BATCHES = {"authenticity": 32, "generator_type": 32, "explanation": 16}
LEAST_SHARE, LEAST_BATCH = min(CORE_SHARES.values()), min(GPU_BATCHES.values())  # of a model that is none of ours


def size(endpoint: str, machine: Machine, workers: int | None = None, versions: int = 1) -> dict[str, int]:
    """Choose workers, batch size and delay of an endpoint, by TorchServe's names.

    workers: their number where the rule's is not wanted. versions: of the endpoint, that share its workers.
    On processors a worker has one thread, since workers do not wait for each other as threads do, and there are as many
    workers as the endpoint's share of the cores. A batch hardly makes inference cheaper there; two requests a batch
    save half of the messages under full load, more would only wait for each other. On a GPU one worker feeds it, its
    batches are large, and the first request of one waits a little for others.
    """
    share = machine.gpus or max(1, int(machine.cores * CORE_SHARES.get(endpoint, LEAST_SHARE)))
    workers = workers or max(1, share // versions)
    batch, delay = (GPU_BATCHES.get(endpoint, LEAST_BATCH), 5) if machine.gpus else (2, 1)
    return {
        "minWorkers": workers,
        "maxWorkers": max(4, 2 * workers),
        "batchSize": batch,
        "maxBatchDelay": delay,
    }


def size_archive(
    endpoint: str, fixed: Mapping[str, Any], machine: Machine, workers: int | None = None, versions: int = 1
) -> dict[str, int]:
    """Do as `size` for an archive, whose own settings `fixed` win, and which may name the GPUs that it takes."""
    gpus = min(machine.gpus, len(fixed.get("deviceIds", range(machine.gpus))))
    chosen = size(endpoint, replace(machine, gpus=gpus), workers, versions)
    # What an archive fixes, TorchServe takes from there.
    return chosen | {key: fixed[key] for key in chosen if key in fixed}


@dataclass(frozen=True)
class Packed:
    """What an archive says of itself. fixed: TorchServe's settings in it. name: that it is served under."""

    name: str
    model: str
    version: str
    fixed: Mapping[str, Any]


def read_packed(path: Path, alias: str | None = None) -> Packed | None:
    """Read the description of an archive, packed or unpacked.

    None for one that cannot be read, which is left to TorchServe to report.
    """
    try:
        with contextlib.nullcontext(path) if path.is_dir() else zipfile.ZipFile(path) as opened:
            root = opened if isinstance(opened, Path) else zipfile.Path(opened)
            model = json.loads((root / "MAR-INF" / "MANIFEST.json").read_bytes())["model"]
            fixed = yaml.safe_load((root / model["configFile"]).read_bytes()) if "configFile" in model else {}
        return Packed(alias or model["modelName"], model["modelName"], model["modelVersion"], fixed)
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, yaml.YAMLError):
        return None


def size_models(archives: Mapping[Path, Packed], machine: Machine, workers: Mapping[str, int]) -> dict[str, Any]:
    """Return `models` of config.properties: a size for each of our endpoints' archives, by model name and version.

    archives: the default version of each model first. workers: numbers that replace the rule's, by the models' names.
    """
    versions = Counter(packed.name for packed in archives.values())
    sizes: dict[str, Any] = {}
    for path, packed in archives.items():
        if packed.model in CORE_SHARES:
            chosen = size_archive(packed.model, packed.fixed, machine, workers.get(packed.name), versions[packed.name])
            described = {"defaultVersion": packed.name not in sizes, "marName": path.name} | chosen
            sizes.setdefault(packed.name, {})[packed.version] = described
    return sizes
