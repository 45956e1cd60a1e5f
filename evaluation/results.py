"""Print the README's table of results, from the metrics of a release: `python -m evaluation.results`."""

import argparse
from pathlib import Path

from evaluation.render import render

MODEL_STORE = Path(__file__).resolve().parent.parent / "model_store"


def current_release(store: Path = MODEL_STORE) -> Path:
    """Return the folder of the release that is served by default."""
    return store / (store / "current").read_text().split()[0]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", type=Path, help="a release's folder; the one that is served by default")
    print(render("results.md.j2", parser.parse_args().release or current_release()), end="")


if __name__ == "__main__":
    main()
