"""The list of what is shipped is that of the pins."""

import re
import tomllib

import pytest

from archive_scripts.pins import PINS, table
from tests.test_house import ROOT, described

LOCK = """
[[packages]]
name = "young"
version = "2"
wheels = [{url = "w", upload-time = 2026-01-03T00:00:00Z}, {url = "x", upload-time = 2026-01-02T00:00:00Z}]
[[packages]]
name = "old"
version = "1"
sdist = {url = "s", upload-time = 2020-05-05T00:00:00Z}
"""


def test_the_oldest_comes_first_by_its_first_file():
    rows = table(tomllib.loads(LOCK)).splitlines()[2:]
    assert rows == ["| old | 1 | 2020-05-05 |", "| young | 2 | 2026-01-02 |"]


@pytest.mark.parametrize("missing", ["wheels = []", 'wheels = [{url = "w"}]', ""])
def test_without_dates_there_is_no_list(missing):
    with pytest.raises(ValueError, match="upload times"):
        table(tomllib.loads(f'[[packages]]\nname = "a"\nversion = "1"\n{missing}\n'))


def test_the_list_is_that_of_the_pins():
    """A pin that was raised needs the list anew, and so does a package that came."""
    listed = dict(re.findall(r"^\| (\S+) \| (\S+) \| 20", PINS.read_text(), re.MULTILINE))
    lines = (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    pins = {re.sub(r"[-_.]+", "-", name).lower(): version for name, _, version in lines}
    assert {name: version for name, version in listed.items() if pins.get(name, version) != version} == {}
    dependencies, extras = described()
    assert {name.lower() for name in dependencies | extras["serve"]} <= set(listed)
