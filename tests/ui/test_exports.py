"""Results as files."""

import csv
import io
import json

import pytest

from tests.client.answers import EXPLANATION
from tests.ui.results import answered, failed
from ui import exports


def rows(text: str) -> list[dict[str, str]]:
    assert text.startswith("\ufeff")
    return list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))


def test_a_table_has_a_row_for_each_picture_whatever_came_of_it():
    first, second = rows(exports.as_csv([answered(), failed()]))
    assert (first["picture"], first["verdict"], first["model_version"]) == ("photo.jpg", "generated", "1.0")
    assert (second["picture"], second["verdict"], second["error"]) == ("broken.jpg", "failed", "broken_picture")
    assert second["message"].startswith("The picture is damaged.")


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t=", "\r=", " =", "\uff1d"])
def test_no_cell_is_a_formula(begin):
    text = f'{begin}HYPERLINK("x")'
    row = rows(exports.as_csv([answered(text, summary=text)]))[0]
    assert row["picture"][0] == row["summary"][0] == "'"


def test_whole_answers_are_kept_without_the_picture():
    first, second = json.loads(exports.as_json([answered(), failed()]))
    assert first["picture"] == "photo.jpg" and first["summary"] == EXPLANATION["summary"]
    assert first["inferred"]["heatmap"]["values"] == [[0.0, 1.0]] and "overlay_png" not in first["inferred"]["heatmap"]
    assert second["error"]["code"] == "broken_picture" and second["error"]["request_id"] == "abc123"
