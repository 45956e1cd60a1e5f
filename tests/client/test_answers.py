import json
from typing import get_args, get_origin

import msgspec
import pytest

from imagetrust.client import Explanation
from tests.client.answers import EXPLANATION, PNG
from tests.test_house import ROOT

SCHEMA = json.loads((ROOT / "imagetrust" / "answer.schema.json").read_text())


def followed(schema: dict) -> dict:
    while "$ref" in schema:
        schema = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def compare(kind: object, schema: dict, path: str) -> int:
    """Hold a type against its schema, with all that is in it; return how many structs were compared."""
    schema = followed(schema)
    if get_origin(kind) is list:
        return compare(get_args(kind)[0], schema["items"], f"{path}[]")
    if not (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return 0
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    left_out = (
        {"heatmap"} if "/explanations" in schema["properties"].get("heatmap", {}).get("description", "") else set()
    )
    assert fields.keys() == schema["properties"].keys() - left_out, path
    assert {name for name, field in fields.items() if field.required} == set(schema["required"]), path
    return 1 + sum(compare(field.type, schema["properties"][name], f"{path}.{name}") for name, field in fields.items())


def test_every_member_that_the_schema_promises_is_typed():
    assert compare(Explanation, SCHEMA["$defs"]["explanation"], "explanation") == 14


@pytest.mark.parametrize("extra", [{}, {"new": {"of": ["a", "newer", "server"]}}])
def test_an_older_client_reads_a_newer_server(extra):
    def extended(value):
        if isinstance(value, dict):
            return {name: extended(member) for name, member in value.items()} | extra
        return [extended(item) for item in value] if isinstance(value, list) else value

    answer = (
        EXPLANATION | {"file": extended(EXPLANATION["file"]), "declared": extended(EXPLANATION["declared"])} | extra
    )
    read = msgspec.convert(answer, Explanation)
    assert read.inferred.heatmap.overlay_png == PNG and read.inferred.heatmap.class_ == "generated"
    assert [finding.truncated for finding in read.declared.findings] == [False, True]
    assert read.file.width == 64 and read.inferred.authenticity.verdict == "generated"
