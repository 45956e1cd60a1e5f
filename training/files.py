"""Writes files so that a reader, or a crash, never meets half of one."""

import json
import os
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Lets `write` fill a temporary file beside `path` and renames it into place."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_bytes(path: Path, content: bytes) -> None:
    """`replace_file` for content in memory."""
    replace_file(path, lambda temporary: temporary.write_bytes(content))


def replace_json(path: Path, content: object) -> None:
    """`replace_file` for a value, as indented JSON with a final newline."""
    replace_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
