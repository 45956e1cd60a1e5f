"""What a model predicts for the images of a data set: both tasks in one pass, by the code that serves."""

import platform
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from evaluation.corruptions import Corruption
from evaluation.metrics import classification_metrics, verdict_metrics
from imagetrust.errors import AnswerError
from imagetrust.images.decode import decode
from imagetrust.images.views import Preprocessing
from imagetrust.models.model import Model
from imagetrust.runtime.engine import Engine, exact_engine
from imagetrust.runtime.torch import Outputs, PixelNetwork
from training.data import NO_LABEL, DataError, Record, data_digest, label_of

Logits = dict[str, NDArray[np.float32]]


class ParallelRunner:
    """Runs a network (.xml) by OpenVINO on so many cores, each with some of the images of a batch.

    Cores do not wait for each other then, as the threads of one runner do. Raises what OpenVinoRunner raises.
    """

    def __init__(self, network: Path, precision: str, cores: int) -> None:
        from imagetrust.runtime.openvino import OpenVinoRunner

        self._runners = [OpenVinoRunner(network, precision, threads=1) for _ in range(cores)]
        self._pool = ThreadPoolExecutor(cores)
        self.name = self._runners[0].name

    def __call__(self, pixels: NDArray[np.uint8]) -> Outputs:
        """Return the float32 features and embeddings of (N, size, size, 3) uint8 pixels."""
        parts = np.array_split(pixels, min(len(self._runners), len(pixels)))
        running = [self._pool.submit(runner, part) for runner, part in zip(self._runners, parts, strict=False)]
        features, embeddings = zip(*(one.result() for one in running), strict=True)
        return torch.cat(features), torch.cat(embeddings)


def fp32_engine(model: Model, cores: int = 1) -> Engine:
    """Return the fastest engine in fp32: OpenVINO on a processor, on this many cores; torch on a GPU."""
    if model.device.type == "cuda":
        return exact_engine(model)
    from imagetrust.runtime.openvino import save_network, to_openvino

    preprocessing = model.config.preprocessing
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "network.xml"
        save_network(to_openvino(PixelNetwork(model.network, preprocessing), preprocessing.size), network)
        runner = ParallelRunner(network, "fp32", cores)
    return Engine(runner.name, model, runner)


def read_views(record: Record, preprocessing: Preprocessing, transform: Corruption | None = None) -> NDArray[np.uint8]:
    """Return the views (views, size, size, 3) of an image.

    transform: a corruption of the decoded image, which then is decoded at full resolution.
    Raises DataError, naming the file, where it cannot be decoded.
    """
    try:
        data = record.path.read_bytes()
        image = decode(data, None if transform else preprocessing.min_side()).image
    except (OSError, AnswerError) as error:
        raise DataError(f"{record.path}: {error}") from error
    return preprocessing.pixels(transform(image) if transform else image)


def predict(
    engine: Engine, records: Sequence[Record], transform: Corruption | None = None, batch: int = 16, workers: int = 0
) -> Logits:
    """Return the logits (N, classes) float32 of each task, not calibrated, in the order of the records.

    transform: a corruption of each decoded image. batch: images scored in one go. workers: threads that decode the next
    batch meanwhile; 0 decodes in this one.
    Raises DataError for an image that cannot be decoded, ValueError without records.
    """
    if not records:
        raise ValueError("there are no images to score")
    tasks = tuple(engine.model.config.heads)
    rows: dict[str, list[torch.Tensor]] = {task: [] for task in tasks}
    with tqdm(total=len(records), desc=engine.name, unit="image", mininterval=5) as progress:
        for views in read_batches(engine.model.config.preprocessing, records, transform, batch, workers):
            for scores in engine.score(views, tasks):
                for task in tasks:
                    rows[task].append(scores.logits[task].float().cpu())
            progress.update(len(views))
    return {task: torch.stack(logits).numpy() for task, logits in rows.items()}


def read_batches(
    preprocessing: Preprocessing, records: Sequence[Record], transform: Corruption | None, batch: int, workers: int
) -> Iterator[list[NDArray[np.uint8]]]:
    """Yield the views of each record's image, a batch of images at a time; for the arguments see `predict`."""
    read = partial(read_views, preprocessing=preprocessing, transform=transform)
    batches = [records[start : start + batch] for start in range(0, len(records), batch)]
    if not workers:
        yield from ([read(record) for record in part] for part in batches)
        return
    with ThreadPoolExecutor(workers) as pool:
        upcoming = [pool.submit(read, record) for record in batches[0]]
        for following in [*batches[1:], []]:
            current, upcoming = upcoming, [pool.submit(read, record) for record in following]
            yield [future.result() for future in current]


def probabilities_of(model: Model, task: str, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the calibrated probabilities (N, classes) for a task's logits (N, classes)."""
    return model.probabilities(task, torch.from_numpy(logits)).numpy()


def task_metrics(model: Model, task: str, records: Sequence[Record], logits: NDArray[np.float32]) -> dict[str, Any]:
    """Return the metrics of one task on the records that have a label for it; with `verdicts` where it has thresholds.

    logits: (N, classes), not calibrated, in the order of the records.
    """
    labels = np.array([label_of(record, task) for record in records])
    labelled = labels != NO_LABEL
    head = model.config.heads[task]
    probabilities, labels = probabilities_of(model, task, logits[labelled]), labels[labelled]
    found = classification_metrics(probabilities, labels, head.classes)
    if head.thresholds:
        found["verdicts"] = verdict_metrics(probabilities[:, 1], labels, head.thresholds)
    return found


def conditions(data: Path, records: Sequence[Record], split: str, seed: int | None, engine: Engine) -> dict[str, Any]:
    """Return what metrics depend on. records: all of the data set. seed: of the split, if any."""
    return {
        "data": data.resolve().name,
        "digest": data_digest(list(records), data),
        "images": len(records),
        "sources": len({record.source for record in records}),
        "split": split,
        "seed": seed,
        "engine": f"{engine.name} on {engine.model.device.type}",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
