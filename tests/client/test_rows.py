import csv
import io
import json

import msgspec
import pytest

from imagetrust.client import Explanation, Verdicts
from imagetrust.client.rows import Csv, JsonLines, Row, Table, printable
from tests.client.answers import BOTH, EXPLANATION

VERDICTS = msgspec.convert(BOTH, Verdicts)
ROWS = {
    "verdicts": Row("a.jpg", VERDICTS),
    "explanation": Row("b.jpg", msgspec.convert(EXPLANATION, Explanation), "maps/b.png"),
    "failed": Row("c.jpg", code="too_small", message="It is small.", request_id="id-1"),
}


def printed(form, *rows):
    file = io.StringIO()
    rows_of = form(file)
    rows_of.begin()
    for row in rows:
        rows_of.add(row)
    return file.getvalue()


def test_a_table_is_for_reading():
    lines = printed(Table, *ROWS.values()).splitlines()
    assert lines[0].split() == ["verdict", "generated", "family", "picture"]
    assert lines[1].split() == ["generated", "90.0%", "diffusion", "70%", "a.jpg"]
    assert lines[2].split() == ["generated", "90.0%", "diffusion", "70%", "b.jpg"]
    assert [line.strip() for line in lines[3:8]] == [
        "The file declares nothing.", "On the right.", "Declared (exif, unsigned): A camera.",
        "Declared (icc, unsigned): A profile.", "Heat map: maps/b.png",
    ]  # fmt: skip
    assert lines[8].split(maxsplit=1) == ["failed", "c.jpg: It is small."]
    assert len({lines[number].index(name) for number, name in ((0, "picture"), (1, "a.jpg"), (8, "c.jpg"))}) == 1


def test_json_lines_hold_the_answers_of_the_api():
    first, second, third = map(json.loads, printed(JsonLines, *ROWS.values()).splitlines())
    assert first == {"picture": "a.jpg", "inferred": BOTH}
    assert second == {"picture": "b.jpg", "heatmap_file": "maps/b.png"} | EXPLANATION
    assert third == {
        "picture": "c.jpg",
        "error": {"code": "too_small", "message": "It is small.", "request_id": "id-1"},
    }


def test_csv_has_one_line_a_picture():
    first, second, third = csv.DictReader(io.StringIO(printed(Csv, *ROWS.values())))
    assert (first["picture"], first["verdict"], first["probability_generated"]) == ("a.jpg", "generated", "0.900000")
    assert (second["summary"], second["heatmap_file"]) == ("The file declares nothing.", "maps/b.png")
    assert (third["verdict"], third["error"], third["message"]) == ("failed", "too_small", "It is small.")


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", " =", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t=", "\n@", "\r+"]
)
@pytest.mark.parametrize("where", ["picture", "message", "family"])
def test_no_cell_of_csv_is_a_formula(start, where):
    text = f"{start}cmd|'/c calc'!A1"
    if where == "family":
        type_ = msgspec.structs.replace(VERDICTS.generator_type, family=text)
        row = Row("x", msgspec.structs.replace(VERDICTS, generator_type=type_))
    else:
        row = Row("x") if where == "message" else Row(text)
        row = Row(row.picture, message=text if where == "message" else "")
    for cells in csv.reader(io.StringIO(printed(Csv, row))):
        for cell in cells:
            assert cell.strip()[:1] not in ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"), cell


@pytest.mark.parametrize("form", [Table, JsonLines, Csv])
@pytest.mark.parametrize("name", ["a\x1b[2Jb", "line\nbreak", "\x9b31m", "over\u202eturned", "latin\udce9", "bell\x07"])
def test_no_name_steers_a_terminal_or_breaks_a_line(form, name):
    assert all(character.isprintable() for character in printable(name))
    text = printed(form, Row(name, VERDICTS))
    assert text.encode().count(b"\n") == len(printed(form, Row("x", VERDICTS)).splitlines())
    assert not set("\x1b\x9b\x07\u202e") & set(text)


def test_names_in_other_scripts_stay_as_they_are():
    assert printable("Büro 写真 🙂.jpg") == "Büro 写真 🙂.jpg"
