"""An answer as a row of the results. docs/batch.md has the columns."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from imagetrust.errors import AnswerError
from imagetrust.models.config import TASKS, ModelConfig

OK, ERROR = "ok", "error"
SCHEMA = pa.schema(
    [
        ("input", pa.int64()),
        ("path", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("status", pa.string()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("verdict", pa.string()),
        ("probability_generated", pa.float64()),
        ("threshold_real", pa.float64()),
        ("threshold_generated", pa.float64()),
        ("family", pa.string()),
        ("family_probabilities", pa.struct([(name, pa.float64()) for name in TASKS["generator_type"]])),
        ("summary", pa.string()),
        ("declared", pa.list_(pa.struct([(name, pa.string()) for name in ("source", "strength", "says")]))),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("model_version", pa.string()),
        ("weights_sha256", pa.string()),
        ("engine", pa.string()),
    ]
)


def row_of(answer: Mapping[str, Any] | AnswerError, model: ModelConfig) -> dict[str, Any]:
    """Return what a row says of an answer to `explanation` with detail=declared; of an error, its code and message."""
    origin = {"model_version": model.version, "weights_sha256": model.weights_sha256}
    if isinstance(answer, AnswerError):
        return {"status": ERROR, "error_code": answer.code, "error_message": answer.message, **origin}
    authenticity, generator_type = answer["inferred"]["authenticity"], answer["inferred"]["generator_type"]
    return {
        "status": OK,
        "verdict": authenticity["verdict"],
        "probability_generated": authenticity["probability_generated"],
        **{f"threshold_{name}": value for name, value in authenticity["thresholds"].items()},
        "family": generator_type["family"],
        "family_probabilities": generator_type["probabilities"],
        "summary": answer["summary"],
        "declared": [finding for finding in answer["declared"]["findings"] if finding["says"] != "nothing"],
        **{name: answer["file"][name] for name in ("format", "width", "height")},
        **origin,
        "engine": authenticity["model"]["engine"],
    }


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Return rows as a table; a column that a row does not have is null in it."""
    return pa.Table.from_pylist(rows, schema=SCHEMA)
