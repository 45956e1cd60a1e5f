"""What the screens show as HTML: all of the answer, and nothing that a file smuggles in."""

from html.parser import HTMLParser

import pytest

from tests.client.answers import EXPLANATION
from tests.ui.results import answered, failed
from ui import fragments, words
from ui.checking import Checked

HOSTILE = "\"><script>alert(1)</script><img src=x onerror=alert(1)> ' onmouseover=\u202ealert(1) x='"


class Page(HTMLParser):
    """The elements, their attributes and the text of a fragment."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data + " "

    def shape(self):
        """Everything but texts: what a browser would act on."""
        return [(tag, sorted(attributes)) for tag, attributes in self.elements]


def hostile(value: object) -> object:
    """A copy of a value in which each text that a file or a server can choose is hostile."""
    if isinstance(value, dict):
        kept = {"verdict", "label", "strength", "overlay_png"}  # of fixed sets; the picture
        return {key: inner if key in kept else hostile(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [hostile(inner) for inner in value]
    return HOSTILE if isinstance(value, str) else value


def test_texts_of_a_file_stay_texts():
    told = hostile(EXPLANATION)
    told["declared"]["findings"][0]["says"] = "camera"
    told["declared"]["findings"][1]["says"] = "nothing"
    plain, attacked = answered(), answered(HOSTILE, **told)
    for show in (fragments.detail, lambda checked: fragments.row(checked, 3)):
        page = Page(show(attacked))
        assert page.shape() == Page(show(plain)).shape()
        assert "<script>" in page.text and "\u202e" not in page.text


def test_texts_of_an_error_stay_texts():
    attacked = Checked(HOSTILE, fault=words.Fault(HOSTILE, HOSTILE), code=HOSTILE, request_id=HOSTILE)
    plain = failed()
    for show in (fragments.detail, lambda checked: fragments.row(checked, 3)):
        assert Page(show(attacked)).shape() == Page(show(plain)).shape()


def test_nothing_is_loaded_from_elsewhere():
    shown = fragments.detail(answered()) + fragments.row(answered(), 0) + fragments.heading() + fragments.style()
    assert "http://" not in shown.replace("http://www.w3.org/2000/svg", "") and "https://" not in shown
    for _, attributes in Page(shown).elements:
        assert (attributes.get("src") or "data:").startswith("data:") and "href" not in attributes


@pytest.mark.parametrize("verdict", words.VERDICTS)
def test_a_verdict_is_words_and_a_shape_not_colour_alone(verdict):
    checked = answered(inferred__authenticity__verdict=verdict)
    assert words.VERDICTS[verdict] in Page(fragments.detail(checked)).text
    assert words.SHORT_VERDICTS[verdict] in Page(fragments.row(checked, 0)).text
    assert f"it-icon-{verdict}" in fragments.detail(checked)


def test_the_answer_is_all_there_as_text():
    text = Page(fragments.detail(answered())).text
    said_elsewhere = ("On the right.", "Middle right", "The file declares nothing.", "A camera.", "It is damaged.")
    numbers = ("90 %", "17 %", "83 %", "Diffusion model", "70 %", "1.0", "openvino bf16")
    for said in (*said_elsewhere, *numbers, *words.LIMITS):
        assert said in text, said


def test_signed_and_unsigned_stand_apart():
    findings = [
        {"source": "c2pa", "strength": "signed_untrusted", "says": "generated", "detail": "Signed word.", "values": {}},
        {"source": "xmp", "strength": "unsigned", "says": "camera", "detail": "Unsigned word.", "values": {}},
        {"source": "c2pa", "strength": "signed_broken", "says": "camera", "detail": "Broken word.", "values": {}},
    ]
    text = Page(fragments.detail(answered(declared__findings=findings))).text
    signed, unsigned = text.split("Not signed: anyone can write it")
    assert "Signed word." in signed and "Broken word." in signed and "Unsigned word." not in signed
    assert "Unsigned word." in unsigned and "Signed word." not in unsigned


def test_a_picture_that_no_browser_shows_has_the_servers_overlay():
    shown = fragments.detail(Checked("photo.heic", answered().answer, copies=None))
    assert "data:image/png;base64,iVBORw0KGgo" in shown and "A small copy" in shown


def test_values_of_a_finding_are_bounded():
    values = {f"name {number}": number for number in range(64)}
    findings = [{"source": "xmp", "strength": "unsigned", "says": "camera", "detail": "D.", "values": values}]
    text = Page(fragments.detail(answered(declared__findings=findings))).text
    assert "name 59" in text and "name 60" not in text and "4 more are in the JSON." in text


def test_an_error_has_its_advice_and_its_number():
    text = Page(fragments.detail(failed())).text
    assert "The picture is damaged" in text and "Copy or download it again." in text and "abc123" in text
