"""Teach a small backbone what a large one sees, without labels, so that heads on it generalise as the large one's do.

    python -m training.teach --data ROOT --teacher model_store/0.5 --out runs/taught [--student resnet18]

The teacher looks once at several versions of every image outside the test split: the first view as served, and
augmented squares. The student learns from the same pixels the teacher's embedding, and its features place by place
(Romero et al. 2015, arXiv 1412.6550, on hints; Beyer et al. 2021, arXiv 2106.05237, on same views for both). Both
targets are principal components, whose larger ones count less than their variance (the root of it), so that the small
ones are learnt too. Images grow from --sizes' first to its last: small ones teach most of it at half the cost.

--out gets lessons/ (the teacher's answers: 0.2 MB an image and version), checkpoint.pt (an interrupted run goes on),
curves.csv, and as the backbone of a run the student: a recipe with `"start": "<out>"` and no epochs fits heads on it.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, mse_loss
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from imagetrust.errors import AnswerError
from imagetrust.files import replace_bytes, replace_file
from imagetrust.images.decode import decode
from imagetrust.models.backbone import Network
from imagetrust.models.model import Model
from imagetrust.models.registry import backbone_of
from imagetrust.runtime.engine import Runner, exact_engine
from training.augment import Augmentation
from training.data import DataError, Record, read_artifact, split_of
from training.recipe import Recipe, RecipeError
from training.train import (
    CHECKPOINT,
    CURVES,
    Classifier,
    append_row,
    autocast,
    bf16_is_fast,
    moving_average,
    save_model,
)

LESSON = "lesson.json"
COMPONENTS, PLACE_COMPONENTS, PLACES = 512, 256, 7  # of an embedding; of a place; places a side
FITTED_TO = 2048  # images that the components are of
NATIVE, STRENGTH = 0.3, 0.7  # of the augmented versions (training.augment)
ARRAYS = ("pixels", "embeddings", "places")
BATCH = 8  # images that the teacher sees at once


class Lesson(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides what a student learns.

    teacher: its backbone and version. teacher_sha256: of its weights. versions: of each image, the first as served.
    epochs: one draws each image once, in one of its versions. sizes: sides of the student's input, pixels, each for an
    equal part of the epochs.
    """

    student: str
    teacher: str
    teacher_sha256: str
    start: str | None
    seed: int
    versions: int
    epochs: int
    sizes: tuple[int, ...]
    batch: int
    learning_rate: float


@dataclass(frozen=True)
class Version:
    """One version of every image and what the teacher makes of it, mapped from disk.

    pixels: (N, size, size, 3) uint8. embeddings: (N, COMPONENTS) float16. places: (N, PLACES, PLACES,
    PLACE_COMPONENTS) float16.
    """

    pixels: np.ndarray
    embeddings: np.ndarray
    places: np.ndarray


@dataclass(frozen=True)
class Components:
    """Principal components of (N, channels): a row becomes (row - mean) @ basis, (N, components)."""

    mean: np.ndarray
    basis: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, count: int) -> "Components":
        """Fit them: channels standardised, each component divided by the fourth root of its variance."""
        mean, deviation = rows.mean(0), rows.std(0)
        deviation = np.maximum(deviation, 0.1 * np.median(deviation))
        _, singular, vectors = torch.svd_lowrank(torch.from_numpy((rows - mean) / deviation), q=count, niter=2)
        roots = (singular / len(rows) ** 0.5).sqrt()
        return cls(mean, (vectors / roots).numpy() / deviation[:, None])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Return (..., components) float16."""
        return ((rows - self.mean) @ self.basis).astype(np.float16)


class Student(nn.Module):
    """A network that learns: (N, 3, size, size) to what the teacher's embeddings and places should be."""

    def __init__(self, network: Network, channels: int) -> None:
        super().__init__()
        self.network = network
        self.embedding = nn.Linear(channels, COMPONENTS)
        self.places = nn.Conv2d(channels, PLACE_COMPONENTS, 1)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (N, COMPONENTS) and (N, PLACE_COMPONENTS, rows, columns)."""
        features, embeddings = self.network(images)
        return self.embedding(embeddings), self.places(features)


def main() -> None:
    """Teach from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--teacher", type=Path, required=True, help="folder of a release")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run")
    parser.add_argument("--student", default="resnet18", help="a backbone whose features lie on a grid")
    parser.add_argument("--start", type=Path, help="folder of a student taught before; from scratch where not given")
    parser.add_argument("--lessons", type=Path, help="folder of the teacher's answers, where another run made them")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--versions", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 160, 192])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--checkpoint-minutes", type=float, default=5)
    arguments = parser.parse_args()
    try:
        teacher = Model(arguments.teacher)
        lesson = Lesson(
            student=arguments.student,
            teacher=f"{teacher.config.backbone} {teacher.config.version}",
            teacher_sha256=teacher.config.weights_sha256,
            start=str(arguments.start) if arguments.start else None,
            seed=arguments.seed,
            versions=arguments.versions,
            epochs=arguments.epochs,
            sizes=tuple(arguments.sizes),
            batch=arguments.batch,
            learning_rate=arguments.learning_rate,
        )
        teach(lesson, teacher, arguments.data, arguments.out, arguments.lessons, arguments.checkpoint_minutes)
    except (RecipeError, DataError, ValueError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


def teach(
    lesson: Lesson, teacher: Model, data: Path, out: Path, lessons: Path | None = None, checkpoint_minutes: float = 5
) -> None:
    """Teach a student to the end of its lesson, or continue.

    Raises RecipeError where `out` holds another lesson's run, DataError where the data cannot be used.
    """
    claim(out, lesson)
    backbone = backbone_of(lesson.student)
    if backbone.layout != "grid":
        raise RecipeError(f"{backbone.name} has no grid of features: a student needs one")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    # ------------------------------------------------------------------------------------------ what the teacher sees
    versions = read_lessons(teacher, lesson, data, lessons or out / "lessons")
    count = len(versions[0].pixels)
    chosen = np.random.default_rng(lesson.seed).permutation(count)[:2048]
    variance = float(versions[0].embeddings[np.sort(chosen)].astype(np.float32).var())
    place_variance = float(versions[0].places[np.sort(chosen)].astype(np.float32).var())

    # ------------------------------------------------------------------------------------------ student, optimiser
    torch.manual_seed(lesson.seed)
    network = Model(Path(lesson.start), calibrated=False).network.requires_grad_(True) if lesson.start else None
    student = Student(network or backbone.build(), backbone.channels).to(device, memory_format=torch.channels_last)
    averaged = AveragedModel(student, avg_fn=moving_average(0.998), use_buffers=True)
    decayed = [parameter for parameter in student.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in student.parameters() if parameter.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}], lr=lesson.learning_rate
    )
    steps = count // lesson.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=lesson.learning_rate, total_steps=max(20, lesson.epochs * steps), pct_start=0.1
    )
    state = {"student": student, "averaged": averaged, "optimiser": optimiser, "schedule": schedule}
    done = 0
    if (out / CHECKPOINT).exists():
        checkpoint = torch.load(out / CHECKPOINT, map_location=device, weights_only=True)
        for name, part in state.items():
            part.load_state_dict(checkpoint[name])
        done = checkpoint["epoch"]
    mean = torch.tensor(backbone.mean, device=device).view(3, 1, 1) * 255
    deviation = torch.tensor(backbone.std, device=device).view(3, 1, 1) * 255
    use_bf16 = bf16_is_fast(device)
    print(f"{backbone.name}: {count} images in {lesson.versions} versions, {steps} steps of {lesson.batch} an epoch")

    # ------------------------------------------------------------------------------------------ the loop
    last_saved = time.monotonic()
    for epoch in range(done, lesson.epochs):
        size = lesson.sizes[epoch * len(lesson.sizes) // lesson.epochs]
        random = np.random.default_rng((lesson.seed, epoch))
        order, which = random.permutation(count), random.integers(lesson.versions, size=count)
        flipped = random.random(count) < 0.5
        losses, started = [], time.monotonic()
        student.train()
        for step in tqdm(range(steps), desc=f"epoch {epoch + 1}/{lesson.epochs} at {size}", mininterval=5):
            rows = order[step * lesson.batch : (step + 1) * lesson.batch]
            images, embeddings, places = batch_of(versions, rows, which[rows], flipped[rows], device)
            images = (images - mean) / deviation
            if size != images.shape[-1]:
                images = interpolate(images, (size, size), mode="bilinear", antialias=True)
            with autocast(device, use_bf16):
                predicted, at_places = student(images.contiguous(memory_format=torch.channels_last))
            at_places = at_places.float()
            if at_places.shape[-1] != PLACES:
                places = adaptive_avg_pool2d(places, at_places.shape[-2:])
            of_embeddings = mse_loss(predicted.float(), embeddings) / variance
            of_places = mse_loss(at_places, places) / place_variance
            optimiser.zero_grad(set_to_none=True)
            (of_embeddings + of_places).backward()
            optimiser.step()
            schedule.step()
            averaged.update_parameters(student)
            losses.append((of_embeddings.item(), of_places.item()))
        means = np.mean(losses, axis=0)
        row = {
            "epoch": epoch + 1,
            "size": size,
            "embedding_error": round(float(means[0]), 4),
            "place_error": round(float(means[1]), 4),
            "images_a_second": round(steps * lesson.batch / (time.monotonic() - started), 1),
        }
        append_row(out / CURVES, row)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        if epoch + 1 == lesson.epochs or time.monotonic() - last_saved > checkpoint_minutes * 60:
            content = {name: part.state_dict() for name, part in state.items()} | {"epoch": epoch + 1}
            replace_file(out / CHECKPOINT, lambda path: torch.save(content, path))  # noqa: B023
            save_student(averaged.module, lesson, out)
            last_saved = time.monotonic()
    print(f'Taught, in {out}. Next: a recipe with "backbone": "{lesson.student}", "start": "{out}", "epochs": 0')


def claim(out: Path, lesson: Lesson) -> None:
    """Make a folder the place of this lesson's run, new or to be continued. Raises RecipeError for another's."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / LESSON).exists():
        replace_bytes(out / LESSON, msgspec.json.format(msgspec.json.encode(lesson), indent=1) + b"\n")
    elif msgspec.json.decode((out / LESSON).read_bytes(), type=Lesson) != lesson:
        raise RecipeError(f"{out} holds a run of another lesson: choose another folder, or remove it")


def lessons_of(folder: Path) -> list[dict[str, Any]]:
    """Return the lessons that made the student in a folder, in order, each with `taught`, its epochs that were run."""
    lesson = msgspec.json.decode((folder / LESSON).read_bytes())
    earlier = lessons_of(Path(lesson["start"])) if lesson["start"] else []
    return [*earlier, lesson | {"taught": len((folder / CURVES).read_text().splitlines()) - 1}]


def read_lessons(teacher: Model, lesson: Lesson, data: Path, folder: Path) -> list[Version]:
    """Return the versions of the images, asking the teacher for those that the folder lacks."""
    # Versions are drawn by an image's place among all, so that another split changes none.
    numbered = enumerate(read_artifact(data))
    records = [(place, record) for place, record in numbered if split_of(record.group, lesson.seed) != "test"]
    missing = [number for number in range(lesson.versions) if not (folder / str(number)).exists()]
    if missing:
        # By torch: a process that has served by OpenVINO and then trains has crashed (Makefile).
        runner = exact_engine(teacher).fast
        components = _components(teacher, runner, records, lesson.seed, folder)
        for number in missing:
            _ask(teacher, runner, records, number, lesson.seed, components, folder / str(number))
    return [
        Version(*(np.load(folder / str(number) / f"{name}.npy", mmap_mode="r") for name in ARRAYS))
        for number in range(lesson.versions)
    ]


def _components(
    teacher: Model, runner: Runner, records: list[tuple[int, Record]], seed: int, folder: Path
) -> tuple[Components, Components]:
    """Return the components of embeddings and of places, from the first version of some images."""
    path = folder / "components.npz"
    if not path.exists():
        chosen = np.random.default_rng(seed).permutation(len(records))[:FITTED_TO]
        seen = [
            _answers(teacher, runner, pixels) for pixels in _batches(teacher, [records[i] for i in chosen], 0, seed)
        ]
        embeddings = Components.of(np.concatenate([one for one, _ in seen]), COMPONENTS)
        places = np.concatenate([each.reshape(-1, each.shape[-1])[::4] for _, each in seen])
        at_places = Components.of(places, PLACE_COMPONENTS)
        arrays = {"mean": embeddings.mean, "basis": embeddings.basis}
        arrays |= {"place_mean": at_places.mean, "place_basis": at_places.basis}
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: _save(file, arrays))
    with np.load(path) as stored:
        return Components(stored["mean"], stored["basis"]), Components(stored["place_mean"], stored["place_basis"])


def _ask(
    teacher: Model,
    runner: Runner,
    records: list[tuple[int, Record]],
    number: int,
    seed: int,
    components: tuple[Components, Components],
    folder: Path,
) -> None:
    """Write one version of the images and the teacher's answers into a folder, which appears when it is whole."""
    size, partial = teacher.config.preprocessing.size, folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    shapes = ((size, size, 3), (COMPONENTS,), (PLACES, PLACES, PLACE_COMPONENTS))
    pixels, embeddings, places = (
        open_memmap(partial / f"{name}.npy", "w+", dtype, (len(records), *shape))
        for name, dtype, shape in zip(ARRAYS, (np.uint8, np.float16, np.float16), shapes, strict=True)
    )
    done = 0
    with tqdm(total=len(records), desc=f"lesson {number}", unit="image", mininterval=5) as progress:
        for batch in _batches(teacher, records, number, seed):
            rows = slice(done, done + len(batch))
            seen, at_places = _answers(teacher, runner, batch)
            pixels[rows], embeddings[rows], places[rows] = batch, components[0](seen), components[1](at_places)
            done += len(batch)
            progress.update(len(batch))
    for array in (pixels, embeddings, places):
        array.flush()
    partial.rename(folder)


def _answers(teacher: Model, runner: Runner, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the teacher's embeddings (N, channels) and its features by place (N, PLACES, PLACES, channels)."""
    features, embeddings = runner(pixels)
    places = adaptive_avg_pool2d(teacher.backbone.grid(features).float(), PLACES).permute(0, 2, 3, 1)
    return embeddings.float().cpu().numpy(), places.cpu().numpy()


def _batches(teacher: Model, records: list[tuple[int, Record]], number: int, seed: int) -> Iterator[np.ndarray]:
    """Yield one version of the images, (n, size, size, 3) uint8. Raises DataError for one that cannot be decoded."""
    preprocessing = teacher.config.preprocessing
    augmentation = Augmentation(preprocessing, preprocessing.size, NATIVE, STRENGTH)
    for start in range(0, len(records), BATCH):
        images = []
        for place, record in records[start : start + BATCH]:
            try:
                image = decode(record.path.read_bytes(), None).image
            except (OSError, AnswerError) as error:
                raise DataError(f"{record.path}: {error}") from error
            torch.manual_seed(seed + 1000 * number + place)
            images.append(augmentation.pixels(image) if number else preprocessing.pixels(image)[0])
        yield np.stack(images)


def batch_of(
    versions: list[Version], rows: np.ndarray, which: np.ndarray, flipped: np.ndarray, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return images (N, 3, size, size) of 0..255, their embeddings, and places (N, components, PLACES, PLACES).

    rows: (N,) of images. which: (N,) version of each. flipped: (N,) bool; what a mirrored image is like the teacher was
    not asked, its answer is taken to be the same, mirrored.
    """
    pairs = [(versions[version], row) for version, row in zip(which, rows, strict=True)]
    images = torch.from_numpy(np.stack([one.pixels[row] for one, row in pairs])).to(device).permute(0, 3, 1, 2).float()
    places = torch.from_numpy(np.stack([one.places[row] for one, row in pairs])).to(device).permute(0, 3, 1, 2).float()
    embeddings = torch.from_numpy(np.stack([one.embeddings[row] for one, row in pairs])).to(device).float()
    mirrored = torch.from_numpy(flipped).to(device)[:, None, None, None]
    return torch.where(mirrored, images.flip(-1), images), embeddings, torch.where(mirrored, places.flip(-1), places)


def save_student(student: nn.Module, lesson: Lesson, out: Path) -> None:
    """Write the student's backbone as a run's model; its heads are yet to be fitted."""
    backbone = backbone_of(lesson.student)
    classifier = Classifier(student.network, backbone.channels)
    save_model(classifier, Recipe(backbone=lesson.student, start="scratch", epochs=lesson.epochs), out)


def _save(file: Path, arrays: dict[str, np.ndarray]) -> None:
    with file.open("wb") as opened:
        np.savez(opened, **arrays)


if __name__ == "__main__":
    main()
