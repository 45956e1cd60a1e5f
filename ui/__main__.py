"""Starts a screen: `python -m ui gradio|streamlit`. `make ui` calls this."""

import argparse
import os
import sys
from pathlib import Path

from ui.settings import add_arguments, settings_of

SCRIPT = Path(__file__).resolve().parent / "streamlit_app.py"
# What Streamlit would do otherwise: count its users for its makers, watch the source, and show a developer's menu.
STREAMLIT = {
    "browser.gatherUsageStats": "false",
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "client.toolbarMode": "minimal",
    "server.disconnectedSessionTTL": "10",
    "server.fileWatcherType": "none",
    "server.headless": "true",
    "server.maxUploadSize": "64",
    "server.showEmailPrompt": "false",
    "theme.font": "'Inter Screen', sans-serif",
    "theme.baseRadius": "10px",
    # The colours of assets/screen.css.
    "theme.light.primaryColor": "#1d4ed8",
    "theme.light.backgroundColor": "#f4f6f9",
    "theme.light.secondaryBackgroundColor": "#ffffff",
    "theme.light.textColor": "#16202e",
    "theme.light.borderColor": "#7b8798",
    "theme.dark.primaryColor": "#93b8ff",
    "theme.dark.backgroundColor": "#0f141b",
    "theme.dark.secondaryBackgroundColor": "#18202b",
    "theme.dark.textColor": "#e9eef5",
    "theme.dark.borderColor": "#77869b",
    "theme.showWidgetBorder": "true",
}


def main() -> None:
    """Become the program that serves the screen."""
    parser = argparse.ArgumentParser(
        prog="python -m ui", description="Serves a screen for people over a running server."
    )
    parser.add_argument("screen", choices=("gradio", "streamlit"))
    parsed = add_arguments(parser).parse_args()
    settings = settings_of(parsed)
    print(
        f"The screen is at http://{settings.host}:{settings.port}{settings.root_path or ''} (Ctrl-C ends it).",
        flush=True,
    )
    if parsed.screen == "gradio":
        from ui.gradio_app import run

        run(settings)
        return
    options = STREAMLIT | {"server.address": settings.host, "server.port": str(settings.port)}
    if settings.root_path:
        options["server.baseUrlPath"] = settings.root_path.strip("/")
    flags = [f"--{name}={value}" for name, value in options.items()]
    os.execv(sys.executable, [sys.executable, "-m", "streamlit", "run", *flags, str(SCRIPT), "--", *sys.argv[2:]])


if __name__ == "__main__":
    main()
