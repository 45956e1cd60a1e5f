"""Train a backbone with two heads, from a recipe to the best weights.

    python -m training.train --data ROOT --out runs/NAME [--recipe FILE] [--set NAME=VALUE ...]

On several GPUs or processes, data-parallel:

    torchrun --nproc-per-node 2 -m training.train ...

Everything lands in --out: recipe.json, checkpoint.pt (an interrupted run goes on), curves.csv, and of the best epoch
weights.safetensors and config.json, not calibrated. Each file is replaced in one step.
"""

import argparse
import hashlib
import os
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from imagetrust.files import file_sha256, replace_bytes, replace_file
from imagetrust.models.backbone import Network
from imagetrust.models.config import TASKS, WEIGHTS, Head, ModelConfig
from imagetrust.models.model import Model, pretrained_file
from imagetrust.models.registry import backbone_of
from training.augment import Augmentation, ServedViews, cutmix, normalise
from training.data import (
    NO_LABEL,
    BalancedSampler,
    DataError,
    Images,
    Record,
    balanced_weights,
    label_of,
    labelled,
    read_artifact,
    split,
    start_method,
)
from training.groups import without
from training.recipe import Recipe, RecipeError, add_recipe_arguments, claim, recipe_of

CHECKPOINT, CURVES = "checkpoint.pt", "curves.csv"
SAMPLED_FOR = "authenticity"  # the task whose classes are sampled equally often; the other's losses make up for it


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root: one folder a source")
    parser.add_argument("--out", type=Path, required=True, help="folder of this run")
    add_recipe_arguments(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes that decode images; 0: the training itself")
    parser.add_argument("--checkpoint-minutes", type=float, default=5, help="how much work a crash may cost")
    arguments = parser.parse_args()
    try:
        recipe = recipe_of(arguments)
        train(recipe, arguments.data, arguments.out, arguments.workers, arguments.checkpoint_minutes)
    except (RecipeError, DataError) as error:
        sys.exit(f"error: {error}")


class Classifier(nn.Module):
    """A network and its heads: (N, 3, size, size) normalised images to the logits (N, classes) of each task."""

    def __init__(self, network: Network, channels: int) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleDict({task: nn.Linear(channels, len(classes)) for task, classes in TASKS.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logits by task."""
        _, embeddings = self.network(images)
        return {task: head(embeddings) for task, head in self.heads.items()}


@dataclass
class Progress:
    """How far a run is."""

    epoch: int = 0
    step: int = 0
    best: float = -1.0
    best_epoch: int = -1
    stopped: bool = False


def train(recipe: Recipe, data: Path, out: Path, workers: int = 1, checkpoint_minutes: float = 5) -> None:
    """Run a recipe to its end, or continue it.

    Raises RecipeError where `out` holds another recipe's run, DataError where the data cannot be used.
    """
    distributed = "RANK" in os.environ and not dist.is_initialized()  # set by torchrun
    if distributed:
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) if torch.cuda.is_available() else 0)
    if not torch.cuda.is_available():
        device = torch.device("cpu")
    claim(out, recipe)
    torch.manual_seed(recipe.seed)  # alike on every process: they start from the same weights

    # ------------------------------------------------------------------------------------------ data
    parts = split(without(read_artifact(data), recipe.held_out), recipe.seed)
    training, weights = _items(parts["train"]), balanced_weights(labelled(parts["train"], SAMPLED_FOR))
    preprocessing = recipe.preprocessing
    augmentation = Augmentation(preprocessing, recipe.crop_size, recipe.native, recipe.strength)
    sampler = BalancedSampler(weights, recipe.seed, rank, world)
    seeds = torch.Generator()
    loader = DataLoader(
        Images(training, augmentation, preprocessing.min_side()),
        batch_size=recipe.batch, sampler=sampler, num_workers=workers, drop_last=True, generator=seeds,
        multiprocessing_context=start_method(workers),
        pin_memory=device.type == "cuda",
    )  # fmt: skip
    validation = DataLoader(
        Images(_items(parts["validation"])[rank::world], _FirstView(recipe), preprocessing.min_side()),
        batch_size=recipe.batch, num_workers=workers, multiprocessing_context=start_method(workers),
    )  # fmt: skip
    steps = len(sampler) // recipe.batch
    if steps == 0:
        raise DataError(f"{len(training)} training images do not fill one batch of {recipe.batch} on {world} processes")

    # ------------------------------------------------------------------------------------------ model, optimiser
    backbone = backbone_of(recipe.backbone)
    classifier = Classifier(_start(recipe), backbone.channels).to(device, memory_format=torch.channels_last)
    averaged = AveragedModel(classifier, avg_fn=moving_average(recipe.average), use_buffers=True)
    model = DistributedDataParallel(classifier) if world > 1 else classifier
    # Norms and biases, of one dimension, are not decayed: that would only shrink what the next layer sees.
    optimiser = torch.optim.AdamW(
        [
            {"params": [p for p in classifier.parameters() if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in classifier.parameters() if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate * recipe.batch * world / 64,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        # At least 20 steps, since a schedule of fewer has no first phase.
        optimiser,
        max_lr=optimiser.defaults["lr"],
        total_steps=max(20, recipe.epochs * steps),
        pct_start=0.1,
    )
    balance = _class_weights(training, weights, device)
    progress = Progress()
    state = {"classifier": classifier, "averaged": averaged, "optimiser": optimiser, "schedule": schedule}
    if (out / CHECKPOINT).exists():
        checkpoint = torch.load(out / CHECKPOINT, map_location=device, weights_only=True)
        for name, part in state.items():
            part.load_state_dict(checkpoint[name])
        progress = Progress(**checkpoint["progress"])

    def save_checkpoint() -> None:
        content = {name: part.state_dict() for name, part in state.items()} | {"progress": vars(progress)}
        replace_file(out / CHECKPOINT, lambda path: torch.save(content, path))

    use_bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and bf16_is_fast(device))
    if rank == 0:
        print(
            f"{recipe.backbone}: {len(training)} training images, {steps} steps of {recipe.batch} x {world} an epoch, "
            f"{device.type}, {'bf16' if use_bf16 else 'fp32'}"
        )
        if recipe.epochs == 0:
            save_model(averaged.module, recipe, out)

    # ------------------------------------------------------------------------------------------ the loop
    last_saved = time.monotonic()
    while progress.epoch < recipe.epochs and not progress.stopped:
        sampler.begin(progress.epoch, skip=progress.step * recipe.batch)
        # Each process augments by a seed of its own, from which each of its workers gets another.
        for generator in (torch.default_generator, seeds):
            generator.manual_seed((recipe.seed * 100_003 + progress.epoch) * 1009 + rank)
        classifier.train()
        started, losses = time.monotonic(), []
        batches = tqdm(
            loader, initial=progress.step, total=steps, disable=rank > 0,
            desc=f"epoch {progress.epoch + 1}/{recipe.epochs}", mininterval=5,
        )  # fmt: skip
        for images, labels in batches:
            images = images.to(device, memory_format=torch.channels_last, non_blocking=True)
            labels, partners, shares = labels.to(device), None, torch.ones(len(images), device=device)
            if torch.rand(()) < recipe.cutmix:
                images, partners, shares = cutmix(images)
            with autocast(device, use_bf16):
                logits = model(images)
            loss = _loss(logits, labels, balance, recipe.label_smoothing, shares)
            if partners is not None:
                loss = loss + _loss(logits, labels[partners], balance, recipe.label_smoothing, 1 - shares)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            averaged.update_parameters(classifier)
            losses.append(loss.item())
            progress.step += 1
            if rank == 0 and time.monotonic() - last_saved > checkpoint_minutes * 60:
                save_checkpoint()
                last_saved = time.monotonic()

        # Every process scores its share; all see the whole result and so take the same decision.
        scores = validate(averaged.module, validation, device, use_bf16)
        score = sum(scores.values()) / len(scores)
        rate = len(losses) * recipe.batch * world / (time.monotonic() - started)
        if rank == 0:
            row = {
                "epoch": progress.epoch + 1,
                "training_loss": round(sum(losses) / max(1, len(losses)), 4),
                **{f"{task}_balanced_accuracy": round(value, 4) for task, value in scores.items()},
                "learning_rate": f"{schedule.get_last_lr()[0]:.2e}",
                "images_a_second": round(rate, 1),
            }
            append_row(out / CURVES, row)
            print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        if score > progress.best:
            progress.best, progress.best_epoch = score, progress.epoch
            if rank == 0:
                save_model(averaged.module, recipe, out)
        progress.stopped = progress.epoch - progress.best_epoch >= recipe.patience
        progress.epoch, progress.step = progress.epoch + 1, 0
        if rank == 0:
            save_checkpoint()
    if rank == 0:
        print(
            f"Best: epoch {progress.best_epoch + 1}, in {out}. Next: python -m training.head --data {data} --run {out}"
        )
    if distributed:
        dist.destroy_process_group()


class _FirstView:
    """An image's first view as serving sees it, normalised: enough to choose an epoch by."""

    def __init__(self, recipe: Recipe) -> None:
        self.served, self.preprocessing = ServedViews(recipe.preprocessing), recipe.preprocessing

    def __call__(self, image: Any) -> torch.Tensor:
        return normalise(self.served(image)[0].numpy(), self.preprocessing)


def _items(records: list[Record]) -> list[tuple[Record, tuple[int, ...]]]:
    return [(record, tuple(label_of(record, task) for task in TASKS)) for record in records]


def _start(recipe: Recipe) -> Network:
    """Return the network that a recipe starts from. Raises RecipeError where there is none."""
    backbone = backbone_of(recipe.backbone)
    if recipe.start == "scratch":
        return backbone.build()
    if recipe.start != "pretrained":
        model = Model(Path(recipe.start), calibrated=False)
        if model.backbone is not backbone:
            raise RecipeError(f"{recipe.start} holds {model.backbone.name}, the recipe is for {backbone.name}")
        return model.network.requires_grad_(True)
    if backbone.pretrained is None:
        raise RecipeError(f"{backbone.name} has no pretrained weights: set start to scratch, or to a model's folder")
    network = backbone.build()
    missing, unexpected = network.load_state_dict(backbone.pretrained(), strict=False)
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise RecipeError(f"the pretrained weights lack {missing} and have unknown {unexpected}")
    return network


def moving_average(decay: float) -> Any:
    """Return the averaging function of an AveragedModel: exponential, with this decay at most."""

    def average(average: torch.Tensor, weight: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        # Spans at most a tenth of the steps so far, so that a short run's average is not of its beginning.
        if not weight.is_floating_point():
            return weight
        return average.lerp(weight, 1 - min(decay, (1 + int(steps)) / (10 + int(steps))))

    return average


def _class_weights(
    items: list[tuple[Record, tuple[int, ...]]], weights: torch.Tensor, device: torch.device
) -> dict[str, torch.Tensor]:
    """Return the weight (classes,) of each class's loss: what makes up for how often the sampling gives it."""
    balance = {}
    for column, (task, classes) in enumerate(TASKS.items()):
        sampled = torch.zeros(len(classes), dtype=torch.double)
        for (_, labels), weight in zip(items, weights, strict=True):
            if labels[column] != NO_LABEL:
                sampled[labels[column]] += weight
        present = sampled > 0  # a class without images, in a small data set, must not weigh in through label smoothing
        balance[task] = torch.where(present, sampled[present].mean() / sampled, 0.0).float().to(device)
    return balance


def _loss(
    logits: dict[str, torch.Tensor],
    labels: torch.Tensor,
    balance: dict[str, torch.Tensor],
    smoothing: float,
    shares: torch.Tensor,
) -> torch.Tensor:
    """Return the mean over the tasks of their cross entropy.

    labels: (N, tasks). shares: (N,), how much of each image its labels speak for.
    """
    losses = []
    for column, (task, rows) in enumerate(logits.items()):
        each = cross_entropy(
            rows.float(), labels[:, column], balance[task], reduction="none", ignore_index=NO_LABEL,
            label_smoothing=smoothing,
        )  # fmt: skip
        losses.append((each * shares).sum() / (labels[:, column] != NO_LABEL).sum().clamp(min=1))
    return torch.stack(losses).mean()


@torch.no_grad()
def validate(classifier: nn.Module, loader: DataLoader[Any], device: torch.device, bf16: bool) -> dict[str, float]:
    """Return the balanced accuracy of each task over a loader's images, those of all processes together."""
    classifier.eval()
    predicted, expected = [], []
    for images, labels in loader:
        with autocast(device, bf16):
            logits = classifier(images.to(device, memory_format=torch.channels_last))
        predicted.append(torch.stack([rows.argmax(1).cpu() for rows in logits.values()], dim=1))
        expected.append(labels)
    share = (torch.cat(predicted), torch.cat(expected)) if predicted else None
    shares: list[Any] = [share]
    if dist.is_initialized():
        shares = [None] * dist.get_world_size()
        dist.all_gather_object(shares, share)
    all_predicted, all_expected = (torch.cat([part[n] for part in shares if part]) for n in (0, 1))
    scores = {}
    for column, task in enumerate(TASKS):
        known = all_expected[:, column] != NO_LABEL
        scores[task] = float(balanced_accuracy_score(all_expected[known, column], all_predicted[known, column]))
    return scores


def save_model(classifier: nn.Module, recipe: Recipe, out: Path) -> None:
    """Write a classifier's weights in fp16 and a description without calibration."""
    pretrained_sha256 = None
    kept = ""
    if recipe.epochs == 0 and recipe.start == "pretrained":  # then the backbone need not be in the file
        pretrained_sha256 = hashlib.sha256(pretrained_file(backbone_of(recipe.backbone))).hexdigest()
        kept = "heads."
    half = {
        name.removeprefix("network."): tensor.half().contiguous()
        for name, tensor in classifier.state_dict().items()
        if tensor.is_floating_point() and name.startswith(kept)
    }
    replace_file(out / WEIGHTS, lambda path: save_file(half, path))
    ModelConfig(
        version="0.0",
        backbone=recipe.backbone,
        preprocessing=recipe.preprocessing,
        heads={task: Head(classes) for task, classes in TASKS.items()},
        weights_sha256=file_sha256(out / WEIGHTS),
        pretrained_sha256=pretrained_sha256,
    ).write(out)


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a CSV file, whose first row makes its header."""
    lines = path.read_text() if path.exists() else ",".join(row) + "\n"
    replace_bytes(path, (lines + ",".join(str(value) for value in row.values()) + "\n").encode())


def bf16_is_fast(device: torch.device) -> bool:
    """Return whether the device multiplies bf16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager[Any]:
    """Return a context in which networks compute in bf16, or one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()


if __name__ == "__main__":
    main()
