"""From what a command line names to the pictures to ask about, one by one: nothing but names is held."""

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

STANDARD_INPUT = "-"
# Of the formats that the server reads (docs/api.md). They choose in folders alone: a file that is named is always sent.
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".hif", ".tif", ".tiff",
     ".gif", ".bmp", ".dib")
)  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """A picture to ask about, or why a name gives none. picture: a path, or the bytes of the standard input."""

    name: str
    picture: Path | bytes = b""
    fault: str = ""


def list_pictures(names: Sequence[str], standard_input: bytes = b"", left_out: Path | None = None) -> Iterator[Listed]:
    """Yield the pictures that files, folders, patterns and `-` name, in their order, those of a folder by name.

    Each name yields something. Folders are read with all below, without what is hidden, without folders that are
    links, and without the folder `left_out`.
    """
    for name in names:
        path = Path(name)
        if name == STANDARD_INPUT:
            yield Listed(name, standard_input)
        elif os.path.lexists(path) or not glob.has_magic(name):
            yield from _list_path(path, left_out)
        else:
            found = False
            for match in sorted(_matches(path)):
                found = True
                yield from _list_path(match, left_out)
            if not found:
                yield Listed(name, fault="Nothing has a name of this pattern.")


def _matches(pattern: Path) -> Iterator[Path]:
    """Yield what has a name of a pattern; through `**` files alone. What is hidden is left out, as a shell does."""
    is_recursive = "**" in pattern.parts
    names_hidden = any(_is_hidden(part) for part in pattern.parts)
    relative = str(pattern.relative_to(pattern.anchor)) + ("/*" if pattern.name == "**" else "")
    for match in Path(pattern.anchor).glob(relative):
        if (names_hidden or not any(map(_is_hidden, match.parts))) and not (is_recursive and match.is_dir()):
            yield match


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name not in (".", "..")


def _list_path(path: Path, left_out: Path | None) -> Iterator[Listed]:
    if not path.is_dir():
        yield _listed(path)
        return
    found = False
    for listed in _walk(path, left_out):
        found = True
        yield listed
    if not found:
        yield Listed(str(path), fault="The folder holds no pictures.")


def _walk(folder: Path, left_out: Path | None) -> Iterator[Listed]:
    try:
        with os.scandir(folder) as entries:
            inside = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        yield Listed(str(folder), fault=f"The folder cannot be read: {error.strerror}.")
        return
    for name, is_folder in inside:
        path = folder / name
        if name.startswith("."):
            continue
        if is_folder and not (left_out and path.resolve() == left_out):
            yield from _walk(path, left_out)
        elif not is_folder and path.suffix.lower() in SUFFIXES:
            yield _listed(path)


def _listed(path: Path) -> Listed:
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        return Listed(str(path), fault=f"The file cannot be read: {error.strerror}.")
    # A pipe or a device may never end.
    return Listed(str(path), path) if is_file else Listed(str(path), fault="It is not a file.")
