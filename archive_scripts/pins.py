"""List what a serving machine installs, with the date of each version: `python -m archive_scripts.pins LOCK`.

LOCK is a pylock.toml (PEP 751) with upload times, which uv writes:

    uv pip compile pyproject.toml --extra serve -c constraints.txt --python-version 3.11 --format pylock.toml -o LOCK

The list goes to deploy/pins.md: what is old there is looked at first (deploy/SECURITY.md).
"""

import argparse
import datetime
import tomllib
from pathlib import Path
from typing import Any

PINS = Path(__file__).resolve().parent.parent / "deploy" / "pins.md"


def released(package: dict[str, Any]) -> datetime.date:
    """Return the day on which the first file of a package's version was published."""
    files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
    return min(file["upload-time"] for file in files).date()


def table(lock: dict[str, Any]) -> str:
    """Return the packages of a lock as a table of Markdown, the oldest first. Raises ValueError without dates."""
    try:
        rows = sorted((released(package), package["name"], package["version"]) for package in lock["packages"])
    except (KeyError, ValueError) as error:
        raise ValueError(f"a package without files or their upload times: {error}") from error
    lines = [f"| {name} | {version} | {day} |" for day, name, version in rows]
    return "\n".join(["| package | version | published |", "|---|---|---|", *lines])


def main() -> None:
    """Write deploy/pins.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lock", type=Path)
    arguments = parser.parse_args()
    text = table(tomllib.loads(arguments.lock.read_text()))
    PINS.write_text(f"# What a serving machine installs\n\n`python -m archive_scripts.pins` writes this.\n\n{text}\n")


if __name__ == "__main__":
    main()
