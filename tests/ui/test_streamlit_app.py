"""The local screen, in a browser, in front of the real server."""

import pytest
from playwright.sync_api import expect

from tests.ui.conftest import VERDICTS, answer, check_access, opened, photograph_page
from tests.ui.files import PASTE, twenty
from ui import words


@pytest.fixture
def page(browser, streamlit_screen):
    with opened(browser, streamlit_screen) as page:
        yield page


def send(page, *paths):
    page.locator("input[type=file]").set_input_files(list(paths))


def test_a_photograph_and_its_heat_map(page, files):
    send(page, files["photo.png"])
    shown = answer(page, "photo.png")
    assert VERDICTS.fullmatch(shown.locator("h2").inner_text())
    text = shown.inner_text()
    assert "Up to 17 % it says people and cameras, from 83 % a machine" in text
    assert "The XMP data name the camera PENTAX Corporation" in text.split("Not signed: anyone can write it")[1]
    slider = page.get_by_role("slider")
    slider.focus()
    slider.press("ArrowLeft")
    page.locator(".it-figure[style*='0.55']").wait_for()


def test_a_signed_generated_picture(page, files):
    send(page, files["signed.jpg"])
    signed, unsigned = answer(page, "signed.jpg").inner_text().split("Not signed: anyone can write it")
    assert "Says: made by a generative model." in signed and "Content Credentials" not in unsigned


def test_a_broken_file(page, files):
    send(page, files["broken.jpg"])
    assert words.FAULTS["broken_picture"].title in answer(page, "broken.jpg").inner_text()


def test_what_is_pasted_is_checked(page, files):
    page.evaluate(PASTE, list(files["photo.png"].read_bytes()))
    answer(page, "pasted.png")


def test_twenty_files(page, files):
    send(page, *twenty(files))
    page.get_by_text("20 of 20 shown").wait_for()
    names = page.locator(".it-table tbody th")
    assert page.locator(".it-thumb img").count() == 18
    page.get_by_label("Name holds").fill("note")
    page.get_by_label("Name holds").press("Enter")
    expect(names).to_have_text(["19 note.txt"], timeout=20_000)
    page.get_by_label("Name holds").fill("")
    page.get_by_label("Name holds").press("Enter")
    expect(names).to_have_count(20, timeout=20_000)
    page.get_by_role("combobox", name="Order by").click()
    page.get_by_role("option", name="verdict").click()
    page.locator(".it-table tbody tr:last-child[data-key=failed]").wait_for()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save as CSV").click()
    assert saved.value.path().read_text(encoding="utf-8-sig").count("\n") == 21


def test_the_server_stops_in_between(page, streamlit_screen, files):
    send(page, files["photo.png"])
    answer(page, "photo.png")
    streamlit_screen.relay.cut()
    try:
        send(page, *twenty(files)[:3])
        page.get_by_text("4 of 4 shown").wait_for()
        assert page.locator(".it-table tbody").get_by_text("The server does not answer").count() == 3
    finally:
        streamlit_screen.relay.restore()
    page.get_by_role("button", name="Try failed ones again").click()
    page.locator(".it-table tbody .it-told", has_text="The server does not answer").first.wait_for(state="detached")
    assert page.locator(".it-thumb img").count() == 4


def test_html_in_a_files_texts_and_name_stays_text(page, files):
    send(page, files["hostile"])
    shown = page.locator(".it-answer")
    shown.wait_for()
    shown.locator("summary").first.click()
    assert "onerror" in shown.locator(".it-name").inner_text()
    assert page.title() == words.NAME and page.locator("img[src=x]").count() == 0


def test_an_address_that_is_not_fetched(page):
    page.get_by_label("or the address of a picture on the web").fill("https://127.0.0.1/cat.jpg")
    page.get_by_role("button", name="Fetch and check").click()
    assert words.FAULTS["not_public"].title in answer(page, "cat.jpg").inner_text()


@pytest.mark.parametrize("size, colours", [("desk", "light"), ("phone", "dark")])
def test_everyone_can_use_it(browser, streamlit_screen, files, axe, size, colours):
    with opened(browser, streamlit_screen, size, colours) as page:
        check_access(page, axe)
        photograph_page(page, f"streamlit-{size}-{colours}-empty")
        send(page, files["photo.png"])
        answer(page, "photo.png")
        check_access(page, axe)
        send(page, files["signed.jpg"], files["broken.jpg"])
        page.get_by_text("3 of 3 shown").wait_for()
        check_access(page, axe)
        photograph_page(page, f"streamlit-{size}-{colours}-several")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
