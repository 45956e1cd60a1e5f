"""Both screens, run as they are for people, in front of the real server, and one browser for all tests."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from server.instance import free_ports
from tests.ui.files import write_files
from ui import words

ROOT = Path(__file__).resolve().parents[2]
SCREENS_PYTHON = ROOT / ".venv" / "ui" / "bin" / "python"
VERDICTS = re.compile("|".join(map(re.escape, words.VERDICTS.values())))
PICTURES = ROOT / ".screens"  # screenshots, to be looked at
SIZES = {"desk": (1280, 900), "phone": (390, 844)}
QUIET = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


class Relay:
    """Passes connections on to the server. Cut, it stands for a server that is stopped."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.port = free_ports(1)[0]
        self._target = target
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    def restore(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        # Closing alone does not wake who waits for a connection, and the port would stay open.
        for each in [self._listener, *list(self._open)]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                caller, _ = listener.accept()
                server = socket.create_connection(self._target)
                self._open |= {caller, server}
                for source, sink in ((caller, server), (server, caller)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@dataclass
class Screen:
    """A running screen, and what stands between it and the server."""

    address: str
    token_file: Path
    relay: Relay


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("the screens are driven in chromium, which this machine does not have")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=chromium, args=list(QUIET))


@pytest.fixture(scope="session")
def relay(server) -> Iterator[Relay]:
    address = urlsplit(server.addresses.inference)
    relay = Relay((address.hostname, address.port))
    relay.restore()
    yield relay
    relay.cut()


def start(kind: str, server, relay: Relay, folder: Path) -> Iterator[Screen]:
    """A screen of a kind, as its own command starts it."""
    if not SCREENS_PYTHON.exists():
        pytest.skip("the screens have an environment of their own, which `make test` installs and this checkout lacks")
    port = free_ports(1)[0]
    token_file = folder / "token"
    token_file.write_text(server.token("inference"))
    command = [
        SCREENS_PYTHON, "-m", "ui", kind, "--port", str(port), "--server", f"http://127.0.0.1:{relay.port}",
        "--token-file", token_file, "--fetch-addresses",
    ]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, env=os.environ | {"TMPDIR": str(folder)}
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address, timeout=5).close()
                break
            time.sleep(0.2)
        yield Screen(address, token_file, relay)
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="session")
def gradio_screen(browser, server, relay, tmp_path_factory) -> Iterator[Screen]:
    yield from start("gradio", server, relay, tmp_path_factory.mktemp("gradio"))


@pytest.fixture(scope="session")
def streamlit_screen(browser, server, relay, tmp_path_factory) -> Iterator[Screen]:
    yield from start("streamlit", server, relay, tmp_path_factory.mktemp("streamlit"))


# What moves on the page without being asked to (web.dev, "Cumulative Layout Shift").
_SHIFTS = """window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });"""


@contextlib.contextmanager
def opened(browser, screen: Screen, size: str = "desk", colours: str = "light"):
    """A page of a screen. Nothing on it may ask another host, and no script of it may fail."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=colours)
    page = context.new_page()
    page.add_init_script(_SHIFTS)
    elsewhere, errors = [], []
    own = (screen.address, screen.address.replace("http", "ws"), "data:", "blob:")
    for event in ("request", "websocket"):
        page.on(event, lambda asked: elsewhere.append(asked.url) if not asked.url.startswith(own) else None)
    page.on("pageerror", lambda error: errors.append(error))
    page.set_default_timeout(20_000)
    page.goto(screen.address)
    page.get_by_text("are not kept").wait_for()
    yield page
    assert elsewhere == [] and errors == []
    context.close()


def answer(page, name: str):
    """The answer about a picture, once it is there."""
    shown = page.locator(f".it-answer[aria-label='{name}']")
    shown.wait_for()
    return shown


def photograph_page(page, name: str) -> None:
    """Take a screenshot of the whole page, to be looked at."""
    PICTURES.mkdir(exist_ok=True)
    page.wait_for_timeout(300)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def check_access(page, axe: str) -> None:
    """Hold the page against WCAG 2.2, levels A and AA, as far as axe can tell."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})")
    faults = [(fault["id"], node["html"][:200]) for fault in found["violations"] for node in fault["nodes"]]
    assert faults == [] and len(found["passes"]) > 10


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, Path]:
    return write_files(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="session")
def axe() -> str:
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
