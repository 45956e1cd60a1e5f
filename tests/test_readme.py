"""What the README says is what the commands print."""

from pathlib import Path

from training.results import table

README = (Path(__file__).resolve().parent.parent / "README.md").read_text()


def test_results_are_those_of_the_released_cards():
    assert table() in README, "run `python -m training.results` and put what it prints into the README"


def test_no_placeholder_is_left():
    assert "@@" not in README


def test_links_lead_somewhere():
    import re

    for document in [
        Path("README.md"),
        Path("CONTRIBUTING.md"),
        *(Path(__file__).resolve().parent.parent / "docs").glob("*.md"),
    ]:
        root = Path(__file__).resolve().parent.parent
        for target in re.findall(r"\]\(([^)#]+)\)", (root / document).read_text()):
            assert target.startswith("http") or ((root / document).parent / target).exists(), f"{document}: {target}"
