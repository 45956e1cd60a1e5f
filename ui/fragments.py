"""HTML of what the screens show. What comes from a file or a server is escaped; nothing is loaded from elsewhere."""

import base64
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path

from imagetrust.client import Authenticity, Explanation, GeneratorType
from imagetrust.client.answers import Finding, Heatmap
from ui import words
from ui.checking import Checked
from ui.pictures import data_uri, heat_layer

ASSETS = Path(__file__).resolve().parent / "assets"
VERDICT_ORDER = {"generated": 0, "uncertain": 1, "real": 2, "failed": 3}
COLUMNS = (
    ("name", "Picture"), ("verdict", "Verdict"), ("probability", "Machine"), ("family", "Family"),
    ("declares", "The file declares"),
)  # fmt: skip
_MAX_VALUES = 60  # lines of a finding's values


def style() -> str:
    """Return the style sheet, with the typeface in it."""
    typeface = base64.b64encode((ASSETS / "inter.woff2").read_bytes()).decode()
    return (ASSETS / "screen.css").read_text().replace("INTER", f"data:font/woff2;base64,{typeface}")


def heading() -> str:
    """Return the top of a page."""
    return f'<header class="it-top"><h1>{words.NAME}</h1><p>{words.PROMISE}</p></header>'


def detail(checked: Checked, heat: int = 60, has_slider: bool = True) -> str:
    """Return all that there is to say of one picture.

    heat: opacity of the heat map in percent. has_slider: whether the page's script moves it.
    """
    if checked.answer is None:
        return _without_answer(checked)
    answer = checked.answer
    verdict, heatmap = answer.inferred.authenticity, answer.inferred.heatmap
    return (
        f'<article class="it-card it-answer" aria-label="{_text(checked.name)}">'
        f'<header class="it-verdict it-{verdict.verdict}">{icon(verdict.verdict)}<div>'
        f'<p class="it-name">{_text(checked.name)}</p><h2>{words.VERDICTS[verdict.verdict]}</h2></div></header>'
        f'<div class="it-columns"><div>{_picture(checked, answer, heat, has_slider)}</div>'
        f"<div>{_scale(verdict)}{_families(answer.inferred.generator_type)}</div></div>"
        f"{_regions(heatmap)}{_declared(answer)}"
        f'<section><h3>What this cannot know</h3><ul class="it-limits">{_items(words.LIMITS)}</ul></section>'
        f"{_model(answer)}</article>"
    )


def key(checked: Checked) -> str:
    """Return a result's verdict, `failed` where there is none."""
    return checked.answer.inferred.authenticity.verdict if checked.answer else "failed"


def probability(checked: Checked) -> float:
    """Return the probability that a machine made it, -1 where there is none."""
    return checked.answer.inferred.authenticity.probability_generated if checked.answer else -1


def fault(told: words.Fault, request_id: str | None = None) -> str:
    """Return what went wrong and what helps."""
    number = f'<p class="it-soft">Number of the request: <code>{_text(request_id)}</code></p>' if request_id else ""
    return f"<h2>{_text(told.title)}</h2><p>{_text(told.advice)}</p>{number}"


def banner(told: words.Fault) -> str:
    """Return a fault as a card of its own."""
    return f'<div class="it-card it-verdict it-failed">{icon("failed")}<div>{fault(told)}</div></div>'


def row(checked: Checked, number: int, is_button: bool = True) -> str:
    """Return a row of the table of several pictures. number: what a press on the name asks to show."""
    name, answer, verdict = _text(checked.name), checked.answer, key(checked)
    shown = f'<button type="button" class="it-show" data-number="{number}">{name}</button>' if is_button else name
    told, percent, family, declares = words.SHORT_VERDICTS.get(verdict, ""), "–", "–", "–"
    if answer is None:
        assert checked.fault is not None
        told = checked.fault.title
    else:
        percent = words.percent(probability(checked))
        family, declares = words.family(answer.inferred.generator_type.family), words.declares(answer)
    image = f'<img src="{checked.copies.thumbnail}" alt="" width="56" height="56">' if checked.copies else ""
    data = {
        "name": checked.name.lower(), "key": verdict, "verdict": VERDICT_ORDER[verdict],
        "probability": probability(checked), "family": family, "declares": declares,
    }  # fmt: skip
    attributes = " ".join(f'data-{name}="{_text(str(value))}"' for name, value in data.items())
    return (
        f'<tr {attributes}><td class="it-thumb">{image}</td><th scope="row">{shown}</th>'
        f'<td class="it-{verdict}"><span class="it-told">{icon(verdict)}{_text(told)}</span></td>'
        f'<td class="it-number">{percent}</td><td class="it-wide">{_text(family)}</td>'
        f'<td class="it-wide">{_text(declares)}</td></tr>'
    )


def table(rows: Iterable[str], has_buttons: bool = True) -> str:
    """Return the table of several pictures. has_buttons: whether the page's script sorts it."""
    heads = "".join(
        f'<th scope="col"{_WIDE.get(key, "")}{" aria-sort=none" if has_buttons else ""}>'
        + (f'<button type="button" class="it-sort" data-key="{key}">{title}</button>' if has_buttons else title)
        + "</th>"
        for key, title in COLUMNS
    )
    return (
        '<div class="it-scroll" role="region" aria-label="Results" tabindex="0"><table class="it-table">'
        f'<thead><tr><th scope="col"><span class="it-hidden">Thumbnail</span></th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


_WIDE = {"family": ' class="it-wide"', "declares": ' class="it-wide"', "probability": ' class="it-number"'}


def icon(verdict: str) -> str:
    """Return the sign of a verdict: each has a shape of its own, and words beside it."""
    return f'<span class="it-icon it-icon-{verdict}" aria-hidden="true"></span>'


def said(checked: Checked) -> str:
    """Return a result in one sentence, for who listens to the page: text, not HTML."""
    if checked.answer is None:
        assert checked.fault is not None
        return f"{checked.name}: {checked.fault.title}."
    verdict = checked.answer.inferred.authenticity
    return f"{checked.name}: {words.VERDICTS[verdict.verdict]}, {words.percent(verdict.probability_generated)}."


def _without_answer(checked: Checked) -> str:
    assert checked.fault is not None
    return (
        f'<article class="it-card it-answer" aria-label="{_text(checked.name)}"><div class="it-verdict it-failed">'
        f'{icon("failed")}<div><p class="it-name">{_text(checked.name)}</p>{fault(checked.fault, checked.request_id)}'
        "</div></div></article>"
    )


def _picture(checked: Checked, answer: Explanation, heat: int, has_slider: bool) -> str:
    heatmap, file = answer.inferred.heatmap, answer.file
    slider = (
        '<label class="it-slider"><span>Heat map</span>'
        f'<input type="range" class="it-opacity" min="0" max="100" step="5" value="{heat}">'
        f"<output>{heat} %</output></label>"
        if has_slider
        else ""
    )
    note = (
        "Yellow to red: where the model looked, little to much."
        if checked.copies
        else "A small copy; the heat map is drawn into it."
    )
    return (
        f'<figure class="it-figure" style="--heat:{heat / 100}"><div class="it-stage">{_stage(checked, answer)}</div>'
        f'{slider}<figcaption class="it-soft"><p>{note} {_text(heatmap.sentence)}</p>'
        f"<p>{_text(file.format)}, {file.width} × {file.height} pixels, {words.size(file.bytes)}</p>"
        "</figcaption></figure>"
    )


def _stage(checked: Checked, answer: Explanation) -> str:
    heatmap, file = answer.inferred.heatmap, answer.file
    size = f'width="{file.width}" height="{file.height}"'
    if checked.copies is None:
        drawn = data_uri("image/png", heatmap.overlay_png)
        return f'<img class="it-original" src="{drawn}" {size} alt="{_text(checked.name)}, with its heat map">'
    boxes = "".join(
        f'<span class="it-box" style="{_within(region, file.width, file.height)}"><b>{number}</b></span>'
        for number, region in enumerate(heatmap.regions, start=1)
    )
    return (
        f'<img class="it-original" src="{checked.copies.preview}" {size} alt="{_text(checked.name)}">'
        f'<div class="it-heat" aria-hidden="true"><img src="{heat_layer(heatmap)}" alt="" '
        f'style="{_within(heatmap.view, file.width, file.height)}">{boxes}</div>'
    )


def _within(box: object, width: int, height: int) -> str:
    """Return a box of a picture as a place in what shows it."""
    left, top, right, bottom = (getattr(box, side) for side in ("left", "top", "right", "bottom"))
    return (
        f"left:{100 * left / width:.2f}%;top:{100 * top / height:.2f}%;"
        f"width:{100 * (right - left) / width:.2f}%;height:{100 * (bottom - top) / height:.2f}%"
    )


def _scale(verdict: Authenticity) -> str:
    low, high, at = (
        100 * value for value in (verdict.thresholds.real, verdict.thresholds.generated, verdict.probability_generated)
    )
    ticks = "".join(f'<span style="left:{place:.1f}%">{words.threshold(place / 100)}</span>' for place in (low, high))
    return (
        '<section><h3>How sure it is</h3><div class="it-scale" aria-hidden="true">'
        f'<div class="it-marker" style="left:{at:.1f}%"><b style="transform:translateX(-{at:.0f}%)">'
        f"{words.percent(at / 100)}</b></div>"
        f'<div class="it-zones"><i class="it-zone-real" style="width:{low:.1f}%"></i>'
        f'<i class="it-zone-uncertain" style="width:{high - low:.1f}%"></i>'
        f'<i class="it-zone-generated" style="width:{100 - high:.1f}%"></i></div>'
        f'<div class="it-ticks">{ticks}</div>'
        '<div class="it-ends"><span>people and cameras</span><span>undecided</span><span>a machine</span></div></div>'
        f"<p>{words.scale(verdict)}</p></section>"
    )


def _families(generator: GeneratorType) -> str:
    ordered = sorted(generator.probabilities.items(), key=lambda pair: -pair[1])
    rows = "".join(
        f"<li><span>{_text(words.family(name))} <small>{_text(words.FAMILIES.get(name, ('', ''))[1])}</small></span>"
        f"<b>{words.percent(value)}</b>"
        f'<span class="it-bar" aria-hidden="true"><i style="width:{100 * value:.1f}%"></i></span></li>'
        for name, value in ordered
    )
    return f'<section><h3>What kind of maker</h3><ul class="it-families">{rows}</ul></section>'


def _regions(heatmap: Heatmap) -> str:
    places = [words.region(heatmap, number) for number in range(len(heatmap.regions))]
    listed = f'<ol class="it-regions">{_items(places)}</ol>' if places else "<p>No part stands out.</p>"
    made_for = words.SHORT_VERDICTS.get(heatmap.class_) or words.family(heatmap.class_)
    return f"<section><h3>Where it looked</h3><p>Parts that speak for <b>{_text(made_for)}</b>:</p>{listed}</section>"


def _declared(answer: Explanation) -> str:
    findings = answer.declared.findings
    signed = [finding for finding in findings if finding.strength != "unsigned"]
    unsigned = [finding for finding in findings if finding.strength == "unsigned"]
    unreadable = [
        f"{words.SOURCES.get(each.source, each.source)}: {each.unreadable}" for each in answer.declared.unreadable
    ]
    lost = f"<h4>Could not be read</h4><ul>{_items(unreadable)}</ul>" if unreadable else ""
    return (
        '<section><h3>What the file declares</h3><div class="it-agrees"><h4>How this fits the pixels</h4>'
        f'<p>{_text(answer.summary)}</p></div><div class="it-two">'
        f"<div><h4>Signed</h4>{_findings(signed, 'The file carries no signature.')}</div>"
        f"<div><h4>Not signed: anyone can write it</h4>{_findings(unsigned, 'Nothing else is declared.')}</div></div>"
        f"{lost}</section>"
    )


def _findings(findings: list[Finding], nothing: str) -> str:
    if not findings:
        return f'<p class="it-soft">{nothing}</p>'
    telling = [finding for finding in findings if finding.says != "nothing"]
    silent = [finding for finding in findings if finding.says == "nothing"]
    further = (
        f"<details><summary>{len(silent)} more without a word on the origin</summary>"
        f'<ul class="it-findings">{"".join(map(_finding, silent))}</ul></details>'
        if silent
        else ""
    )
    return f'<ul class="it-findings">{"".join(map(_finding, telling))}</ul>{further}'


def _finding(finding: Finding) -> str:
    lines = [f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in _flat(finding.values)]
    left_out = f"<p>{len(lines) - _MAX_VALUES} more are in the JSON.</p>" if len(lines) > _MAX_VALUES else ""
    values = (
        f"<details><summary>What this rests on<span class=it-hidden>: {_text(words.source(finding))}</span></summary>"
        f"<dl>{''.join(lines[:_MAX_VALUES])}</dl>{left_out}</details>"
        if lines
        else ""
    )
    strength = words.STRENGTHS.get(finding.strength, finding.strength)
    says = words.SAYS.get(finding.says, finding.says)
    return (
        f"<li><p><b>{_text(words.source(finding))}</b> "
        f'<span class="it-chip it-chip-{_text(finding.strength)}">{_text(strength)}</span></p>'
        f'<p class="it-says">Says: {_text(says)}.</p><p>{_text(finding.detail)}</p>{values}</li>'
    )


def _flat(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested values as lines: the path of names, and the text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{name} › {key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for number, inner in enumerate(value, start=1):
            yield from _flat(inner, f"{name} {number}")
    elif isinstance(value, list):
        yield name, ", ".join(map(str, value)) or "none"
    else:
        yield name, str(value)


def _model(answer: Explanation) -> str:
    model, heatmap = answer.inferred.authenticity.model, answer.inferred.heatmap
    facts = {
        "Version": model.version,
        "Weights": model.weights_sha256[:12],
        "Computed by": model.engine,
        "Heat map by": f"{heatmap.method}, {heatmap.rows} × {heatmap.columns}",
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in facts.items())
    return f'<section><h3>Model</h3><dl class="it-model">{listed}</dl></section>'


def _items(texts: Iterable[str]) -> str:
    return "".join(f"<li>{_text(text)}</li>" for text in texts)


def _text(text: str) -> str:
    """Return a text for HTML. Marks that turn the direction of what follows are left out (Unicode, UAX 9)."""
    return escape("".join(character for character in text if character not in _DIRECTIONS))


_DIRECTIONS = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)}
