"""Our handler as a TorchServe worker would hold it, without TorchServe: what it costs alone, or inside another server.

Only what TorchServe itself relies on is used (`initialize`, `handle` and the context), so this runs whatever the
handler computes with.
"""

import json
import math
import zipfile
from pathlib import Path

import torch
import yaml

from archive_scripts.build import build
from handlers.authenticity import Authenticity

ENDPOINT = "authenticity"


class WorkerContext:
    """The part of TorchServe's context that handlers use. A request that fails raises RuntimeError."""

    def __init__(self, folder: Path) -> None:
        """folder: an unpacked archive."""
        self.system_properties = {"model_dir": str(folder), "gpu_id": 0 if torch.cuda.is_available() else None}
        self.model_yaml_config = yaml.safe_load((folder / "model-config.yaml").read_text())

    def get_all_request_header(self, index: int) -> dict[str, str]:
        return {}

    def get_request_id(self, index: int = 0) -> str:
        return str(index)

    def set_response_status(self, code: int = 200, phrase: str = "", index: int = 0) -> None:
        if code != 200:
            raise RuntimeError(f"the handler answered item {index} with {code} {phrase}")

    def set_response_content_type(self, index: int, value: str) -> None:
        pass


class Backend:
    """The handler of `authenticity` over an unpacked archive, on the GPU where there is one."""

    def __init__(self, folder: Path) -> None:
        self.context = WorkerContext(folder)
        self.handler = Authenticity()
        self.handler.initialize(self.context)

    def answer(self, pictures: list[bytes]) -> list[str]:
        """One JSON text for each picture, computed as one batch."""
        return self.handler.handle([{"body": picture} for picture in pictures], self.context)


def shipped_batching(unpacked: Path) -> tuple[int, int]:
    """Batch size and delay (ms) that an archive comes with."""
    settings = yaml.safe_load((unpacked / "model-config.yaml").read_text())
    return settings["batchSize"], settings["maxBatchDelay"]


def unpacked_archive(folder: Path, released: Path) -> Path:
    """Builds the archive of `authenticity` for this machine and unpacks it under `folder`, as TorchServe does."""
    archive = build(ENDPOINT, released, folder / "store")
    unpacked = folder / "unpacked"
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(unpacked)
    return unpacked


def probabilities(answer: bytes) -> dict[str, float]:
    """What our answer says of each class, before calibration."""
    logits = json.loads(answer)["logits"]
    total = sum(math.exp(value) for value in logits.values())
    return {name: math.exp(value) / total for name, value in logits.items()}
