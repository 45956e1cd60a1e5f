"""Prints the packages of the product and of the extras that are named, as pyproject.toml has them."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
print(*project["dependencies"], *(name for extra in sys.argv[1:] for name in project["optional-dependencies"][extra]),
      sep="\n")  # fmt: skip
