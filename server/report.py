"""An answer as lines that a person reads."""

from collections.abc import Iterator


def readable(answer: dict) -> Iterator[str]:
    """Yield the members that matter, one fact a line; for every kind of answer."""
    if "error" in answer:
        yield f"{answer['error']['code']}: {answer['error']['message']}"
    elif "verdict" in answer:
        yield f"verdict      {answer['verdict']}"
        yield f"generated    {answer['probability_generated']:.1%} probable"
        yield f"label        {answer['label']}, confidence {answer['confidence']:.1%}"
        yield _model(answer)
    elif "family" in answer:
        yield f"family       {answer['family']}, confidence {answer['confidence']:.1%}"
        yield "families     " + ", ".join(f"{name} {value:.1%}" for name, value in answer["probabilities"].items())
        yield _model(answer)
    elif "inferred" in answer:
        yield answer["summary"]
        inferred, file = answer["inferred"], answer["file"]
        heatmap = inferred["heatmap"]
        yield f"verdict      {inferred['authenticity']['verdict']}, family {inferred['generator_type']['family']}"
        grid = f"{heatmap['rows']} x {heatmap['columns']} grid"
        yield f"evidence     for {heatmap['class']!r}, hottest {_place(heatmap)} ({grid})"
        kilobytes = len(heatmap["overlay_png"]) * 3 // 4 // 1000
        yield f"overlay      a PNG of {kilobytes} kB, in heatmap.overlay_png as base64"
        yield f"             {heatmap['sentence']}"
        yield f"file         {file['format']}, {file['width']} x {file['height']} pixels"
        for finding in answer["declared"]["findings"]:
            yield f"declared     {finding['source']} ({finding['strength']}): {finding['detail']}"
    else:  # TorchServe's own errors: code, type, message
        yield ", ".join(f"{key}: {value}" for key, value in answer.items())


def _model(answer: dict) -> str:
    model = answer["model"]
    return f"model        {model['name']} {model['version']}, weights {model['weights_sha256'][:12]}"


def _place(heatmap: dict) -> str:
    values = heatmap["values"]
    row, column = max(
        ((row, column) for row in range(heatmap["rows"]) for column in range(heatmap["columns"])),
        key=lambda place: values[place[0]][place[1]],
    )
    return f"in row {row + 1}, column {column + 1}"
