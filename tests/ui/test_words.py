"""What is said in words, for every answer and every error that the API has."""

import json
import re

import pytest

from imagetrust.client import ClientError
from tests.ui.conftest import ROOT
from tests.ui.results import explanation
from ui import words

SCHEMA = json.loads((ROOT / "imagetrust" / "answer.schema.json").read_text())["$defs"]
FINDING = SCHEMA["finding"]["properties"]


@pytest.mark.parametrize(
    "said, known",
    [
        (words.VERDICTS, SCHEMA["authenticity"]["properties"]["verdict"]["enum"]),
        (words.SHORT_VERDICTS, SCHEMA["authenticity"]["properties"]["verdict"]["enum"]),
        (words.FAMILIES, SCHEMA["generator_type"]["properties"]["family"]["enum"]),
        (words.SOURCES, FINDING["source"]["enum"]),
        (words.STRENGTHS, FINDING["strength"]["enum"]),
        (words.SAYS, FINDING["says"]["enum"]),
    ],
)
def test_everything_that_the_schema_names_has_words(said, known):
    assert set(said) == set(known)


def test_every_error_of_a_picture_has_advice():
    codes = SCHEMA["error"]["properties"]["error"]["properties"]["code"]["enum"]
    # These a program causes, never who sends a picture.
    of_programs = {
        "no_picture", "no_image_field", "several_pictures", "unsupported_encoding", "invalid_json", "invalid_base64",
        "invalid_option", "internal",
    }  # fmt: skip
    assert set(codes) - of_programs <= set(words.FAULTS)


def test_an_error_without_words_says_what_the_server_says():
    told = words.fault("brand_new", "The moon is full.")
    assert told.title == "The server failed" and "The moon is full." in told.advice


def test_the_time_to_wait_is_named():
    told = words.fault_of(ClientError("busy", "Full.", status=503, retry_after=7.0))
    assert told.title == "The server is busy" and "7 s" in told.advice


@pytest.mark.parametrize(
    "probability, said",
    [(0, "under 1 %"), (0.004, "under 1 %"), (0.17, "17 %"), (0.5, "50 %"), (0.994, "over 99 %"), (1, "over 99 %")],
)
def test_no_probability_is_certain(probability, said):
    assert words.percent(probability) == said


@pytest.mark.parametrize("threshold, said", [(0.17, "17 %"), (0.965, "96.5 %"), (1 - 0.78, "22 %"), (0.5, "50 %")])
def test_a_threshold_is_named_as_it_is_set(threshold, said):
    assert words.threshold(threshold) == said


def test_the_scale_names_both_thresholds():
    said = words.scale(explanation().inferred.authenticity)
    assert re.findall(r"\d+ %", said) == ["90 %", "17 %", "83 %"]


@pytest.mark.parametrize(
    "box, place",
    [
        ((0, 0, 10, 5), "Top left"), ((20, 10, 44, 22), "Centre"), ((50, 24, 64, 32), "Bottom right"),
        ((0, 12, 8, 18), "Middle left"),
    ],
)  # fmt: skip
def test_a_region_lies_somewhere(box, place):
    region = dict(zip(("left", "top", "right", "bottom"), box, strict=True)) | {"heat": 0.8, "share": 0.1}
    said = words.region(explanation(inferred__heatmap__regions=[region]).inferred.heatmap, 0)
    assert said.startswith(f"{place}: 10 % of the area, mean heat 80 %")


def finding(strength: str, says: str) -> dict:
    return {"source": "xmp", "strength": strength, "says": says, "detail": "It says so.", "values": {}}


@pytest.mark.parametrize(
    "findings, said",
    [
        ([], "nothing"),
        ([("unsigned", "nothing")], "nothing"),
        ([("unsigned", "camera")], "taken by a camera (not signed)"),
        (
            [("unsigned", "camera"), ("signed_valid", "generated")],
            "made by a generative model (signature holds, signer trusted)",
        ),
        ([("signed_broken", "software"), ("unsigned", "camera")], "made or saved by a program (signature broken)"),
    ],
)  # fmt: skip
def test_the_signed_declaration_goes_first(findings, said):
    assert words.declares(explanation(declared__findings=[finding(*each) for each in findings])) == said
