"""Asks about a picture with Python's standard library alone: `IMAGETRUST_TOKEN=... python ask.py photo.jpg`."""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

ADDRESS = os.environ.get("IMAGETRUST_ADDRESS", "http://127.0.0.1:8080")


def ask(endpoint: str, picture: bytes, token: str, **options: str) -> tuple[int, dict]:
    """Return the HTTP status and the answer. Options are those of docs/api.md, such as detail="verdicts"."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
    headers |= {f"ImageTrust-{name}": value for name, value in options.items()}
    request = urllib.request.Request(f"{ADDRESS}/predictions/{endpoint}", picture, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


if __name__ == "__main__":
    status, answer = ask(
        "explanation", Path(sys.argv[1]).read_bytes(), os.environ["IMAGETRUST_TOKEN"], detail="verdicts"
    )
    print(json.dumps(answer))
    sys.exit(status != 200)
