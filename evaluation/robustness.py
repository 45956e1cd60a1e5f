"""How an authenticity model fares on corrupted images: what accuracy remains, and whether copies keep their verdict."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.corruptions import COPIES, DEGRADATIONS, Corruption
from evaluation.metrics import balanced_accuracy, rate_of, verdict_metrics, verdicts_of
from evaluation.predict import predict, probabilities_of
from imagetrust.runtime.engine import Engine
from training.data import Record, label_of

TASK = "authenticity"


def generated_probability(
    engine: Engine, records: Sequence[Record], corruption: Corruption, workers: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return (N,) the calibrated probability of being generated after a corruption."""
    return probabilities_of(engine.model, TASK, predict(engine, records, corruption, workers=workers)[TASK])[:, 1]


def degraded_metrics(engine: Engine, records: Sequence[Record], workers: int = 0) -> dict[str, Any]:
    """Return `count` and, by name of the degradation, balanced accuracy and verdict metrics.

    Raises ValueError where the model has no thresholds.
    """
    thresholds = _thresholds(engine)
    labels = np.array([label_of(record, TASK) for record in records])
    rows = {}
    for name, corruption in DEGRADATIONS.items():
        generated = generated_probability(engine, records, corruption, workers)
        rows[name] = {
            "balanced_accuracy": balanced_accuracy((generated > 0.5).astype(int), labels),
            "real": rate_of(generated[labels == 0] <= 0.5),
            "generated": rate_of(generated[labels == 1] > 0.5),
            "verdicts": verdict_metrics(generated, labels, thresholds),
        }
    return {"count": len(records), "corruptions": rows}


def stability_metrics(engine: Engine, records: Sequence[Record], workers: int = 0) -> dict[str, Any]:
    """Return `count` and, by name of the copy, how often the verdict flips and how often it changes at all.

    A flip is from real to generated or back; a change is also one to or from uncertain.
    Raises ValueError where the model has no thresholds.
    """
    thresholds = _thresholds(engine)
    original = verdicts_of(generated_probability(engine, records, DEGRADATIONS["clean"], workers), thresholds)
    rows = {}
    for name, corruption in COPIES.items():
        copy = verdicts_of(generated_probability(engine, records, corruption, workers), thresholds)
        changed = original != copy
        rows[name] = {
            "flips": rate_of(changed & (original != "uncertain") & (copy != "uncertain")),
            "changes": rate_of(changed),
        }
    return {"count": len(records), "copies": rows}


def _thresholds(engine: Engine) -> Any:
    thresholds = engine.model.config.heads[TASK].thresholds
    if thresholds is None:
        raise ValueError("the model has no thresholds: calibrate it first")
    return thresholds
