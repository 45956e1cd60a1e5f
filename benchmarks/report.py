"""Results as Markdown, JSON and SVG, each whole or not at all."""

import json
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from benchmarks.files import replace_file

RESULTS = Path(__file__).resolve().parent / "results"

matplotlib.rcParams |= {
    "svg.hashsalt": "imagetrust",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose first column is text and whose others are numbers."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def conditions_text(conditions: dict[str, object]) -> str:
    """A line for each condition of a run."""

    def text(value: object) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{name} {str(entry)[:12]}" for name, entry in value.items())
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    return "\n".join(f"- {name.replace('_', ' ')}: {text(value)}" for name, value in conditions.items())


def write(folder: Path, name: str, markdown: str, data: dict[str, object], figure: Figure) -> None:
    """Writes `<name>.md`, `.json` and `.svg` into the folder."""
    replace_file(folder / f"{name}.md", lambda temporary: temporary.write_text(markdown))
    content = json.dumps(data, indent=1, ensure_ascii=False) + "\n"
    replace_file(folder / f"{name}.json", lambda temporary: temporary.write_text(content))
    # Without a date the same numbers give the same bytes.
    replace_file(
        folder / f"{name}.svg",
        lambda temporary: figure.savefig(temporary, format="svg", bbox_inches="tight", metadata={"Date": None}),
    )
