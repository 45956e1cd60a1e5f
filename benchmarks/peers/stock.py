"""TorchServe with its own image_classifier handler over the same weights, eager, batched as ours."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import torch
import yaml

from benchmarks.peers import eager
from benchmarks.peers.base import ROOT, Conditions, Contender, PeerError
from benchmarks.peers.torchserve import TorchServeServer, worker_settings
from handlers.card import read_card

NAME = "TorchServe, stock handler"
_MODEL = "stock"
_HERE = Path(__file__).resolve().parent


class Stock(TorchServeServer):
    """An archive such as TorchServe's documentation describes."""

    def __init__(self) -> None:
        super().__init__((_MODEL,))

    def build(self, store: Path, conditions: Conditions) -> None:
        """Raises PeerError where the archiver fails."""
        store.mkdir(parents=True)
        content = store.parent / "stock"
        shutil.copytree(ROOT / "handlers", content / "handlers", ignore=shutil.ignore_patterns("__pycache__"))
        card_file = conditions.released / f"{eager.NAME}.json"
        shutil.copy(card_file, content)
        card = read_card(card_file)
        (content / "index_to_name.json").write_text(json.dumps(dict(enumerate(card.classes))))
        network = eager.released_network(conditions.released, card)
        weights, config = store.parent / "stock.pt", store.parent / "stock.yaml"
        torch.save({f"network.{name}": tensor for name, tensor in network.state_dict().items()}, weights)
        config.write_text(yaml.safe_dump(worker_settings(conditions) | {"deviceType": "gpu", "startupTimeout": 120}))
        scratch = store.parent / "archiver"
        scratch.mkdir()
        command = [
            sys.executable, "-m", "model_archiver.model_packaging", "--model-name", _MODEL, "--version", card.version,
            "--handler", str(_HERE / "stock_handler.py"), "--model-file", str(_HERE / "stock_model.py"),
            "--serialized-file", str(weights), "--extra-files", str(content), "--config-file", str(config),
            "--export-path", str(store),
        ]  # fmt: skip
        done = subprocess.run(command, env=os.environ | {"TMPDIR": str(scratch)}, capture_output=True, text=True)
        if done.returncode:
            raise PeerError(f"torch-model-archiver failed:\n{done.stdout}{done.stderr}")


def contenders() -> list[Contender]:
    server = Stock()
    return [Contender(NAME, server, server.load, json.loads)]
