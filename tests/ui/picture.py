"""Takes the README's picture of a running screen: `python -m tests.ui.picture [ADDRESS]`, beside `make ui`."""

import argparse
import io

from PIL import Image
from playwright.sync_api import sync_playwright

from server.samples import photograph
from tests.ui.conftest import QUIET, ROOT

ADDRESS = "http://127.0.0.1:7860"
PICTURE = ROOT / "docs" / "screen.png"


def take(address: str) -> None:
    """Write docs/screen.png: the answer about a public-domain photograph, at the width of a small desk."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(QUIET))
        page = browser.new_page(viewport={"width": 1100, "height": 900}, color_scheme="light")
        page.set_default_timeout(120_000)
        page.goto(address)
        page.locator(".it-page[data-loaded]").wait_for()
        page.locator(".it-input").set_input_files(photograph())
        page.locator(".it-answer").wait_for()
        page.wait_for_timeout(500)
        end = page.locator(".it-answer > section").nth(2).bounding_box()["y"]
        taken = page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": 1100, "height": end})
        browser.close()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(PICTURE, optimize=True)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Takes the README's picture of a running screen.")
    parser.add_argument("address", nargs="?", default=ADDRESS)
    take(parser.parse_args().address)
