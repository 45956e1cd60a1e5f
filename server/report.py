"""An answer as lines that a person reads."""

from collections.abc import Iterator

from imagetrust.client import Authenticity, Explanation, GeneratorType
from imagetrust.client.answers import Heatmap, Model


def readable(answer: Authenticity | GeneratorType | Explanation) -> Iterator[str]:
    """Yield the members that matter, one fact a line."""
    match answer:
        case Authenticity():
            yield f"verdict      {answer.verdict}"
            yield f"generated    {answer.probability_generated:.1%} probable"
            yield f"label        {answer.label}, confidence {answer.confidence:.1%}"
            yield _model(answer.model)
        case GeneratorType():
            yield f"family       {answer.family}, confidence {answer.confidence:.1%}"
            yield "families     " + ", ".join(f"{name} {value:.1%}" for name, value in answer.probabilities.items())
            yield _model(answer.model)
        case Explanation():
            yield answer.summary
            inferred, heatmap, file = answer.inferred, answer.inferred.heatmap, answer.file
            yield f"verdict      {inferred.authenticity.verdict}, family {inferred.generator_type.family}"
            grid = f"{heatmap.rows} x {heatmap.columns} grid"
            yield f"evidence     for {heatmap.class_!r}, hottest {_place(heatmap)} ({grid})"
            yield f"overlay      a PNG of {len(heatmap.overlay_png) // 1000} kB, in heatmap.overlay_png as base64"
            yield f"             {heatmap.sentence}"
            yield f"file         {file.format}, {file.width} x {file.height} pixels"
            for finding in answer.declared.findings:
                yield f"declared     {finding.source} ({finding.strength}): {finding.detail}"


def _model(model: Model) -> str:
    return f"model        {model.name} {model.version}, weights {model.weights_sha256[:12]}"


def _place(heatmap: Heatmap) -> str:
    row, column = max(
        ((row, column) for row in range(heatmap.rows) for column in range(heatmap.columns)),
        key=lambda place: heatmap.values[place[0]][place[1]],
    )
    return f"in row {row + 1}, column {column + 1}"
