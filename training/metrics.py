"""What a classifier's logits say about it."""

import numpy as np
import torch
import torch.distributed as dist
from sklearn import metrics

from training.precision import autocast


@torch.no_grad()
def gather_logits(network, loader, device, bf16: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, classes) float32 logits and (N,) labels of a whole loader, over all processes, on the CPU."""
    network.eval()
    logits, labels = [], []
    for pictures, batch_labels in loader:
        with autocast(device, bf16):
            logits.append(network(pictures.to(device, memory_format=torch.channels_last)).float().cpu())
        labels.append(batch_labels)
    share = (torch.cat(logits), torch.cat(labels)) if logits else None
    if not (dist.is_available() and dist.is_initialized()):
        return share
    shares = [None] * dist.get_world_size()
    dist.all_gather_object(shares, share)
    shares = [part for part in shares if part is not None]
    return torch.cat([part[0] for part in shares]), torch.cat([part[1] for part in shares])


def balanced_accuracy(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The mean of the classes' recalls."""
    return float(metrics.balanced_accuracy_score(labels.numpy(), logits.argmax(1).numpy()))


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """The mean gap between confidence and accuracy over equal-width bins (Guo et al. 2017, arXiv 1706.04599)."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[index == i].mean() - correct[index == i].mean()) * (index == i).mean()
        for i in range(bins)
        if (index == i).any()
    ]
    return float(sum(gaps))


def wilson_interval(successes: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927), which holds for small counts and near 0 and 1."""
    if total == 0:
        return (0.0, 1.0)
    share = successes / total
    centre = share + z * z / (2 * total)
    spread = z * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    low, high = ((centre + sign * spread) / (1 + z * z / total) for sign in (-1, 1))
    return (max(0.0, low), min(1.0, high))


def report(probabilities: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> dict:
    """Every figure of one evaluation, as JSON: probabilities (N, classes), labels (N,) class indices."""
    predicted = probabilities.argmax(1)
    confidence = probabilities.max(1)
    correct = predicted == labels
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        labels, predicted, labels=range(len(classes)), zero_division=0.0
    )
    figures = {
        "count": int(len(labels)),
        "accuracy": float(correct.mean()),
        "accuracy_95": wilson_interval(int(correct.sum()), len(labels)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(labels, predicted)),
        "macro_f1": float(f1.mean()),
        "classes": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "count": int(n)}
            for name, p, r, f, n in zip(classes, precision, recall, f1, support, strict=True)
        },
        "confusion": metrics.confusion_matrix(labels, predicted, labels=range(len(classes))).tolist(),
        "negative_log_likelihood": float(metrics.log_loss(labels, probabilities, labels=range(len(classes)))),
        "expected_calibration_error": expected_calibration_error(confidence, correct),
        "wrong_above_0.9_confidence": float((~correct & (confidence > 0.9)).mean()),
    }
    if len(classes) == 2 and len(set(labels.tolist())) == 2:
        figures["roc_auc"] = float(metrics.roc_auc_score(labels, probabilities[:, 1]))
    return figures
