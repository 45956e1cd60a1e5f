"""Runs of different recipes are told apart, and never mixed."""

import json

import pytest
import torch

from training.recipe import recipe_changes, seed_of
from training.unseen import finished_rounds

SETTINGS = {"lr": "0.001", "epochs": "6", "leave_out": "['tokens']", "out": "runs/a", "workers": "0", "world": 1}


def test_where_and_how_fast_a_run_was_computed_is_no_recipe():
    assert recipe_changes(SETTINGS, SETTINGS | {"out": "runs/b", "workers": "4", "world": 2, "commands": []}) == []


def test_every_other_setting_is_one():
    other = SETTINGS | {"lr": "0.01", "cutmix": "0.5"}
    assert recipe_changes(SETTINGS, other) == ["cutmix: None and 0.5", "lr: 0.001 and 0.01"]
    other = SETTINGS | {"leave_out": "['renders']"}
    assert recipe_changes(SETTINGS, other) and recipe_changes(SETTINGS, other, besides=("leave_out",)) == []


def test_the_seed_is_the_cards_or_the_runs(tmp_path):
    (tmp_path / "authenticity.json").write_text("{}")
    with pytest.raises(ValueError, match="seed"):
        seed_of(tmp_path, "authenticity")
    (tmp_path / "settings.json").write_text(json.dumps({"seed": "3"}))
    assert seed_of(tmp_path, "authenticity") == 3
    (tmp_path / "authenticity.json").write_text(json.dumps({"training": {"seed": 7}}))
    assert seed_of(tmp_path, "authenticity") == 7


def test_rounds_are_split_by_the_seed_of_their_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("training.unseen.Classifier", lambda *_: None)
    folder = tmp_path / "round_0" / "refitted"
    folder.mkdir(parents=True)
    (folder / "authenticity.json").write_text("{}")
    (folder / "settings.json").write_text(json.dumps(SETTINGS | {"seed": "5"}))
    assert [one.seed for one in finished_rounds(tmp_path, "authenticity", torch.device("cpu"), [], workers=0)] == [5]


def test_rounds_of_different_recipes_are_not_scored_together(tmp_path):
    for number, epochs in enumerate(("6", "6", "9")):
        folder = tmp_path / f"round_{number}" / "refitted"
        folder.mkdir(parents=True)
        (folder / "authenticity.json").write_text("{}")
        (folder / "settings.json").write_text(json.dumps(SETTINGS | {"epochs": epochs, "leave_out": str(number)}))
    with pytest.raises(ValueError, match="round_2.*epochs: 6 and 9"):
        finished_rounds(tmp_path, "authenticity", torch.device("cpu"), [], workers=0)


@pytest.mark.parametrize("change", [{"epochs": "9"}, {"patience": "3"}, {"content": "0.5"}, {"seed": "1"}])
def test_rounds_speak_only_for_a_run_of_their_recipe(tmp_path, change, monkeypatch):
    monkeypatch.setattr("training.unseen.Classifier", lambda *_: None)
    rounds = SETTINGS | {"patience": "6", "content": "1.0", "seed": "0"}
    for folder, settings in (
        ("round_0/refitted", rounds),
        ("run", rounds | {"leave_out": "()"}),
        ("other", rounds | change),
    ):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "authenticity.json").write_text("{}")
        (tmp_path / folder / "settings.json").write_text(json.dumps(settings))
    asked = tmp_path, "authenticity", torch.device("cpu"), [], 0
    assert len(finished_rounds(*asked, run=tmp_path / "run")) == 1
    with pytest.raises(ValueError, match=next(iter(change))):
        finished_rounds(*asked, run=tmp_path / "other")
