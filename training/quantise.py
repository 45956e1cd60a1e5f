"""Makes the released trunks fast, and measures what that changes:

    python -m training.quantise --data ROOT --rounds runs/unseen

Quantises each trunk to int8 with training pictures, finds on the calibration split how close to changing an answer must
be to be computed again in fp32 (the band), and compares with fp32 on the validation split and, with the finished rounds
of training.unseen, on generators that those had not seen. Everything lands beside the weights; an archive takes it only
where handlers.gate finds nothing to refuse.
"""

import argparse
import logging
import platform
import random
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

from handlers.card import Card, read_card
from handlers.classifier import Classifier
from handlers.engine import Engine, gate_file, quantised_file
from handlers.gate import missed
from handlers.network import file_sha256
from handlers.openvino_trunk import OpenVinoTrunk, openvino, save_network, to_openvino
from handlers.preprocessing import needed_side, picture_to_pixels
from handlers.processor import CPUINFO
from handlers.trunk import PixelTrunk
from handlers.verdicts import verdict
from training.data import CLASSES, Pictures, Record, labelled, read_artifact, split
from training.files import replace_bytes, replace_json
from training.metrics import expected_calibration_error
from training.recipe import seed_of
from training.release import RELEASED
from training.unseen import finished_rounds, scored_folds

import nncf  # isort: skip (after openvino, which handlers.openvino_trunk keeps from reporting itself)

PICTURES = 300  # of the training split, that quantisation sees; NNCF's own default
KEPT = 3  # convolutions at the network's beginning that stay in fp32: there the rounding costs most (docs/backends.md)
CHANGED = 0.003  # share of the calibration pictures that may change outside the band: the gate allows 0.005
BATCH = 8


@dataclass(frozen=True)
class Trunk:
    """A trunk in fp32 and in each fast precision that this processor computes, ready to run."""

    exact: OpenVinoTrunk
    fast: dict[str, OpenVinoTrunk]
    int8: tuple[bytes, bytes]  # the contents of the .xml and the .bin


def pixels_of(records: list[Record], classifier: Classifier) -> np.ndarray:
    """(N, size, size, 3) uint8: what the server would make of the records' files."""
    preprocessing = classifier.card.preprocessing
    pictures = Pictures(
        [(record, 0) for record in records],
        lambda image: torch.from_numpy(picture_to_pixels(image, preprocessing)),
        needed_side(preprocessing),
    )
    return torch.cat([batch for batch, _ in tqdm(DataLoader(pictures, BATCH), desc="decoding", mininterval=5)]).numpy()


def quantised(model: openvino.Model, pixels: np.ndarray) -> openvino.Model:
    """A trunk in int8, its ranges taken from (N, size, size, 3) uint8 pictures."""
    convolutions = [
        node.get_friendly_name()
        for node in model.get_ordered_ops()
        if node.get_type_name() in ("Convolution", "GroupConvolution")
    ]
    return nncf.quantize(
        model,
        nncf.Dataset([picture[None] for picture in pixels]),
        subset_size=len(pixels),
        preset=nncf.QuantizationPreset.PERFORMANCE,
        ignored_scope=nncf.IgnoredScope(names=convolutions[:KEPT]),
    )


def compiled(networks: dict[str, Path], threads: int) -> dict[str, OpenVinoTrunk]:
    """Compile a network for each precision, without those that this processor does not compute; they are named.

    Measured all the same, they would pass the gate as the fp32 that OpenVINO falls back to.
    """
    trunks = {}
    for precision, network in networks.items():
        try:
            trunks[precision] = OpenVinoTrunk(network, precision, threads)
        except RuntimeError as error:
            print(f"{precision} cannot be measured and gets no band: {error}")
    return trunks


def processor_flags(cpuinfo: Path = CPUINFO) -> dict[str, bool]:
    """Say which instructions that bf16 and int8 are computed with this processor has."""
    flags = next((line.split() for line in cpuinfo.read_text().splitlines() if line.startswith("flags")), [])
    return {flag: flag in flags for flag in ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx_vnni")}


def prepare(classifier: Classifier, training: list[Record], seed: int) -> Trunk:
    """Quantises a classifier's trunk with some of these training pictures."""
    chosen = random.Random(seed).sample(training, min(PICTURES, len(training)))
    model = to_openvino(PixelTrunk(classifier.trunk, classifier.card.preprocessing), classifier.card.preprocessing.size)
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="imagetrust-quantise-") as folder:
        exact, int8 = Path(folder) / "fp32.xml", Path(folder) / "int8.xml"
        save_network(model, exact)
        save_network(quantised(model, pixels_of(chosen, classifier)), int8)
        return Trunk(
            exact=OpenVinoTrunk(exact, "fp32", threads),
            fast=compiled({"bf16": exact, "int8": int8}, threads),
            int8=(int8.read_bytes(), int8.with_suffix(".bin").read_bytes()),
        )


def score(engine: Engine, classifiers: list[Classifier], pixels: np.ndarray) -> dict[str, torch.Tensor]:
    """The logits (N, classes) of each classifier, in batches."""
    batches = [
        engine.score(pixels[start : start + BATCH], classifiers)[1]
        for start in tqdm(range(0, len(pixels), BATCH), desc=engine.name, mininterval=5)
    ]
    return {name: torch.cat([logits[name] for logits in batches]) for name in batches[0]}


def answers(classifier: Classifier, logits: torch.Tensor) -> list[tuple]:
    """What a caller would act on, for each picture: the label, and the verdict where the model gives one."""
    probabilities = classifier.probabilities(logits)
    labels = probabilities.argmax(1).tolist()
    if classifier.card.thresholds is None:
        return [(label,) for label in labels]
    return [
        (label, verdict(generated, classifier.card.thresholds))
        for label, generated in zip(labels, probabilities[:, 1].tolist(), strict=True)
    ]


def find_band(classifier: Classifier, exact: torch.Tensor, fast: torch.Tensor) -> float:
    """The smallest band, in calibrated logits, outside of which at most CHANGED of the pictures get another answer."""
    pairs = zip(answers(classifier, exact), answers(classifier, fast), strict=True)
    changed = torch.tensor([one != other for one, other in pairs])
    needed = torch.where(changed, classifier.distance_to_change(fast), 0.0).sort(descending=True).values
    # A hundredth more, since an answer at the band's border stays outside.
    return round(float(needed[int(CHANGED * len(needed))]) + 0.01, 4)


def compare(classifier: Classifier, exact: torch.Tensor, fast: torch.Tensor, labels: np.ndarray) -> dict[str, float]:
    """How the figures of a model change from exact to fast logits (N, classes)."""
    figures = {}
    for name, logits in (("fp32", exact), ("fast", fast)):
        probabilities = classifier.probabilities(logits).numpy()
        correct = probabilities.argmax(1) == labels
        recalls = [correct[labels == label].mean() for label in sorted(set(labels.tolist()))]
        figures[name] = (float(np.mean(recalls)), expected_calibration_error(probabilities.max(1), correct))
    changed = [one != other for one, other in zip(answers(classifier, exact), answers(classifier, fast), strict=True)]
    return {
        "balanced_accuracy": round(figures["fp32"][0], 5),
        "balanced_accuracy_change": round(figures["fast"][0] - figures["fp32"][0], 5),
        "verdicts_changed": round(float(np.mean(changed)), 5),
        "calibration_error_change": round(figures["fast"][1] - figures["fp32"][1], 5),
    }


def gated(by_model: dict[str, dict[str, float]], by_fold: dict[str, float]) -> dict[str, float]:
    """Return the changes that the gate judges: of all models, and of all unseen folds, the one farthest from 0.

    by_model: what `compare` says of each model. by_fold: the change of balanced accuracy on each fold; where none was
    measured, that change is missing and so refused.
    """
    figures = {
        name: max((row[name] for row in by_model.values()), key=abs)
        for name in ("balanced_accuracy_change", "verdicts_changed", "calibration_error_change")
    }
    return figures | ({"unseen_balanced_accuracy_change": max(by_fold.values(), key=abs)} if by_fold else {})


def unseen_changes(folder: Path, data: list[Record], released: Card) -> dict[str, dict[str, float]]:
    """By precision and fold: the change of balanced accuracy on generators that a round's model had not seen.

    Each round's trunk is quantised and given its own band, as the released one is; so it is given the released model's
    calibration too, which says where an answer changes. A run's own card has none yet: its band would keep apart the
    labels of overconfident answers alone, and be a fraction as wide.
    Raises ValueError where the rounds are not of one recipe.
    """
    changes: dict[str, dict[str, float]] = {}
    for one in finished_rounds(folder, "authenticity", torch.device("cpu"), data, workers=0):
        classifier = one.classifier
        classifier.card = replace(classifier.card, temperature=released.temperature, thresholds=released.thresholds)
        parts = split(one.known, one.seed)
        trunk = prepare(classifier, parts["train"], one.seed)
        exact = Engine("fp32", trunk.exact)
        calibration = pixels_of(parts["calibration"], classifier)
        reference = score(exact, [classifier], calibration)
        engines = {}
        for precision, fast in trunk.fast.items():
            plain = score(Engine(precision, fast), [classifier], calibration)
            bands = {name: find_band(classifier, reference[name], plain[name]) for name in plain}
            engines[precision] = Engine(precision, fast, trunk.exact, bands)
        generators = [fold for fold in one.folds if not fold.photographs]
        for name, items in scored_folds(data, one.known, generators, "validation", one.seed).items():
            pixels = pixels_of([record for record, _ in items], classifier)
            labels = np.array([label for _, label in items])
            reference_here = score(exact, [classifier], pixels)["authenticity"]
            for precision, engine in engines.items():
                logits = score(engine, [classifier], pixels)["authenticity"]
                compared = compare(classifier, reference_here, logits, labels)
                changes.setdefault(precision, {})[name] = compared["balanced_accuracy_change"]
    return changes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the ArtiFact root that the models were trained on")
    parser.add_argument("--released", type=Path, default=RELEASED, help="folder of weights and cards")
    parser.add_argument("--rounds", type=Path, help="the --out of a finished training.unseen of the same recipe")
    parser.add_argument(
        "--without", choices=("bf16", "int8"), help="a precision that missed the gate, not to be served"
    )
    arguments = parser.parse_args()
    nncf.set_log_level(logging.ERROR)

    data = read_artifact(arguments.data)
    seeds = {seed_of(arguments.released, task) for task in CLASSES}
    if len(seeds) > 1:
        sys.exit(f"error: the models of {arguments.released} were trained on different splits, of the seeds {seeds}")
    seed = seeds.pop()
    parts = split(data, seed)
    unseen = {}
    if arguments.rounds:
        card = read_card(arguments.released / "authenticity.json")
        try:
            unseen = unseen_changes(arguments.rounds, data, card)
        except ValueError as error:
            sys.exit(f"error: {error}")
    by_trunk: dict[str, list[Classifier]] = {}
    for task in CLASSES:
        classifier = Classifier(arguments.released, task, torch.device("cpu"))
        by_trunk.setdefault(classifier.trunk_id, []).append(classifier)
    for stale in arguments.released.glob("trunk-*"):
        if stale.name.removeprefix("trunk-").partition(".")[0] not in by_trunk:
            stale.unlink()  # of weights that were replaced
    refused = False
    for trunk_id, classifiers in by_trunk.items():
        gate = quantise(trunk_id, classifiers, parts, arguments.released, seed)
        if not gate["figures"]:
            sys.exit("error: this processor computes no precision below fp32, so none can be measured here")
        for precision, figures in gate["figures"].items():
            by_fold = unseen.get(precision, {})
            figures |= gated(figures["models"], by_fold) | {"unseen_folds": by_fold}
        gate["bands"].pop(arguments.without, None)
        gate["conditions"] = {
            "data": arguments.data.name,
            "seed": str(seed),
            "processor": platform.processor() or platform.machine(),
            "processor_flags": processor_flags(),
            "compiled_precisions": gate.pop("compiled_precisions"),
            "openvino": openvino.get_version(),
            "nncf": nncf.__version__,
            "torch": torch.__version__,
        }
        replace_json(arguments.released / gate_file(trunk_id), gate)
        for precision, figures in gate["figures"].items():
            lines = missed(figures)
            refused |= bool(lines) and precision in gate["bands"]
            print(f"trunk {trunk_id}, {precision}: {'; '.join(lines) or 'passed'}\n  {figures}")
    print("Next: make archives" if not refused else "An archive of these will not be built (handlers/gate.py).")
    sys.exit(1 if refused else 0)


def quantise(
    trunk_id: str, classifiers: list[Classifier], parts: dict[str, list[Record]], released: Path, seed: int
) -> dict:
    """Writes one trunk's int8 network and returns what its gate file says, without what the gate judges (`gated`)."""
    trunk = prepare(classifiers[0], parts["train"], seed)
    files = {}
    network = released / quantised_file(trunk_id)
    for path, content in zip((network, network.with_suffix(".bin")), trunk.int8, strict=True):
        replace_bytes(path, content)
        files[path.name] = file_sha256(path)

    exact = Engine("fp32", trunk.exact)
    calibration = pixels_of(parts["calibration"], classifiers[0])
    validation = pixels_of(parts["validation"], classifiers[0])
    calibration_exact, validation_exact = (score(exact, classifiers, pixels) for pixels in (calibration, validation))
    bands, figures = {}, {}
    for precision, fast in trunk.fast.items():
        plain = score(Engine(precision, fast), classifiers, calibration)
        bands[precision] = {
            one.card.name: find_band(one, calibration_exact[one.card.name], plain[one.card.name]) for one in classifiers
        }
        plain = score(Engine(precision, fast), classifiers, validation)
        logits = score(Engine(precision, fast, trunk.exact, bands[precision]), classifiers, validation)
        by_model = {}
        for classifier in classifiers:
            name = classifier.card.name
            items = labelled(parts["validation"], name)
            kept = {id(record) for record, _ in items}
            rows = torch.tensor([id(record) in kept for record in parts["validation"]])
            labels = np.array([label for _, label in items])
            again = classifier.distance_to_change(plain[name]) < bands[precision][name]
            by_model[name] = {
                "pictures": len(labels),
                "computed_again": round(float(again.float().mean()), 4),
                **compare(classifier, validation_exact[name][rows], logits[name][rows], labels),
                "without_band": compare(classifier, validation_exact[name][rows], plain[name][rows], labels),
            }
        figures[precision] = {"models": by_model}
    compiled_to = {precision: fast.precision for precision, fast in trunk.fast.items()}
    return {"bands": bands, "figures": figures, "files": files, "compiled_precisions": compiled_to}


if __name__ == "__main__":
    main()
