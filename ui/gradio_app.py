"""The screen that is deployed: a page of Gradio over a running server. Pictures stay in memory, here and there."""

import base64
import binascii
import os
import tempfile
from collections.abc import Awaitable, Callable
from html import escape
from string import Template
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before the import, which would say so to its makers
os.environ["HF_HUB_OFFLINE"] = "1"
import gradio as gr  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402

from imagetrust.limits import MAX_BYTES  # noqa: E402
from ui import exports, fragments, words  # noqa: E402
from ui.checking import Checked, Checker  # noqa: E402
from ui.settings import Settings, read_settings  # noqa: E402

MAX_PICTURES = 200  # at once; each keeps a copy of some 200 kB in the page
_MAX_BODY = MAX_BYTES * 4 // 3 + 64 * 1024  # bytes: a picture in base64, its name, and what Gradio adds
_MAX_SMALL_BODY = 64 * 1024
# The page may ask nobody but this host, whatever a library would like. Gradio compiles its templates in the page.
_POLICY = (
    "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval'", "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:", "font-src 'self' data:", "object-src 'none'", "base-uri 'self'", "form-action 'self'",
    "frame-ancestors 'none'",
)  # fmt: skip
_HEADERS = (
    (b"content-security-policy", "; ".join(_POLICY).encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class _Refused(Exception):
    """The request's body is not taken."""


class Guard:
    """Bounds what callers send, lets nothing be written to the disk, and says what a page may load."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        # Gradio's own uploads are files, and so are the parts of forms. Another site's page that does
        # not ask first cannot say that what it sends is JSON (CORS).
        is_json = headers.get(b"content-type", b"").lower().startswith(b"application/json")
        if scope["method"] not in ("GET", "HEAD") and ("/upload" in scope["path"] or not is_json):
            await _refuse(send, 404)
            return
        limit = _MAX_BODY if "/component_server" in scope["path"] else _MAX_SMALL_BODY
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            await _refuse(send, 413)
            return
        read, is_over = 0, False

        async def bounded() -> Message:
            nonlocal read, is_over
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                is_over = True
                raise _Refused
            return message

        started = False

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                # Gradio answers whatever goes wrong with a body by 400.
                status = 413 if is_over else message["status"]
                message = {**message, "status": status, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        try:
            await self._app(scope, bounded, with_headers)
        except _Refused:
            if not started:
                await _refuse(send, 413)


async def _refuse(send: Send, status: int) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b""})


def page(checker: Checker) -> str:
    """Return the page before any picture."""
    verdicts = {"": "all"} | words.SHORT_VERDICTS | {"failed": "no answer"}
    silent = words.Fault("This screen does not answer", "It may be restarting. Load the page again.")
    lost = _shown(Checked("", fault=silent))
    return Template((fragments.ASSETS / "page.html").read_text()).substitute(
        most=MAX_PICTURES,
        max_bytes=MAX_BYTES,
        megabytes=MAX_BYTES // 2**20,
        header=escape(exports.csv_head()),
        heading=fragments.heading(),
        address=(fragments.ASSETS / "address.html").read_text() if checker.fetches else "",
        verdicts="".join(f'<option value="{key}">{text}</option>' for key, text in verdicts.items()),
        table=fragments.table(()),
        kept=words.KEPT,
        lost_detail=lost["detail"],
        lost_row=lost["row"],
    )


def _shown(checked: Checked) -> dict[str, object]:
    """Return what the page needs of a result."""
    return {
        "failed": checked.answer is None,
        "detail": fragments.detail(checked),
        "row": fragments.row(checked, 0),
        "said": fragments.said(checked),
        "csv": exports.csv_line(checked),
        "record": exports.as_record(checked),
    }


def functions(checker: Checker) -> list[Callable[[Any], object]]:
    """Return what the page may ask of this program. Each takes one list, as the page's script sends it."""

    def check(sent: Any) -> dict[str, object]:
        name, content = (str(each) for each in sent)
        try:
            data = base64.b64decode(content, validate=True)
        except binascii.Error:
            data = b""
        return _shown(checker.check(name[:200], data))

    def check_address(sent: Any) -> dict[str, object]:
        return _shown(checker.check_address(str(sent[0])[:4000]))

    def explain_fault(sent: Any) -> dict[str, object]:
        code, name = (str(each) for each in sent)
        return _shown(Checked(name[:200], fault=words.fault(code, ""), code=code))

    def problem(sent: Any) -> str:
        told = checker.problem()
        return fragments.banner(told) if told else ""

    return [check, check_address, explain_fault, problem]


def build(checker: Checker) -> gr.Blocks:
    """Return the page as Gradio serves it."""
    with gr.Blocks(title=words.NAME, analytics_enabled=False, fill_width=True) as blocks:
        gr.HTML(
            page(checker),
            js_on_load=(fragments.ASSETS / "screen.js").read_text(),
            apply_default_css=False,
            server_functions=functions(checker),
        )
    return blocks


def run(settings: Settings) -> None:
    """Serve the page until the program is ended."""
    with tempfile.TemporaryDirectory(prefix="imagetrust-screen-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = (
            folder  # nothing is written there; where a library would, it goes with the program
        )
        build(settings.checker()).launch(
            server_name=settings.host,
            server_port=settings.port,
            root_path=settings.root_path,
            theme=gr.themes.Base(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]),
            head=f"<style>{fragments.style()}{_GRADIO_STYLE}</style>",
            app_kwargs={"middleware": [Middleware(Guard)]},
            footer_links=[],
            share=False,
            ssr_mode=False,
            pwa=False,
            run_history=False,
            enable_monitoring=False,
            quiet=True,
            max_file_size="1kb",
        )


# Gradio's own frame around the page.
_GRADIO_STYLE = """
body, gradio-app, .gradio-container { background: var(--it-page) !important; }
.gradio-container .main, .gradio-container main { padding: 0 !important; }
.gradio-container .block { overflow: visible !important; }
"""

if __name__ == "__main__":
    run(read_settings())
