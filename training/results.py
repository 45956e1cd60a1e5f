"""Prints the results table of the README from the released cards: `python -m training.results`."""

import json

from training.data import CLASSES
from training.release import RELEASED


def table() -> str:
    """Markdown: one row a model, with what its figures depend on below."""
    rows = [
        "| model | version | test pictures | accuracy (95 %) | balanced | worst class F1 | ECE | wrong at over 90 % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    notes = []
    for task in CLASSES:
        card = json.loads((RELEASED / f"{task}.json").read_text())
        test = card["test"]
        low, high = test["accuracy_95"]
        worst = min(test["classes"], key=lambda name: test["classes"][name]["f1"])
        rows.append(
            f"| {task} | {card['version']} | {test['count']} | {test['accuracy']:.1%} ({low:.1%} to {high:.1%}) "
            f"| {test['balanced_accuracy']:.1%} | {test['classes'][worst]['f1']:.2f} ({worst}) "
            f"| {test['expected_calibration_error']:.3f} | {test['wrong_above_0.9_confidence']:.1%} |"
        )
        if "verdicts" in test:
            verdicts = test["verdicts"]
            notes.append(
                f"Verdicts of {task}: {verdicts['decided']:.1%} of the pictures are decided, "
                f"{verdicts['errors_among_decided']:.1%} of those wrongly; "
                f"{verdicts['photographs_called_generated']:.1%} of the photographs are called generated, "
                f"{verdicts['generated_called_real']:.1%} of the generated pictures real."
            )
    conditions = test["conditions"]
    notes.append(
        f"Data: {conditions['data']}, split {conditions['split']}, seed {conditions['seed']}. "
        f"Inference: {conditions['precision']} on {conditions['device']}, torch {conditions['torch']}."
    )
    return "\n".join(rows) + "\n\n" + "\n\n".join(notes)


if __name__ == "__main__":
    print(table())
