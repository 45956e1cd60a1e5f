"""Trains the classifiers, one or both on a shared trunk, from the arguments to the best weights.

On one processor or one GPU:
    python -m training.train --data ROOT --task both --init PATH --out runs/both
On several, data-parallel:
    torchrun --nproc-per-node 2 -m training.train ...

Everything lands in --out: checkpoint.pt (to go on with --resume), curves.csv, settings.json, and of the best epoch a
safetensors file and a card for each task. Nothing is half-written: each file is replaced in one step.
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader
from tqdm import tqdm

from handlers.card import Preprocessing
from handlers.network import ARCHITECTURES, file_sha256
from handlers.preprocessing import needed_side
from training.cutmix import paste_pieces
from training.data import (
    CLASSES,
    NO_LABEL,
    BalancedSampler,
    Pictures,
    balanced_weights,
    label_of,
    labelled,
    read_artifact,
    split,
)  # fmt: skip
from training.files import replace_bytes, replace_file, replace_json
from training.folds import FOLDS
from training.initial_weights import NORMALISATION, build_network
from training.memory import keep_freed_memory
from training.metrics import balanced_accuracy, gather_logits
from training.precision import autocast, bf16_is_fast
from training.recipe import read_settings, recipe_changes
from training.transforms import EvaluationTransform, TrainingTransform

# ---------------------------------------------------------------------------------------------- arguments
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root: one folder a source")
parser.add_argument("--task", choices=(*CLASSES, "both"), required=True, help="both: two heads on one trunk")
parser.add_argument("--architecture", choices=ARCHITECTURES, default="efficientnet_lite0")
parser.add_argument("--init", default="imagenet", help="imagenet, none, or a safetensors file")
parser.add_argument("--out", type=Path, required=True, help="folder of this run")
parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
parser.add_argument("--seed", type=int, default=0, help="of the split, the draw and the augmentation")
parser.add_argument(
    "--leave-out", choices=FOLDS, nargs="+", default=(), help="folds of training/folds.py that it shall never see"
)
parser.add_argument("--epochs", type=int, default=9, help="one epoch draws as many pictures as the split has")
parser.add_argument("--batch", type=int, default=64, help="pictures a step and process")
parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate of AdamW, for a batch of 64")
parser.add_argument("--weight-decay", type=float, default=0.05)
parser.add_argument("--label-smoothing", type=float, default=0.05)
parser.add_argument(
    "--cutmix", type=float, default=0.5, help="share of the steps in which a piece of another picture is pasted in"
)
parser.add_argument("--patience", type=int, default=5, help="epochs without a better validation before it stops")
parser.add_argument("--average", type=float, default=0.998, help="decay of the weights' moving average; 0: none")
parser.add_argument("--train-size", type=int, default=192, help="side of the training crops, pixels")
parser.add_argument("--native", type=float, default=0.75, help="share of training crops that are not resized")
parser.add_argument(
    "--wear", type=float, default=0.35, help="how much training pictures are worn; 1: half of them are recompressed"
)
parser.add_argument("--size", type=int, default=192, help="side at which the model is validated and served, pixels")
parser.add_argument("--crop", type=float, default=0.96, help="share of the shorter side that it then sees")
parser.add_argument("--precision", choices=("auto", "bf16", "fp32"), default="auto", help="auto: bf16 where it is fast")
parser.add_argument("--workers", type=int, default=1, help="processes that decode pictures; 0: the training itself")
parser.add_argument("--threads", type=int, help="of the processor, for the arithmetic; all where not given")
parser.add_argument("--checkpoint-minutes", type=float, default=5, help="how much work a crash may cost")
args = parser.parse_args()

# ---------------------------------------------------------------------------------------------- processes, device
distributed = "RANK" in os.environ  # set by torchrun
if distributed:
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
rank, world = (dist.get_rank(), dist.get_world_size()) if distributed else (0, 1)
if torch.cuda.is_available():
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    torch.cuda.set_device(device)
else:
    device = torch.device("cpu")
use_bf16 = args.precision == "bf16" or (args.precision == "auto" and bf16_is_fast(device))
if device.type == "cpu":
    keep_freed_memory()
if args.threads:
    torch.set_num_threads(args.threads)
torch.manual_seed(args.seed)
is_first = rank == 0
args.out.mkdir(parents=True, exist_ok=True)

# ---------------------------------------------------------------------------------------------- data
preprocessing = Preprocessing(
    size=args.size, crop=args.crop, interpolation="bicubic", **NORMALISATION[args.architecture]
)
records = read_artifact(args.data)
records = [record for record in records if not any(FOLDS[name].is_left_out(record) for name in args.leave_out)]
parts = split(records, args.seed)
tasks = tuple(CLASSES) if args.task == "both" else (args.task,)
weights = balanced_weights(labelled(parts["train"], tasks[0]))
train_items, validation_items = (
    [(record, tuple(label_of(record, task) for task in tasks)) for record, _ in labelled(part, tasks[0])]
    for part in (parts["train"], parts["validation"])
)
sampler = BalancedSampler(weights, args.seed, rank, world)
augmentation = TrainingTransform(preprocessing, args.train_size, args.native, args.wear, args.seed, rank)
train_loader = DataLoader(
    Pictures(
        train_items,
        augmentation,
        needed_side(preprocessing),
    ),
    batch_size=args.batch, sampler=sampler, num_workers=args.workers, drop_last=True,
    pin_memory=device.type == "cuda",
)  # fmt: skip
validation_loader = DataLoader(
    Pictures(validation_items[rank::world], EvaluationTransform(preprocessing), needed_side(preprocessing)),
    batch_size=args.batch, num_workers=args.workers,
)  # fmt: skip
steps_per_epoch = len(sampler) // args.batch
if steps_per_epoch == 0:
    parser.error(f"{len(train_items)} training pictures do not fill one batch of {args.batch} on {world} process(es)")

# ---------------------------------------------------------------------------------------------- model, optimiser
# The head's outputs lie side by side, a stretch of classes for each task.
stretches, outputs = {}, 0
for task in tasks:
    stretches[task] = slice(outputs, outputs + len(CLASSES[task]))
    outputs = stretches[task].stop
# Draws are balanced for the first task; its classes' losses weigh 1. A second task's classes make up for the draw.
class_weights = {}
for column, task in enumerate(tasks):
    drawn = torch.zeros(len(CLASSES[task]), dtype=torch.double)
    for (_, labels), weight in zip(train_items, weights, strict=True):
        if labels[column] != NO_LABEL:
            drawn[labels[column]] += weight
    present = drawn > 0  # a class without pictures, in a small data set, must not weigh in through label smoothing
    class_weights[task] = torch.where(present, drawn[present].mean() / drawn, 0.0).float().to(device)


def moving_average(average: torch.Tensor, weight: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Spans at most a tenth of the steps so far, so that a short run's average is not of its beginning."""
    if not weight.is_floating_point():
        return weight
    return average.lerp(weight, 1 - min(args.average, (1 + int(steps)) / (10 + int(steps))))


network = build_network(args.architecture, args.init, outputs).to(device, memory_format=torch.channels_last)
averaged = AveragedModel(network, avg_fn=moving_average, use_buffers=True)
model = DistributedDataParallel(network) if distributed else network
# Norms and biases, of one dimension, are not decayed: that would only shrink what the next layer sees.
decayed = [parameter for parameter in network.parameters() if parameter.ndim > 1]
kept = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
optimiser = torch.optim.AdamW(
    [{"params": decayed, "weight_decay": args.weight_decay}, {"params": kept, "weight_decay": 0.0}],
    lr=args.lr * args.batch * world / 64,
)
schedule = torch.optim.lr_scheduler.OneCycleLR(
    optimiser, max_lr=optimiser.defaults["lr"], total_steps=args.epochs * steps_per_epoch, pct_start=0.1
)


def commands_so_far() -> list[str]:
    """This run's command, after those of the run whose weights it starts from."""
    folder = Path(args.init).parent
    earlier = read_settings(folder)["commands"] if (folder / "settings.json").exists() else []
    launcher = f"torchrun --nproc-per-node {world}" if distributed else "python"
    return [*dict.fromkeys(earlier), f"{launcher} -m training.train {shlex.join(sys.argv[1:])}"]


# ---------------------------------------------------------------------------------------------- resume
checkpoint_path = args.out / "checkpoint.pt"
progress = {"epoch": 0, "step": 0, "best": -1.0, "best_epoch": -1, "stopped": False}
settings = {key: str(value) for key, value in vars(args).items()}
if args.resume and checkpoint_path.exists():
    if changes := recipe_changes(read_settings(args.out), settings):
        parser.error(
            f"{args.out} was trained by another recipe ({'; '.join(changes)}): go on with its own, or choose another "
            "--out, or remove it"
        )
    checkpoint = torch.load(checkpoint_path, map_location=device, weights_only=True)
    network.load_state_dict(checkpoint["network"])
    averaged.load_state_dict(checkpoint["averaged"])
    optimiser.load_state_dict(checkpoint["optimiser"])
    schedule.load_state_dict(checkpoint["schedule"])
    progress = checkpoint["progress"]
elif is_first:
    (args.out / "curves.csv").unlink(missing_ok=True)
    replace_json(args.out / "settings.json", settings | {"world": world, "commands": commands_so_far()})


def save_checkpoint() -> None:
    state = {
        "network": network.state_dict(),
        "averaged": averaged.state_dict(),
        "optimiser": optimiser.state_dict(),
        "schedule": schedule.state_dict(),
        "progress": progress,
    }
    replace_file(checkpoint_path, lambda path: torch.save(state, path))


def save_best() -> None:
    """Each task's weights in fp16, as they will be released, and a card: nothing is calibrated yet."""
    half = {name: t.half().contiguous() for name, t in averaged.module.state_dict().items() if t.is_floating_point()}
    for task, stretch in stretches.items():
        own = half | {name: half[name][stretch].contiguous() for name in ("fc.weight", "fc.bias")}
        weights_file = args.out / f"{task}.safetensors"
        replace_file(weights_file, lambda path, own=own: save_file(own, path))
        card = {
            "name": task,
            "version": "0.0",
            "architecture": args.architecture,
            "classes": CLASSES[task],
            "preprocessing": vars(preprocessing),
            "temperature": 1.0,
            "thresholds": None,
            "weights_sha256": file_sha256(weights_file),
        }
        replace_json(args.out / f"{task}.json", card)


def loss_of(
    logits: torch.Tensor, labels: torch.Tensor, smoothing: float, shares: torch.Tensor | float = 1.0
) -> torch.Tensor:
    """The mean over the tasks of their cross entropy. logits (N, outputs), labels (N, tasks).

    shares (N,): how much of each picture its labels speak for.
    """
    losses = []
    for column, (task, stretch) in enumerate(stretches.items()):
        each = cross_entropy(
            logits[:, stretch], labels[:, column], class_weights[task].to(logits.device), reduction="none",
            ignore_index=NO_LABEL, label_smoothing=smoothing,
        )  # fmt: skip
        losses.append((each * shares).sum() / (labels[:, column] != NO_LABEL).sum().clamp(min=1))
    return torch.stack(losses).mean()


def append_curve(row: dict) -> None:
    path = args.out / "curves.csv"
    lines = path.read_text() if path.exists() else ",".join(row) + "\n"
    replace_bytes(path, (lines + ",".join(str(value) for value in row.values()) + "\n").encode())


if is_first:
    print(
        f"{args.task}: {len(train_items)} training and {len(validation_items)} validation pictures, "
        f"{steps_per_epoch} steps of {args.batch} x {world} an epoch, {device.type}, {'bf16' if use_bf16 else 'fp32'}"
    )

# ---------------------------------------------------------------------------------------------- the loop
last_saved = time.monotonic()
while progress["epoch"] < args.epochs and not progress["stopped"]:
    sampler.begin(progress["epoch"], skip=progress["step"] * args.batch)
    augmentation.begin(progress["epoch"])
    # CutMix draws from torch's own generator: on each process something else.
    torch.manual_seed(int(np.random.SeedSequence([args.seed, rank, progress["epoch"]]).generate_state(1)[0]))
    network.train()
    started, losses = time.monotonic(), []
    batches = tqdm(
        train_loader, initial=progress["step"], total=steps_per_epoch, disable=not is_first,
        desc=f"epoch {progress['epoch'] + 1}/{args.epochs}", mininterval=5,
    )  # fmt: skip
    for pictures, labels in batches:
        pictures = pictures.to(device, memory_format=torch.channels_last, non_blocking=True)
        labels = labels.to(device)
        partners, own_shares = None, 1.0
        if args.cutmix and torch.rand(()) < args.cutmix:
            pictures, partners, own_shares = paste_pieces(pictures)
        with autocast(device, use_bf16):
            logits = model(pictures)
        loss = loss_of(logits.float(), labels, args.label_smoothing, own_shares)
        if partners is not None:
            loss = loss + loss_of(logits.float(), labels[partners], args.label_smoothing, 1 - own_shares)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
        averaged.update_parameters(network)
        losses.append(loss.item())
        progress["step"] += 1
        if is_first and time.monotonic() - last_saved > args.checkpoint_minutes * 60:
            save_checkpoint()
            last_saved = time.monotonic()

    # Every process scores its share; all see the whole result and so take the same decision.
    validation_logits, validation_labels = gather_logits(averaged.module, validation_loader, device, use_bf16)
    scores = {}
    for column, (task, stretch) in enumerate(stretches.items()):
        known = validation_labels[:, column] != NO_LABEL
        scores[task] = balanced_accuracy(validation_logits[known, stretch], validation_labels[known, column])
    score = sum(scores.values()) / len(scores)
    if is_first:
        mean_loss = sum(losses) / max(1, len(losses))
        validation_loss = loss_of(validation_logits, validation_labels, 0.0).item()
        rate = len(losses) * args.batch * world / (time.monotonic() - started)
        append_curve(
            {
                "epoch": progress["epoch"] + 1,
                "training_loss": round(mean_loss, 4),
                "validation_loss": round(validation_loss, 4),
                **{f"{task}_balanced_accuracy": round(value, 4) for task, value in scores.items()},
                "learning_rate": f"{schedule.get_last_lr()[0]:.2e}",
                "pictures_a_second": round(rate, 1),
            }
        )
        print(
            f"epoch {progress['epoch'] + 1}: loss {mean_loss:.3f}, validation loss {validation_loss:.3f}, "
            + ", ".join(f"{task} balanced accuracy {value:.4f}" for task, value in scores.items())
            + f", {rate:.0f} pictures/s",
            flush=True,
        )
    if score > progress["best"]:
        progress["best"], progress["best_epoch"] = score, progress["epoch"]
        if is_first:
            save_best()
    progress["stopped"] = progress["epoch"] - progress["best_epoch"] >= args.patience
    progress["epoch"], progress["step"] = progress["epoch"] + 1, 0
    if is_first:
        save_checkpoint()

if is_first:
    print(
        f"Best balanced accuracy on validation: {progress['best']:.4f} (epoch {progress['best_epoch'] + 1}), "
        f"in {', '.join(str(args.out / f'{task}.safetensors') for task in tasks)}.\n"
        f"Next: python -m training.refit --data {args.data} --run {args.out}"
    )
if distributed:
    dist.destroy_process_group()
