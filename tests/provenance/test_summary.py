"""The sentence that sets declaration and verdict side by side."""

import pytest

from imagetrust.provenance import summarise
from tests.procedural import encoded
from tests.provenance.files import CAPTURE, TRAINED, certificates, phone_photo, read, signed, small_photo


def declared(*findings: tuple[str, str]) -> dict:
    return {
        "findings": [
            {"source": "x", "strength": strength, "says": says, "detail": "x", "values": {}}
            for strength, says in findings
        ],
        "unreadable": [],
    }


@pytest.mark.parametrize("verdict", ["real", "uncertain", "generated"])
def test_nothing_declared_proves_nothing(verdict):
    for findings in ([], [("unsigned", "nothing")]):
        assert "proves nothing" in summarise(declared(*findings), verdict)


@pytest.mark.parametrize(
    ("strength", "says", "verdict", "expected"),
    [
        ("signed_valid", "generated", "generated", "agree"),
        ("signed_valid", "generated", "real", "contradict"),
        ("unsigned", "camera", "real", "agree"),
        ("unsigned", "camera", "generated", "contradict"),
        ("unsigned", "edited_with_ai", "generated", "agree"),
        ("unsigned", "edited_with_ai", "real", "small part"),
        ("unsigned", "generated", "uncertain", "stands alone"),
        ("unsigned", "software", "real", "neither confirms nor contradicts"),
        ("signed_broken", "camera", "real", "no longer hold"),
        ("signed_broken", "camera", "real", "neither confirms nor contradicts"),
        ("signed_untrusted", "camera", "real", "on no trust list"),
    ],
)
def test_relations(strength, says, verdict, expected):
    sentence = summarise(declared((strength, says)), verdict)
    assert expected in sentence
    assert sentence.endswith(".") and sentence.count(".") == 1


def test_a_signature_outweighs_text_and_the_contradiction_is_named():
    sentence = summarise(declared(("unsigned", "generated"), ("signed_valid", "camera")), "real")
    assert "a camera took it (signed by a trusted signer)" in sentence
    assert "contradicts itself" in sentence


def test_broken_credentials_are_named_beside_what_still_counts():
    sentence = summarise(declared(("signed_broken", "camera"), ("unsigned", "camera")), "real")
    assert "anyone can write" in sentence and "Content Credentials no longer hold" in sentence


def test_a_program_is_no_statement_on_the_origin():
    sentence = summarise(declared(("signed_valid", "software"), ("unsigned", "generated")), "real")
    assert "made by a generative model" in sentence


def test_of_real_answers():
    anchors = certificates()[2]
    assert "signed by a trusted signer" in summarise(read(signed(TRAINED), trust_anchors=anchors), "generated")
    assert "on no trust list" in summarise(read(signed(CAPTURE)), "real")
    assert "anyone can write" in summarise(read(phone_photo()), "generated")
    assert "proves nothing" in summarise(read(encoded(small_photo(), "PNG")), "generated")
