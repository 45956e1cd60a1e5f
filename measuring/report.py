"""Results for reading."""

from collections.abc import Mapping, Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table, padded so that a terminal shows it well; the first column is text."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    ruler = [("-" * width if index == 0 else "-" * (width - 1) + ":") for index, width in enumerate(widths)]
    padded = [
        [f"{cell:<{width}}" if index == 0 else f"{cell:>{width}}" for index, (cell, width) in enumerate(pairs)]
        for pairs in (zip(line, widths, strict=True) for line in lines)
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in (padded[0], ruler, *padded[1:]))


def conditions_text(conditions: Mapping[str, object]) -> str:
    """Return a line for each condition of a run."""

    def text(value: object) -> str:
        if isinstance(value, Mapping):
            return ", ".join(f"{name} {entry}" for name, entry in value.items())
        return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)

    return "\n".join(f"- {name.replace('_', ' ')}: {text(value)}" for name, value in conditions.items())
