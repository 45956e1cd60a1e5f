"""Results for reading."""

from measuring.conditions import machine
from measuring.report import conditions_text, table


def test_a_table_is_padded_markdown():
    assert table(["name", "ms"], [["a", 12.5], ["longer", 1]]) == (
        "| name   |   ms |\n| ------ | ---: |\n| a      | 12.5 |\n| longer |    1 |"
    )
    assert table(["name"], []) == "| name |\n| ---- |"


def test_conditions_are_lines():
    text = conditions_text({"load_average": [1.5, 2], "versions": {"torch": "2"}, "cores": 4})
    assert text == "- load average: 1.5, 2\n- versions: torch 2\n- cores: 4"


def test_the_machine_is_described():
    described = machine(["psutil"])
    assert described["cores"] >= 1 and described["processor"] and described["versions"]["psutil"]
