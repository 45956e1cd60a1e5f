"""What heads see of images as served, kept on disk: a backbone that stays as it starts sees each image once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from evaluation.predict import Logits, read_batches
from imagetrust.files import replace_file
from imagetrust.images.views import Preprocessing
from imagetrust.models.model import Model
from imagetrust.runtime.engine import Runner
from training.data import Record

BATCH = 16  # images that are read ahead
SHARD = 512  # images a file: what an interruption costs at most


class Embeddings:
    """The embeddings of images by one network, the mean over each image's views.

    folder: where they are kept, for this network and this preprocessing alone; None: they are computed at every call.
    workers: threads that decode.
    """

    def __init__(self, runner: Runner, preprocessing: Preprocessing, folder: Path | None, workers: int = 1) -> None:
        self.runner, self.preprocessing, self.folder, self.workers = runner, preprocessing, folder, workers
        self._rows: dict[str, np.ndarray] = {}
        for shard in sorted(folder.glob("*.npz")) if folder else ():
            with np.load(shard) as stored:
                self._rows |= dict(zip(stored["paths"].tolist(), stored["rows"], strict=True))

    def of(self, records: Sequence[Record]) -> np.ndarray:
        """Return (N, channels) float32. Raises DataError for an image that cannot be decoded."""
        missing = [record for record in records if str(record.path) not in self._rows]
        found = self._rows if self.folder else {}
        with tqdm(total=len(missing), desc="embeddings", unit="image", mininterval=5) as progress:
            for start in range(0, len(missing), SHARD):
                part = missing[start : start + SHARD]
                rows = np.concatenate(
                    [
                        self._mean_of(images, progress)
                        for images in read_batches(self.preprocessing, part, None, BATCH, self.workers)
                    ]
                )
                paths = [str(record.path) for record in part]
                found |= dict(zip(paths, rows, strict=True))
                if self.folder:
                    self.folder.mkdir(parents=True, exist_ok=True)
                    name = f"{len(list(self.folder.glob('*.npz'))):05}.npz"
                    replace_file(self.folder / name, lambda file: _save(file, paths, rows))  # noqa: B023
        return np.stack([found[str(record.path)] for record in records])

    def logits(self, model: Model, records: Sequence[Record]) -> Logits:
        """Return the logits (N, classes) of each task that a model with this backbone gives."""
        with torch.inference_mode():
            return {
                task: logits.cpu().numpy()
                for task, logits in model.logits(torch.from_numpy(self.of(records)).to(model.device)).items()
            }

    def _mean_of(self, images: list[np.ndarray], progress: tqdm) -> np.ndarray:
        _, embeddings = self.runner(np.concatenate(images))
        progress.update(len(images))
        return np.stack([part.mean(0).cpu().numpy() for part in embeddings.split([len(views) for views in images])])


def _save(file: Path, paths: list[str], rows: np.ndarray) -> None:
    with file.open("wb") as opened:
        np.savez(opened, paths=np.array(paths), rows=rows)
