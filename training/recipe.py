"""A recipe: every setting that decides what weights a training gives, as typed JSON beside them."""

import argparse
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from imagetrust.files import replace_bytes
from imagetrust.images.views import Preprocessing, ViewRule
from imagetrust.models.registry import backbone_of

RECIPE = "recipe.json"
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Positive = Annotated[int, msgspec.Meta(gt=0)]


class Recipe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one training. Two runs of equal recipes on equal data differ by rounding alone.

    backbone: a name of imagetrust.models.registry. start: "pretrained", "scratch", or a release's folder.
    seed: of the split, the sampling and the augmentation. held_out: groups (training.groups) that it must never see.
    epochs: one draws as many images as the split has; 0 leaves the backbone as it starts. batch: images a step and
        process. learning_rate: peak, of AdamW, for a batch of 64. cutmix: share of the steps that use it.
    patience: epochs without a better validation before it stops. average: decay of the weights' moving average.
    crop_size: side of the training crops, pixels. native: share of them that are not resized.
    strength: of the corruptions among the augmentations, 0 to 1 (1: half of the images are recompressed).
    precision: auto is bf16 where the device multiplies it in hardware.
    size, views: how images are validated and served.
    inverse_penalty: of the logistic regression that fits the last layer (scikit-learn's C). content: how far
        authenticity's head is kept from judging by content (training.content); 0: not.
    """

    backbone: str = "efficientnet_lite0"
    start: str = "pretrained"
    seed: int = 0
    held_out: tuple[str, ...] = ()

    epochs: Annotated[int, msgspec.Meta(ge=0)] = 9
    batch: Positive = 64
    learning_rate: Annotated[float, msgspec.Meta(gt=0)] = 1e-3
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.05
    label_smoothing: Share = 0.05
    cutmix: Share = 0.5
    patience: Positive = 5
    average: Share = 0.998
    crop_size: Positive = 192
    native: Share = 0.75
    strength: Share = 0.35
    precision: Literal["auto", "bf16", "fp32"] = "auto"

    size: Positive = 192
    views: tuple[ViewRule, ...] = (ViewRule(fraction=0.96),)

    inverse_penalty: Annotated[float, msgspec.Meta(gt=0)] = 1e-3
    content: Annotated[float, msgspec.Meta(ge=0)] = 1.0

    @property
    def preprocessing(self) -> Preprocessing:
        """How images are validated and served."""
        backbone = backbone_of(self.backbone)
        return Preprocessing(self.size, "bicubic", backbone.mean, backbone.std, self.views)

    def changes(self, other: "Recipe", besides: tuple[str, ...] = ()) -> list[str]:
        """Return a line for each setting in which another recipe differs, those in `besides` left aside."""
        names = [field.name for field in msgspec.structs.fields(self) if field.name not in besides]
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in names)
        return [f"{name}: {one} and {two}" for name, one, two in pairs if one != two]

    def write(self, folder: Path) -> None:
        """Write the recipe into a run's folder."""
        replace_bytes(folder / RECIPE, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")


class RecipeError(Exception):
    """A recipe cannot be used; the message says why."""


def read_recipe(path: Path, settings: dict[str, Any] | None = None) -> Recipe:
    """Read a recipe file, with some settings replaced.

    Raises RecipeError, naming file and setting, where one is unknown or does not fit.
    """
    try:
        fields = msgspec.json.decode(path.read_bytes()) | (settings or {})
        recipe = msgspec.convert(fields, Recipe, strict=False)
        backbone_of(recipe.backbone)
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: {error}") from error
    return recipe


def claim(out: Path, recipe: Recipe) -> None:
    """Make a folder the place of this recipe's run, new or to be continued.

    Raises RecipeError where it holds a run of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not (out / RECIPE).exists():
        recipe.write(out)
    elif changes := read_recipe(out / RECIPE).changes(recipe):
        raise RecipeError(
            f"{out} holds a run of another recipe ({'; '.join(changes)}): continue with its own, choose another "
            "folder, or remove it"
        )


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """Add --recipe and --set, of which `recipe_of` makes the recipe."""
    default = Path(__file__).parent / "recipes" / "clip.json"
    parser.add_argument("--recipe", type=Path, default=default, help=f"a JSON file of settings ({default.name})")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="settings",
        help="replace a setting of the recipe; the class training.recipe.Recipe explains them",
    )  # fmt: skip


def recipe_of(arguments: argparse.Namespace) -> Recipe:
    """Return the recipe that parsed arguments name. Raises RecipeError where there is none."""
    settings: dict[str, Any] = {}
    for text in arguments.settings:
        name, separator, value = text.partition("=")
        if not separator:
            raise RecipeError(f"{text!r} is not NAME=VALUE")
        try:
            settings[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            settings[name] = value
    return read_recipe(arguments.recipe, settings)
