"""Write files so that a reader, or a crash, never meets half of one; and tell which file one is."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path


def replace_file(path: Path, write: Callable[[Path], object], mode: int | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, and rename it into place.

    mode: who may read it, from its first byte on; what the process gives to new files where there is none.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if mode is not None:
            temporary.unlink(missing_ok=True)
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            temporary.chmod(mode)
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())  # or a power cut may leave the name without the content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def replace_bytes(path: Path, content: bytes, mode: int | None = None) -> None:
    """Do as `replace_file` for content in memory."""
    replace_file(path, lambda temporary: temporary.write_bytes(content), mode)


def replace_json(path: Path, content: object) -> None:
    """Do as `replace_file` for a value, as indented JSON with a final newline."""
    replace_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
