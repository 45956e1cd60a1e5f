"""What the README says is what the commands print."""

import re
from pathlib import Path

import pytest

from evaluation.render import render
from tests.releases import CURRENT

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_results_are_those_of_the_served_release():
    table = re.search(r"<!-- results -->\n(.*)\n<!-- end of results -->", README, re.DOTALL)[1]
    assert table == render("results.md.j2", CURRENT).rstrip(), "put what `python -m evaluation.results` prints there"


@pytest.mark.parametrize(
    "document", sorted(p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / document).read_text()):
        assert target.startswith("http") or ((ROOT / document).parent / target).exists(), f"{document}: {target}"


def test_the_served_release_has_its_entry_in_the_changelog():
    assert f"## [{CURRENT.name}]" in (ROOT / "CHANGELOG.md").read_text()
