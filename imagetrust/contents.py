"""What an archive's list of contents says of its files: who wrote the archive signs it, who loads it compares."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from imagetrust.files import file_sha256

CONTENTS = "MAR-INF/CONTENTS.json"  # beside TorchServe's own MAR-INF/MANIFEST.json
SIGNATURE = "MAR-INF/CONTENTS.sig"  # Ed25519 over the bytes of CONTENTS, as hexadecimal digits
_WRITTEN_BY_PYTHON = "__pycache__"


def contents(name: str, version: str, tasks: Iterable[str], digests: dict[str, str]) -> bytes:
    """Return the list of an archive's contents.

    tasks: that the model answers; models that share one must be of the same version.
    digests: the SHA-256 of every other file, by its path in the archive.
    """
    listed = {"model": {"name": name, "version": version, "tasks": sorted(tasks)}, "files": digests}
    return (json.dumps(listed, indent=1, sort_keys=True) + "\n").encode()


def read_contents(listed: bytes) -> dict[str, Any]:
    """Return a list of contents: `model` with name, version and tasks, and `files` with their digests.

    Raises ValueError where it is none.
    """
    try:
        read = json.loads(listed)
        model, files = read["model"], read["files"]
        texts = [model["name"], model["version"], *model["tasks"], *files, *files.values()]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{CONTENTS} is no list of contents") from error
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{CONTENTS} is no list of contents")
    return {"model": model, "files": files}


def check_folder(folder: Path) -> None:
    """Compare an unpacked archive with its list of contents, every file of it.

    Raises ValueError for the first file that is missing, not listed or another, and where there is no list.
    """
    try:
        listed = read_contents((folder / CONTENTS).read_bytes())["files"]
    except FileNotFoundError as error:
        raise ValueError(f"the archive holds no {CONTENTS}: build it with archive_scripts.build") from error
    found = {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and _WRITTEN_BY_PYTHON not in path.parts
    }
    for name in sorted((found - {CONTENTS, SIGNATURE}) ^ listed.keys()):
        raise ValueError(f"{name} is {'not listed in' if name in found else 'missing, but listed in'} {CONTENTS}")
    for name, digest in listed.items():
        if (actual := file_sha256(folder / name)) != digest:
            raise ValueError(f"{name} has SHA-256 {actual}, {CONTENTS} says {digest}")
