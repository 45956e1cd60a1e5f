"""What must hold for every answer on what a file declares, whatever the file."""

import json
from pathlib import Path
from typing import Any

import jsonschema

from imagetrust.provenance import bounds

SCHEMA = json.loads((Path(__file__).parents[2] / "imagetrust" / "answer.schema.json").read_text(encoding="utf-8"))
_VALIDATOR = jsonschema.Draft202012Validator({"$ref": "#/$defs/declared", "$defs": SCHEMA["$defs"]})


def check(declared: dict[str, Any]) -> None:
    """Raises AssertionError or ValidationError on an answer that is not bounded, plain JSON of the schema's shape."""
    encoded = json.dumps(declared, allow_nan=False, ensure_ascii=False).encode("utf-8")
    assert json.loads(encoded) == declared
    _VALIDATOR.validate(declared)
    texts = list(_texts(declared))
    for text in texts:
        assert len(text) <= bounds.MAX_TEXT
        assert text.isprintable()
        assert "<" not in text and ">" not in text
    # Once the budget is spent, each further text is a lone ellipsis.
    assert sum(map(len, texts)) <= bounds.MAX_ANSWER_TEXT + len(texts) + 4096


def _texts(value: Any):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            assert len(name) <= bounds.MAX_NAME
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
