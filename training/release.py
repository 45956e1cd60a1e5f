"""Make a release, from training to the README's table: `make release VERSION=0.5`.

    python -m training.release --version 0.5 --data ROOT [--wild ROOT] [--recipe FILE] [--set NAME=VALUE ...]

The steps are training, last-layer fit, held-out runs, calibration, quantisation with the precision gate, and the report
with every protocol. All of it lies in runs/<version> until the last step moves the release into model_store/<version>.
Where the backbone stays as it starts, the heads are fitted once more at the end, to all but the test split: calibration
and gate are those of heads that had not seen the images, as scikit-learn's CalibratedClassifierCV does it.
Interrupted, the same command continues. It refuses a version that is released, and a folder of another recipe.
"""

import argparse
import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from evaluation import report
from evaluation.held_out import score_groups
from evaluation.metrics_file import METRICS, read_metrics, write_sections
from evaluation.predict import fp32_engine, predict
from evaluation.render import LESSONS, render
from evaluation.wild import wild_half
from imagetrust.files import file_sha256, replace_bytes, replace_json
from imagetrust.models.config import CONFIG, TASKS, WEIGHTS, Head, ModelConfig, Training
from imagetrust.models.model import Model
from imagetrust.runtime.precision_gate import GATE, Gate
from training import head
from training.calibration import MAX_FALSE_POSITIVES, MAX_WRONG
from training.data import DataError, Record, describe_data, read_artifact, read_wild, split
from training.embeddings import Embeddings
from training.held_out import (
    HeldOutRun,
    calibrate,
    find_thresholds,
    labelled_predictions,
    partly_real,
    score_runs,
    train_runs,
)
from training.quantise import quantise
from training.recipe import Recipe, RecipeError, add_recipe_arguments, claim, recipe_of
from training.reference import add_reference
from training.settle import settled_margins, view_logits
from training.teach import LESSON, lessons_of
from training.train import CURVES, train

ROOT = Path(__file__).resolve().parent.parent
MODEL_STORE = ROOT / "model_store"


def calibrated(
    run: Path,
    recipe: Recipe,
    version: str,
    data: Path,
    records: list[Record],
    runs: list[HeldOutRun],
    wild: Path | None,
    workers: int,
    embeddings: Embeddings | None,
) -> ModelConfig:
    """Return the description of a run's model with temperatures, biases, thresholds and margins of settled answers.

    The biases are those that `with_real_biases` gives the weights.
    """
    model = Model(run, calibrated=False)
    chosen = split(records, recipe.seed)["calibration"]
    engine = fp32_engine(model, cores=os.cpu_count() or 1)
    logits = embeddings.logits(model, chosen) if embeddings else predict(engine, chosen, workers=workers)
    whole = [record for record in read_wild(wild) if wild_half(record) == "choosing"] if wild else []
    whole_views = view_logits(engine, whole, workers) if whole else []
    whole_logits = {task: np.stack([row[task].mean(0).numpy() for row in whole_views]) for task in TASKS if whole}
    held_out = [one for each in runs for one in each.held_out("validation")]
    besides = partly_real(records)
    heads = {}
    for task in TASKS:
        known = labelled_predictions(task, chosen, logits, besides)
        elsewhere = [(one.group, one.predictions(task, besides)) for one in held_out]
        in_the_wild = labelled_predictions(task, whole, whole_logits) if whole else None
        scaling, thresholds, hold = calibrate(known, elsewhere, in_the_wild), None, None
        if task == "authenticity":
            thresholds, hold = find_thresholds(scaling, known, elsewhere, in_the_wild)
            if not hold:
                print(
                    f"It could not be shown that at most {MAX_FALSE_POSITIVES:.0%} of real images are called generated "
                    f"and at most {MAX_WRONG:.0%} of the verdicts are wrong"
                )
        heads[task] = msgspec.structs.replace(
            model.config.heads[task],
            temperature=scaling.temperature,
            real_bias=scaling.real_bias,
            thresholds=thresholds,
            thresholds_hold=hold,
        )
        print(f"{task}: {scaling}")
    model.config = msgspec.structs.replace(model.config, heads=heads)
    settled = {task: margins for task in TASKS if (margins := settled_margins(model, task, whole_views))}
    curves = run / CURVES
    return msgspec.structs.replace(
        model.config,
        version=version,
        settled=settled,
        training=Training(
            seed=recipe.seed,
            commands=(f"python -m training.release {shlex.join(sys.argv[1:])}",),
            epochs=len(curves.read_text().splitlines()) - 1 if curves.exists() else 0,
            data=describe_data(data, records),
            calibrated_on=tuple(one.group.name for one in held_out),
        ),
    )


def release(
    version: str,
    recipe: Recipe,
    data: Path,
    wild: Path | None,
    work: Path,
    store: Path,
    readme: Path | None = None,
    workers: int = 1,
    sizes: report.Sizes | None = None,
) -> Path:
    """Make a release and return its folder in the model store.

    Raises RecipeError where the version is released, or `work` holds a run of another recipe; DataError where the data
    cannot be used.
    """
    target = store / version
    if target.exists():
        raise RecipeError(f"{target} already exists: a release is never replaced, choose another version")
    claim(work, recipe)
    records = read_artifact(data)

    train(recipe, data, work / "run", workers)
    embeddings = None
    if recipe.epochs == 0:
        model = Model(work / "run", calibrated=False)
        runner = fp32_engine(model, cores=os.cpu_count() or 1).fast
        embeddings = Embeddings(runner, recipe.preprocessing, work / "embeddings", workers)
    fitted = head.fit(work / "run", data, workers, embeddings)
    runs = train_runs(recipe, data, work / "held_out", records, workers, embeddings)

    made = work / "release"
    if not (made / CONFIG).exists():
        made.mkdir(exist_ok=True)
        config = calibrated(fitted, recipe, version, data, records, runs, wild, workers, embeddings)
        save_file(with_real_biases(load_file(fitted / WEIGHTS), config.heads), made / WEIGHTS)
        msgspec.structs.replace(config, weights_sha256=file_sha256(made / WEIGHTS)).write(made)
        recipe.write(made)
        if (Path(recipe.start) / LESSON).exists():
            replace_json(made / LESSONS, lessons_of(Path(recipe.start)))
    if not (made / GATE).exists():
        quantise(made, data, recipe.seed, runs)
    if embeddings:
        made = refitted(made, work / "refitted", recipe, records, embeddings)
    evaluation = report.Evaluation(made, data, wild, work / "report", sizes or report.Sizes(), workers, embeddings)
    measured = read_metrics(made)
    if runs and "held_out" not in measured:
        section = score_groups(score_runs(runs, "test"))
        write_sections(made, {"held_out": {"conditions": evaluation.conditions()} | section})
    steps = [step for step in report.STEPS if step != "wild" or wild]
    report.run(evaluation, [step for step in steps if step not in measured])
    add_reference(made, evaluation.plots, data, wild)

    shutil.copytree(made, store / f".{version}.partial", dirs_exist_ok=True)
    (store / f".{version}.partial").rename(target)
    served = add_version(store / "current", version)
    if readme and served[0] == version:
        update_table(readme, target)
    return target


def add_version(current: Path, version: str) -> list[str]:
    """Write a version among those that are served, and return them, the default first.

    It takes the place of the one of its kind, which is what follows the hyphen: 1.1-fast of 1.0-fast, 1.1 of 1.0.
    """

    def kind(name: str) -> str:
        return name.partition("-")[2]

    served = current.read_text().split() if current.exists() else []
    replaced = [version if kind(name) == kind(version) else name for name in served]
    names = list(dict.fromkeys(replaced if version in replaced else [*replaced, version]))
    replace_bytes(current, "".join(f"{name}\n" for name in names).encode())
    return names


def with_real_biases(tensors: dict[str, torch.Tensor], heads: Mapping[str, Head]) -> dict[str, torch.Tensor]:
    """Return fitted tensors with what calibration adds to the logits of real images (`real_bias`) in their biases."""
    moved = {}
    for task, described in heads.items():
        moved[f"heads.{task}.bias"] = tensors[f"heads.{task}.bias"].clone()
        moved[f"heads.{task}.bias"][0] += described.real_bias
    return tensors | moved


def refitted(made: Path, out: Path, recipe: Recipe, records: list[Record], embeddings: Embeddings) -> Path:
    """Fit the heads of a calibrated release to all but the test split, into another folder, and return that."""
    if out.exists():
        return out
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(made, partial, ignore=shutil.ignore_patterns(METRICS, "*.md"))
    parts = split(records, recipe.seed)
    seen = [record for name, part in parts.items() if name != "test" for record in part]
    heads = head.fit_heads(seen, embeddings.of(seen), recipe, torch.device("cpu"), embeddings.workers)
    config = ModelConfig.read(made)
    save_file(load_file(made / WEIGHTS) | with_real_biases(heads, config.heads), partial / WEIGHTS)
    digest = file_sha256(partial / WEIGHTS)
    gate = Gate.read(made, config.weights_sha256)
    msgspec.structs.replace(config, weights_sha256=digest).write(partial)
    if gate:
        msgspec.structs.replace(gate, weights_sha256=digest).write(partial)
    partial.rename(out)
    return out


def update_table(readme: Path, folder: Path) -> None:
    """Replace the table between the README's two marks by that of a release."""
    table = render("results.md.j2", folder).rstrip()
    text = re.sub(
        r"(<!-- results -->\n).*(\n<!-- end of results -->)",
        lambda marks: marks[1] + table + marks[2],
        readme.read_text(),
        flags=re.DOTALL,
    )
    replace_bytes(readme, text.encode())


def main() -> None:
    """Make a release from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", required=True, help="of the released model, such as 0.5")
    parser.add_argument("--data", type=Path, required=True, help="an ArtiFact root")
    parser.add_argument("--wild", type=Path, help="a set of whole images, for the report alone")
    add_recipe_arguments(parser)
    parser.add_argument("--work", type=Path, help="folder of the runs; runs/<version> where not given")
    parser.add_argument("--store", type=Path, default=MODEL_STORE, help="where the release goes")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md", help="whose table is replaced")
    report.add_size_arguments(parser)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if not re.fullmatch(r"[0-9]+[.][0-9]+[-.\w]*", arguments.version):
        parser.error(f"{arguments.version!r} is not a version such as 0.5")
    work = arguments.work or ROOT / "runs" / arguments.version
    try:
        target = release(
            arguments.version, recipe_of(arguments), arguments.data, arguments.wild, work, arguments.store,
            arguments.readme if arguments.store == MODEL_STORE else None, arguments.workers, report.sizes_of(arguments),
        )  # fmt: skip
    except (RecipeError, DataError, ValueError) as error:
        sys.exit(f"error: {error}")
    print(f"Released {target}. Next: write its entry in CHANGELOG.md, then make serve")


if __name__ == "__main__":
    main()
