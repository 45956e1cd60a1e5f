"""The examples ask a server that answers as the real one does, in each language that this machine can run."""

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from archive_scripts.build import ROOT

EXAMPLES = ROOT / "clients" / "examples"
PICTURE, TOKEN = bytes(range(256)) * 40, "a token"
COMMANDS = {
    "ask.py": [sys.executable],
    "ask.mjs": ["node"],
    "ask.go": ["go", "run"],
    "ask.sh": ["sh"],
}


PAGE = f"""<!doctype html><pre></pre><script type="module">
import {{ ask }} from "/ask.mjs";
const bytes = Uint8Array.from({{ length: {len(PICTURE)} }}, (_, n) => n % 256);
const {{ answer }} = await ask("", "explanation", new Blob([bytes]), "{TOKEN}", {{ detail: "verdicts" }});
document.querySelector("pre").textContent = JSON.stringify(answer);
</script>"""
CHROMIUM = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=10000", "--dump-dom",
)  # fmt: skip


class Server(http.server.BaseHTTPRequestHandler):
    def __init__(self, seen: list[dict], *arguments) -> None:
        self.seen = seen
        super().__init__(*arguments)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        names = ("Authorization", "Content-Type", "ImageTrust-Detail")
        self.seen.append({"path": self.path, "body": body} | {name: self.headers[name] for name in names})
        is_known = body == PICTURE
        answer = json.dumps({"inferred": {}} if is_known else {"error": {"code": "unknown_format"}}).encode()
        self.send_response(200 if is_known else 400)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        content = {"/": PAGE.encode(), "/ask.mjs": (EXAMPLES / "ask.mjs").read_bytes()}.get(self.path)
        self.send_response(200 if content else 404)
        self.send_header("Content-Type", "text/html" if self.path == "/" else "text/javascript")
        self.end_headers()
        self.wfile.write(content or b"")

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def listening():
    seen: list[dict] = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, seen)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def run(name: str, address: str, picture: Path) -> subprocess.CompletedProcess:
    program = COMMANDS[name]
    if not shutil.which(program[0]) or name == "ask.sh" and not shutil.which("curl"):
        pytest.skip(f"clients/examples/{name} needs {program[0]}, which this machine does not have")
    environment = os.environ | {"IMAGETRUST_ADDRESS": address, "IMAGETRUST_TOKEN": TOKEN, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(
        [*program, EXAMPLES / name, picture], env=environment, capture_output=True, text=True, timeout=120
    )


def test_each_example_has_its_command():
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == set(COMMANDS)


SENT = {
    "path": "/predictions/explanation",
    "body": PICTURE,
    "Authorization": f"Bearer {TOKEN}",
    "Content-Type": "application/octet-stream",
    "ImageTrust-Detail": "verdicts",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_sends_what_the_api_says_and_prints_the_answer(listening, tmp_path, name):
    address, seen = listening
    (tmp_path / "photo.jpg").write_bytes(PICTURE)
    done = run(name, address, tmp_path / "photo.jpg")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"inferred": {}}
    assert seen == [SENT]


@pytest.mark.parametrize("name", COMMANDS)
def test_an_example_tells_of_a_refusal(listening, tmp_path, name):
    (tmp_path / "note.txt").write_bytes(b"hello")
    done = run(name, listening[0], tmp_path / "note.txt")
    assert done.returncode != 0 and json.loads(done.stdout)["error"]["code"] == "unknown_format"


def test_the_example_works_in_a_browser(listening, tmp_path):
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("clients/examples/ask.mjs in a browser needs chromium, which this machine does not have")
    address, seen = listening
    command = [chromium, *CHROMIUM, f"--user-data-dir={tmp_path / 'profile'}", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert '<pre>{"inferred":{}}</pre>' in done.stdout, done.stderr
    assert seen == [SENT]
