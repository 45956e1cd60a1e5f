"""The report and the model cards, written from the figures in training/reports/: no number is typed by hand.

Follows Mitchell et al. 2019, "Model Cards for Model Reporting" (arXiv 1810.03993).
"""

import json
from pathlib import Path

from training.data import CLASSES
from training.files import replace_bytes
from training.folds import FOLDS
from training.metrics import wilson_interval


def _figures(reports: Path, name: str) -> dict | None:
    path = reports / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _share(value: float, interval: tuple[float, float] | None = None) -> str:
    return f"{value:.1%}" if interval is None else f"{value:.1%} ({interval[0]:.1%}–{interval[1]:.1%})"


def _conditions(figures: dict) -> str:
    said = figures["conditions"]
    parts = f"{said['data']}, split {said['split']}, seed {said['seed']}; {said['precision']} on {said['device']}"
    return f"{parts}, torch {said['torch']}, Python {said['python']}"


def _seen_section(figures: dict, tasks: tuple[str, ...]) -> list[str]:
    lines = [
        f"Held-out pictures of known sources ({_conditions(figures)}).",
        "",
        "| model | pictures | accuracy (95 %) | balanced | macro F1 | AUC | ECE | wrong at over 90 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for task in tasks:
        row = figures[task]
        auc = f"{row['roc_auc']:.3f}" if "roc_auc" in row else "–"
        lines.append(
            f"| {task} | {row['count']} | {_share(row['accuracy'], row['accuracy_95'])} "
            f"| {row['balanced_accuracy']:.1%} | {row['macro_f1']:.3f} | {auc} "
            f"| {row['expected_calibration_error']:.3f} | {row['wrong_above_0.9_confidence']:.1%} |"
        )
    lines += ["", "| class | pictures | precision | recall | F1 |", "|---|---|---|---|---|"]
    for task in tasks:
        for name, row in figures[task]["classes"].items():
            lines.append(
                f"| {task}: {name} | {row['count']} | {row['precision']:.1%} | {row['recall']:.1%} | {row['f1']:.2f} |"
            )
    for task in tasks:
        if "verdicts" in figures[task]:
            verdicts = figures[task]["verdicts"]
            called = _share(verdicts["photographs_called_generated"], verdicts["photographs_called_generated_95"])
            lines += [
                "",
                f"Verdicts: {verdicts['decided']:.1%} of the pictures are decided, "
                f"{verdicts['errors_among_decided']:.1%} of those wrongly; {called} of the photographs are called "
                f"generated, {verdicts['generated_called_real']:.1%} of the generated pictures real.",
            ]
    return lines


def _balanced_interval(row: dict) -> tuple[float, float]:
    """The 95 % interval of a fold's balanced accuracy: by the normal approximation."""
    variance = sum(
        row[right] * (1 - row[right]) / row[count] / 4
        for right, count in (("photographs_right", "photographs"), ("generated_right", "generated"))
    )
    return row["balanced_accuracy"] - 1.96 * variance**0.5, row["balanced_accuracy"] + 1.96 * variance**0.5


def _called_interval(row: dict) -> tuple[float, float]:
    """The 95 % interval of a fold's share of photographs called generated."""
    return wilson_interval(round(row["photographs_called_generated"] * row["photographs"]), row["photographs"])


def _unseen_section(figures: dict) -> list[str]:
    folds = figures["folds"]
    lines = [
        f"Left out of training, of the thresholds and of the temperature ({_conditions(figures)}; trained with "
        f"`{' '.join(figures['options'])}`, a run for each round of training/folds.py). Each round is calibrated half "
        "on what it knows, half on what the other rounds' models had not seen.",
        "",
        "| fold | left out | real | generated | real right | generated right | balanced (95 %) | AUC | ECE "
        "| over 90 % and wrong | decided | of those wrong | photographs called generated |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in folds.items():
        lines.append(
            f"| {name} | {row['reason']} | {row['photographs']} | {row['generated']} | {row['photographs_right']:.1%} "
            f"| {row['generated_right']:.1%} | {_share(row['balanced_accuracy'], _balanced_interval(row))} "
            f"| {row['auc']:.3f} | {row['expected_calibration_error']:.3f} | {row['wrong_above_0.9_confidence']:.1%} "
            f"| {row['decided']:.1%} | {row['errors_among_decided']:.1%} "
            f"| {_share(row['photographs_called_generated'], _called_interval(row))} |"
        )
    generators = {name: row for name, row in folds.items() if not FOLDS[name].photographs}
    if generators:
        said = []
        for what, key in (("recall", "generated_right"), ("balanced accuracy", "balanced_accuracy")):
            worst = min(generators, key=lambda name, key=key: generators[name][key])
            mean = sum(row[key] for row in generators.values()) / len(generators)
            said.append(f"mean {what} {mean:.1%}, worst fold {worst} {generators[worst][key]:.1%}")
        lines += ["", f"Unseen generators: {'; '.join(said)}. {_confidence_on_unseen(figures, generators)}"]
    return lines


def _confidence_on_unseen(figures: dict, generators: dict[str, dict]) -> str:
    """Say how far confidence may be trusted on unseen generators' pictures alone.

    Figures taken before these were counted apart give a bound: all confident errors of the folds might be theirs.
    """
    together = figures.get("unseen_generators_together")
    if together:
        return (
            f"Their {together['count']} pictures together: ECE {together['expected_calibration_error']:.3f}, over 90 % "
            f"and wrong {together['wrong_above_0.9_confidence']:.1%}."
        )
    count = sum(row["generated"] for row in generators.values())
    wrong = sum(
        round(row["wrong_above_0.9_confidence"] * (row["generated"] + row["photographs"]))
        for row in generators.values()
    )
    return f"Of their {count} pictures at most {wrong} are wrong at over 90 % ({wrong / count:.1%})."


def _worn_section(figures: dict) -> list[str]:
    degraded = ", ".join(f"{name} {row['balanced_accuracy']:.1%}" for name, row in figures["degraded"].items())
    lines = [
        f"{figures['count']} pictures ({_conditions(figures)}). Balanced accuracy: {degraded}. The pictures of "
        "artifact_mini have at most 200 pixels a side, so web and hard only recompress them there.",
        "",
        "| copy | verdict turns from real to generated or back (95 %) |",
        "|---|---|",
    ]
    for name, row in figures["stability"].items():
        lines.append(f"| {name} | {_share(row['flips'], row['flips_95'])} |")
    return lines


def _attacked_section(figures: dict) -> list[str]:
    count = figures["gradient"]["0"]["count"]
    lines = [
        f"Projected gradient descent in fp32 with the weights known, {count} pictures, half of them real. What hides "
        f"traces, further down, on the whole split ({_conditions(figures)}).",
        "",
        "| eps | accuracy (95 %) |",
        "|---|---|",
    ]
    for eps, row in figures["gradient"].items():
        lines.append(f"| {eps}/255 | {_share(row['accuracy'], row['accuracy_95'])} |")
    lines += [
        "",
        "Nothing was trained against such attacks: who has the weights can turn any verdict with changes that no eye "
        "sees. What hides traces without knowing the weights:",
        "",
        "| done to the picture | generated found | photographs kept |",
        "|---|---|---|",
    ]
    for name, row in figures["hiding"].items():
        lines.append(f"| {name} | {row['generated_right']:.1%} | {row['photographs_right']:.1%} |")
    return lines


def _matched_section(figures: dict) -> list[str]:
    alone = ", ".join(f"{name} {value:.1%}" for name, value in figures["from_the_file_alone"].items())
    lines = [
        f"A model that sees only the file, never a pixel, reaches in balanced accuracy: {alone}. Ours on pairs of "
        f"sources that share what could give them away ({_conditions(figures)}):",
        "",
        "| pair | shared | generated | real | balanced | AUC |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in figures["pairs"].items():
        lines.append(
            f"| {name} | {row['shared']} | {row['generated']} | {row['photographs']} "
            f"| {row['balanced_accuracy']:.1%} | {row['auc']:.3f} |"
        )
    return lines


def _failures_section(figures: dict) -> list[str]:
    worst = [(name, row) for name, row in figures["sources"].items() if row["count"] >= 5][:10]
    lines = [
        "The ten sources that fail most, of those with five test pictures or more:",
        "",
        "| source | pictures | accuracy (95 %) |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {row['count']} | {_share(row['accuracy'], row['accuracy_95'])} |" for name, row in worst]
    return lines


def _sections(reports: Path, tasks: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    """(title, lines) of every protocol that has figures; those of authenticity alone only where it is asked for."""
    makers = [("seen", "Seen: known sources", lambda figures: _seen_section(figures, tasks))]
    if "authenticity" in tasks:
        makers += [
            ("unseen", "Unseen: generators and photographs left out", _unseen_section),
            ("robustness", "Degraded pictures, and copies", _worn_section),
            ("adversarial", "Under attack", _attacked_section),
            ("pairs", "Shortcuts", _matched_section),
        ]
    makers += [(f"{task}_failures", f"Where {task} fails", _failures_section) for task in tasks]
    found = [(title, maker, _figures(reports, name)) for name, title, maker in makers]
    return [(title, maker(figures)) for title, maker, figures in found if figures is not None]


_PLOTS = {
    "Seen: known sources": (
        "roc",
        "coverage",
        *(f"{task}_{kind}" for task in CLASSES for kind in ("confusion", "reliability")),
    ),
    "Degraded pictures, and copies": ("degraded",),
    "Under attack": ("gradient",),
    **{f"Where {task} fails": (f"{task}_sources", f"{task}_categories") for task in CLASSES},
}  # fmt: skip


def write_report(reports: Path) -> None:
    """REPORT.md: every protocol's figures with their conditions, and the plots."""
    lines = ["# What the released models can and cannot do", "", "Written by `python -m training.report`.", ""]
    for title, section in _sections(reports, tuple(CLASSES)):
        lines += [f"## {title}", "", *section, ""]
        shown = [name for name in _PLOTS.get(title, ()) if (reports / f"{name}.svg").exists()]
        if shown:
            lines += [" ".join(f"![{name.replace('_', ' ')}]({name}.svg)" for name in shown), ""]
    replace_bytes(reports / "REPORT.md", ("\n".join(lines).rstrip() + "\n").encode())


def _calibration(card: dict) -> str:
    if not card.get("calibrated_on_unseen"):
        return "The probability is calibrated on pictures like the training data's."
    return (
        "The probability is calibrated for pictures of which half come from sources like the training data's and half "
        f"from ones that were not seen ({', '.join(card['calibrated_on_unseen'])}): on known sources it says less than "
        "the model could, on unseen ones not much more."
    )


_NOT_FOR = """
- Deciding alone about a person: an accusation of forgery, an exam, a moderation strike, evidence in court.
- Saying that a picture is *true*. A photograph can be staged, cut or captioned falsely.
- Generators that it has not seen, at the accuracy of those that it has: see the unseen folds below.
- Pictures edited by a generator in a small part; screenshots of screens; scans of prints: hardly in the training data.
- An adversary who has the weights: see under attack below.
"""


def write_cards(released: Path, reports: Path) -> None:
    """One Markdown card beside each released weights file."""
    for task in CLASSES:
        card = json.loads((released / f"{task}.json").read_text())
        training = card["training"]
        counts = ", ".join(f"{name} {count}" for name, count in training["pictures"].items())
        classes = ", ".join(card["classes"])
        lines = [
            f"# {task} {card['version']}",
            "",
            f"{card['architecture']}, classes {classes}; sees the central {card['preprocessing']['crop']:.0%} of the "
            f"shorter side at {card['preprocessing']['size']} pixels. Weights: `{task}.safetensors` "
            f"(fp16, SHA-256 `{card['weights_sha256']}`). The JSON card beside this one is what the server reads.",
            "",
            "## For",
            "",
            "A second opinion for people who know that it errs, and a signal beside others for machines that act on "
            f"`uncertain` as well. {_calibration(card)}",
            "",
            "## Not for",
            _NOT_FOR.rstrip(),
            "",
            "## Data",
            "",
            "artifact_mini: crops of at most 200 pixels, JPEG 65 to 95, in ArtiFact's layout; pictures by split: "
            f"{counts}. Diffusion is mostly Stable Diffusion, GAN mostly faces, other mostly engine renders. Inpainted "
            "and super-resolved pictures count as generated. The licences of about half of the sources are unknown or "
            "non-commercial: the weights are for research and evaluation. EfficientNet-Lite0's ImageNet weights are "
            "under Apache-2.0.",
            "",
            "## Recipe",
            "",
            *[f"```sh\n{command}\n```" for command in training["commands"]],
            "",
            f"{training['epochs']} epochs in the last of these. docs/training.md says how the recipe was chosen.",
            "",
        ]
        for title, section in _sections(reports, (task,)):
            lines += [f"## {title}", "", *section, ""]
        replace_bytes(released / f"{task}.md", ("\n".join(lines).rstrip() + "\n").encode())
