"""Documents say what metrics.json says, and that a section is missing where it is."""

import re

import pytest

from evaluation.metrics import rate
from evaluation.metrics_file import write_sections
from evaluation.render import number, percent, render
from evaluation.render import rate as in_words
from imagetrust.models.registry import BACKBONES
from tests.evaluation.tiny_backbone import TINY
from tests.releases import untrained_release


@pytest.fixture
def release(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, TINY.name, TINY)
    return untrained_release(tmp_path / "0.0", TINY)


def test_filters_by_hand():
    assert in_words(rate(81, 263)) == "30.8% (25.5% to 36.6%; n = 263)"
    assert percent(0.0) == "0.0%" and number(0) == "0.000"
    assert in_words(None) == percent(None) == number(None) == "–"


@pytest.mark.parametrize("template", ["REPORT.md.j2", "MODEL_CARD.md.j2", "results.md.j2"])
def test_without_metrics_every_section_is_said_to_be_missing(release, template):
    text = render(template, release)
    assert "Not measured for this release" in text
    assert not re.search(r"\d%|\bNone\b|Undefined", text.partition("## Model details")[0])


def test_the_card_names_the_licence_and_the_worst_figures_first(release):
    attack = {"gradient": {"1": {"accuracy": rate(3, 200)}}, "evasion": {}}
    write_sections(release, {"attacks": attack})
    card = render("MODEL_CARD.md.j2", release)
    assert TINY.source in card
    assert card.index("1.5% (0.5% to 4.3%; n = 200)") < card.index("## Intended use")
