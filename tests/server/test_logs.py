"""The supervisor's lines of JSON."""

import json
import logging
import sys

from server.logs import JsonLines, readable


def record(message: str, *arguments: object, exc_info=None) -> logging.LogRecord:
    return logging.LogRecord("server", logging.WARNING, "file.py", 1, message, arguments, exc_info)


def test_a_record_is_one_line():
    line = JsonLines().format(record('%s said "no"\nand left', "é"))
    assert "\n" not in line
    assert {key: value for key, value in json.loads(line).items() if key != "time"} == {
        "level": "WARNING",
        "message": 'é said "no"\nand left',
    }


def test_what_was_raised_is_in_it():
    try:
        raise ValueError("two\nlines")
    except ValueError:
        line = JsonLines().format(record("failed", exc_info=sys.exc_info()))
    assert "\n" not in line and "ValueError: two\nlines" in json.loads(line)["exception"]


def test_people_read_the_messages():
    lines = JsonLines().format(record("ready")) + "\nTraceback (most recent call last):\n[1]\n"
    assert readable(lines) == "ready\nTraceback (most recent call last):\n[1]"
