"""The deployed screen, in a browser, in front of the real server."""

import csv
import io
import json
import re

import pytest
import requests

from tests.releases import RELEASE
from tests.ui.conftest import VERDICTS, answer, check_access, opened, photograph_page
from tests.ui.files import DROP, PASTE, twenty
from ui import words


@pytest.fixture
def page(browser, gradio_screen):
    with opened(browser, gradio_screen) as page:
        page.locator(".it-page[data-loaded]").wait_for()
        yield page


def send(page, *paths):
    page.locator(".it-input").set_input_files(list(paths))


def test_a_photograph(page, files):
    send(page, files["photo.png"])
    shown = answer(page, "photo.png")
    assert VERDICTS.fullmatch(shown.locator("h2").inner_text())
    text = shown.inner_text()
    assert re.search(r"gives (under |over )?\d+ % that a machine made this picture. Up to 17 % .* from 83 %", text)
    for said in (*(name for name, _ in words.FAMILIES.values()), *words.LIMITS, RELEASE.name, "451 × 300 pixels"):
        assert said in text, said
    assert "The XMP data name the camera PENTAX Corporation" in text.split("Not signed: anyone can write it")[1]
    assert shown.locator(".it-box").count() == shown.locator(".it-regions li").count() > 0
    assert page.locator(".it-status").inner_text().startswith("photo.png: ")


def test_the_opacity_of_the_heat_map(page, files):
    send(page, files["photo.png"])
    slider = answer(page, "photo.png").get_by_label("Heat map")
    slider.focus()
    heat = page.locator(".it-heat")
    before = float(heat.evaluate("each => getComputedStyle(each).opacity"))
    slider.press("ArrowLeft")
    assert float(heat.evaluate("each => getComputedStyle(each).opacity")) == pytest.approx(before - 0.05)
    slider.press("Home")
    assert heat.evaluate("each => getComputedStyle(each).opacity") == "0"
    assert "0 %" in page.locator(".it-slider").inner_text()


def test_a_signed_generated_picture(page, files):
    send(page, files["signed.jpg"])
    text = answer(page, "signed.jpg").inner_text()
    signed, unsigned = text.split("Not signed: anyone can write it")
    assert "Content Credentials" in signed and "signature holds, signer not known" in signed
    assert "Says: made by a generative model." in signed and "Content Credentials" not in unsigned


@pytest.mark.parametrize(
    "name, code", [("broken.jpg", "broken_picture"), ("note.txt", "unknown_format")]
)  # fmt: skip
def test_a_file_that_is_no_picture(page, files, name, code):
    send(page, files[name])
    text = answer(page, name).inner_text()
    assert words.FAULTS[code].title in text and words.FAULTS[code].advice in text
    assert re.search(r"Number of the request: [0-9a-f]{32}", text)


def test_a_file_that_is_too_large_is_not_sent(page, tmp_path):
    (tmp_path / "large.jpg").write_bytes(bytes(20 * 2**20 + 1))
    send(page, tmp_path / "large.jpg")
    assert "The file is too large" in answer(page, "large.jpg").inner_text()


def test_what_is_pasted_or_dropped_is_checked(page, files):
    content = list(files["photo.png"].read_bytes())
    page.evaluate(PASTE, content)
    answer(page, "pasted.png")
    page.evaluate(DROP, [content, ".it-drop"])
    answer(page, "dropped.png")


def test_twenty_files(page, files):
    send(page, *twenty(files))
    page.get_by_text("20 of 20 checked, 2 without an answer.").wait_for()
    rows = page.locator(".it-table tbody tr")
    assert rows.count() == 20 and page.locator(".it-thumb img").count() == 18

    page.get_by_role("button", name="Machine").press("Enter")
    order = [float(value) for value in rows.evaluate_all("each => each.map(row => row.dataset.probability)")]
    assert order == sorted(order) and page.locator("th[aria-sort=ascending]").inner_text().startswith("Machine")
    page.get_by_role("button", name="Machine").press("Enter")
    order = [float(value) for value in rows.evaluate_all("each => each.map(row => row.dataset.probability)")]
    assert order == sorted(order, reverse=True)

    page.get_by_label("Verdict").select_option("failed")
    assert page.locator(".it-table tbody tr:visible").count() == 2
    page.get_by_label("Name holds").fill("note")
    assert page.locator(".it-table tbody tr:visible th").all_inner_texts() == ["19 note.txt"]
    page.get_by_label("Name holds").fill("")
    page.get_by_label("Verdict").select_option("")

    page.get_by_role("button", name="07.jpg").press("Enter")
    assert VERDICTS.fullmatch(answer(page, "07.jpg").locator("h2").inner_text())
    assert page.evaluate("document.activeElement.tagName") == "H2"  # where a screen reader goes on

    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    table = list(csv.DictReader(io.StringIO(saved.value.path().read_text(encoding="utf-8-sig"))))
    assert len(table) == 20 and sum(row["verdict"] == "failed" for row in table) == 2
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as JSON").click()
    records = json.loads(saved.value.path().read_text())
    assert [record["picture"] for record in records] == [row["picture"] for row in table]


def test_the_server_stops_in_between(page, gradio_screen, files):
    relay = gradio_screen.relay
    send(page, files["photo.png"])
    answer(page, "photo.png")
    relay.cut()
    try:
        send(page, *twenty(files)[:4])
        page.get_by_text("4 of 4 checked, 4 without an answer.").wait_for()
        assert page.get_by_text("The server does not answer").count() == 4
    finally:
        relay.restore()
    page.get_by_role("button", name="Try failed ones again").click()
    page.locator(".it-table tbody .it-told", has_text="The server does not answer").first.wait_for(state="detached")
    page.get_by_text("4 of 4 checked.").wait_for()
    assert page.locator(".it-thumb img").count() == 4


def test_a_page_that_finds_no_server_says_so(browser, gradio_screen):
    gradio_screen.relay.cut()
    try:
        with opened(browser, gradio_screen) as page:
            page.locator(".it-problem h2").wait_for()
            assert page.locator(".it-problem h2").inner_text() == "The server does not answer"
    finally:
        gradio_screen.relay.restore()


def test_a_token_that_is_refused_and_its_successor(page, gradio_screen, files):
    good = gradio_screen.token_file.read_text()
    try:
        gradio_screen.token_file.write_text("wrong")
        send(page, files["photo.png"])
        assert "The server refused this screen's token" in answer(page, "photo.png").inner_text()
    finally:
        gradio_screen.token_file.write_text(good)
    send(page, files["signed.jpg"])
    assert VERDICTS.fullmatch(answer(page, "signed.jpg").locator("h2").inner_text())


def test_the_token_is_nowhere_on_the_page(browser, gradio_screen, files):
    token, bodies = gradio_screen.token_file.read_text(), []
    with opened(browser, gradio_screen) as page:
        page.on("response", lambda got: bodies.append(got.body()) if got.status == 200 else None)
        page.reload()
        page.locator(".it-page[data-loaded]").wait_for()
        send(page, files["photo.png"])
        answer(page, "photo.png")
        assert len(bodies) > 5 and token not in page.content()
        assert not any(token.encode() in body for body in bodies)


def test_html_in_a_files_texts_and_name_stays_text(page, files):
    send(page, files["hostile"], files["photo.png"])
    page.get_by_text("2 of 2 checked.").wait_for()
    page.get_by_role("button", name="onerror").click()
    shown = page.locator(".it-answer")
    shown.wait_for()
    shown.locator("summary").first.click()
    assert "onerror" in shown.locator(".it-name").inner_text() and "Seed" not in shown.locator("h2").inner_text()
    assert page.title() == words.NAME and page.locator("img[src=x]").count() == 0


@pytest.mark.parametrize(
    "url, code",
    [
        ("https://127.0.0.1/cat.jpg", "not_public"), ("https://localhost/cat.jpg", "not_public"),
        ("http://example.com/cat.jpg", "not_https"),
    ],
)  # fmt: skip
def test_an_address_that_is_not_fetched(page, url, code):
    page.get_by_label("or the address of a picture on the web").fill(url)
    page.get_by_role("button", name="Fetch and check").click()
    assert words.FAULTS[code].title in answer(page, "cat.jpg").inner_text()


def test_nothing_jumps_while_a_picture_is_checked(page, files):
    send(page, files["photo.png"])
    answer(page, "photo.png")
    page.wait_for_timeout(300)
    assert page.evaluate("window.shifted") < 0.1  # what web.dev calls good


def test_the_keyboard_reaches_everything(page, files):
    send(page, files["photo.png"])
    answer(page, "photo.png")
    page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)")
    reached = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
    assert {"it-input it-hidden", "it-opacity", "SUMMARY"} <= reached


@pytest.mark.parametrize("size, colours", [("desk", "light"), ("desk", "dark"), ("phone", "light"), ("phone", "dark")])
def test_everyone_can_use_it(browser, gradio_screen, files, axe, size, colours):
    with opened(browser, gradio_screen, size, colours) as page:
        page.locator(".it-page[data-loaded]").wait_for()
        check_access(page, axe)
        photograph_page(page, f"gradio-{size}-{colours}-empty")
        send(page, files["photo.png"])
        answer(page, "photo.png")
        check_access(page, axe)
        photograph_page(page, f"gradio-{size}-{colours}-photograph")
        send(page, files["signed.jpg"], files["broken.jpg"], files["photo.png"])
        page.get_by_text("3 of 3 checked").wait_for()
        page.get_by_role("button", name="signed.jpg").click()
        answer(page, "signed.jpg").locator("summary").first.click()
        check_access(page, axe)
        photograph_page(page, f"gradio-{size}-{colours}-several")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_nothing_can_be_written_to_the_disk(gradio_screen):
    base = f"{gradio_screen.address}/gradio_api"
    assert requests.post(f"{base}/upload", files={"files": ("x.jpg", b"x")}, timeout=10).status_code == 404
    form = {"component_id": (None, "1"), "session_hash": (None, "s"), "fn_name": (None, "check"), "x": ("x", b"x")}
    assert requests.post(f"{base}/component_server", files=form, timeout=10).status_code == 404
    written = [path for path in gradio_screen.token_file.parent.rglob("*") if path.is_file()]
    assert {path.name for path in written} == {"token", "log"}


def test_bodies_are_bounded(gradio_screen):
    url, kind = f"{gradio_screen.address}/gradio_api/component_server", {"Content-Type": "application/json"}
    assert requests.post(url, data=b" " * (29 * 2**20), headers=kind, timeout=10).status_code == 413
    chunks = (b" " * 2**20 for _ in range(29))  # whose length nobody says
    assert requests.post(url, data=chunks, headers=kind, timeout=10).status_code == 413
    other = f"{gradio_screen.address}/gradio_api/queue/join"
    assert requests.post(other, data=b" " * 100_000, headers=kind, timeout=10).status_code == 413


def test_the_page_may_ask_nobody_else(gradio_screen):
    headers = requests.get(gradio_screen.address, timeout=10).headers
    assert headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "http" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer" and headers["x-content-type-options"] == "nosniff"
