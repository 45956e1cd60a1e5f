"""Which of a run's settings make its weights, to tell two recipes apart."""

import json
from collections.abc import Mapping
from pathlib import Path

# Where and how fast a run was computed, and what training.train and training.refit note beside its arguments.
_ELSEWHERE = {"data", "out", "resume", "workers", "threads", "checkpoint_minutes", "world", "commands", "refitted_from"}


def read_settings(run: Path) -> dict:
    """What a run's folder says of how it was trained."""
    return json.loads((run / "settings.json").read_text())


def seed_of(folder: Path, task: str) -> int:
    """Return the seed of the split that a model was trained on: from its card once released, else from its run.

    Raises ValueError where neither names it.
    """
    card = json.loads((folder / f"{task}.json").read_text())
    if "training" in card:
        return card["training"]["seed"]
    if (folder / "settings.json").exists():
        return int(read_settings(folder)["seed"])
    raise ValueError(f"neither {task}.json nor a settings.json in {folder} names the seed of its split")


def recipe_changes(one: Mapping, other: Mapping, besides: tuple[str, ...] = ()) -> list[str]:
    """A line for each setting of the recipe in which two runs' settings differ, those in `besides` left aside."""
    names = sorted({*one, *other} - _ELSEWHERE - set(besides))
    return [f"{name}: {one.get(name)} and {other.get(name)}" for name in names if one.get(name) != other.get(name)]
