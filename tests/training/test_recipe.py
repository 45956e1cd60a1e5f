"""A recipe is typed, comes back as it was written, and a folder keeps to one."""

import argparse

import msgspec
import pytest

from training.recipe import RECIPE, Recipe, RecipeError, add_recipe_arguments, claim, read_recipe, recipe_of


def parsed(*arguments: str) -> Recipe:
    parser = argparse.ArgumentParser()
    add_recipe_arguments(parser)
    return recipe_of(parser.parse_args(list(arguments)))


def test_what_is_written_is_read(tmp_path):
    recipe = Recipe(held_out=("tokens",), epochs=3, learning_rate=0.01)
    recipe.write(tmp_path)
    assert read_recipe(tmp_path / RECIPE) == recipe


def test_settings_are_replaced_by_their_types():
    recipe = parsed("--set", "epochs=2", "--set", "backbone=resnet18", "--set", 'held_out=["tokens"]')
    assert (recipe.epochs, recipe.backbone, recipe.held_out) == (2, "resnet18", ("tokens",))
    assert parsed().changes(recipe) == [
        "backbone: clip_vit_b16 and resnet18", "held_out: () and ('tokens',)", "epochs: 0 and 2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("epochs", "NAME=VALUE"),
        ("epochs=many", "epochs"),
        ("epochs=-1", "epochs"),
        ("cutmix=2", "cutmix"),
        ("colour=red", "colour"),
        ("backbone=resnet99", "resnet99"),
        ("precision=int4", "precision"),
    ],
)
def test_what_does_not_fit_is_named(setting, word):
    with pytest.raises(RecipeError, match=word):
        parsed("--set", setting)


def test_a_folder_keeps_to_one_recipe(tmp_path):
    claim(tmp_path / "run", Recipe())
    claim(tmp_path / "run", Recipe())
    with pytest.raises(RecipeError, match=r"epochs: 9 and 4.*content: 1\.0 and 0\.0"):
        claim(tmp_path / "run", Recipe(epochs=4, content=0.0))
    assert read_recipe(tmp_path / "run" / RECIPE) == Recipe()


def test_runs_of_a_recipe_may_differ_in_what_they_hold_out():
    held_out = msgspec.structs.replace(Recipe(), held_out=("tokens",))
    assert Recipe().changes(held_out, besides=("held_out",)) == []
    assert Recipe().changes(held_out)
