"""The report of an untrained model on a procedural data set, from end to end."""

import json
import sys

import pytest

from evaluation import report
from evaluation.metrics_file import read_metrics, write_sections
from evaluation.report import licence_kind
from imagetrust.models.registry import BACKBONES
from tests.evaluation.tiny_backbone import TINY
from tests.evaluation.wild_set import make_wild_set
from tests.releases import untrained_release


@pytest.fixture(scope="module")
def reported(tmp_path_factory, small_data):
    """A release with every step done, and the folder of plots."""
    folder = tmp_path_factory.mktemp("report")
    wild = make_wild_set(folder / "wild", per_source=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, TINY.name, TINY)
        release = untrained_release(folder / "0.0", TINY)
        write_sections(release, {"held_out": {"kept": True}, "test": {"stale": True}})
        sizes = ("--corrupted", "8", "--attacked", "4", "--mapped", "2")
        command = ("--release", release, "--data", small_data, "--wild", wild, "--out", folder / "plots", *sizes)
        patch.setattr(sys, "argv", ["report", *map(str, command)])
        write_sections(release, {"held_out": {}})
        report.main()
    return release, folder / "plots" / "0.0"


def test_every_section_is_there_with_its_conditions(reported):
    metrics = read_metrics(reported[0])
    assert set(metrics) == {
        "data", "test", "held_out", "wild", "degraded", "stability", "attacks", "shortcuts", "failures", "maps",
        "golden",
    }  # fmt: skip
    for name in ("test", "wild", "attacks", "shortcuts", "failures", "maps", "golden"):
        assert metrics[name]["conditions"]["digest"], name
    for name in ("degraded", "stability"):
        assert set(metrics[name]) == {"test", "wild"}
        assert all(part["conditions"]["digest"] and part["count"] > 0 for part in metrics[name].values())


def test_other_sections_stay_and_stale_ones_go(reported):
    metrics = read_metrics(reported[0])
    assert metrics["held_out"] == {} and "stale" not in metrics["test"]


def test_metrics_are_plain_json_without_nan(reported):
    text = (reported[0] / "metrics.json").read_text()
    json.loads(text, parse_constant=lambda constant: pytest.fail(constant))


def test_documents_hold_the_metrics(reported):
    release, _ = reported
    text, card = (release / "REPORT.md").read_text(), (release / "MODEL_CARD.md").read_text()
    accuracy = read_metrics(release)["test"]["authenticity"]["accuracy"]["value"]
    assert f"{accuracy:.1%}" in text and f"{accuracy:.1%}" in card
    assert text.count("Not measured for this release") == 1, "held-out alone was not measured"
    assert "drawing" in text and "gradcam++" in text


def test_plots_and_predictions_lie_outside_the_release(reported, small_data):
    release, plots = reported
    assert {path.name for path in release.iterdir()} == {
        "config.json", "weights.safetensors", "metrics.json", "REPORT.md", "MODEL_CARD.md",
    }  # fmt: skip
    names = {path.name for path in plots.iterdir()}
    assert {"roc_authenticity.svg", "predictions_test_authenticity.csv", "errors_generator_type.png"} <= names
    lines = (plots / "predictions_wild_generator_type.csv").read_text().splitlines()
    assert lines[0] == "source,file,label,real,gan,diffusion,other" and len(lines) == 1 + 24


def test_one_step_leaves_the_others(reported, small_data, monkeypatch):
    release, plots = reported
    monkeypatch.setitem(BACKBONES, TINY.name, TINY)
    before = read_metrics(release)
    write_sections(release, {"maps": {}})
    options = ("--release", release, "--data", small_data, "--out", plots.parent, "--only", "maps", "--mapped", "2")
    monkeypatch.setattr(sys, "argv", ["report", *map(str, options)])
    report.main()
    assert read_metrics(release) == before


def test_the_wild_step_needs_a_wild_set(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", "--release", "x", "--data", "y", "--only", "wild"])
    with pytest.raises(SystemExit):
        report.main()
    assert "needs --wild" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("", "unknown"),
        ("unknown (ImageNet)", "unknown"),
        ("none stated", "unknown"),
        ("CC BY-NC 4.0", "research or non-commercial use alone"),
        ("MIT repo LICENSE; FFHQ CC BY-NC-SA/CC-BY per image", "research or non-commercial use alone"),
        ("MIT (repo LICENSE)", "stated, often for the repository's code alone"),
    ],
)
def test_kinds_of_licence(licence, kind):
    assert licence_kind(licence) == kind
