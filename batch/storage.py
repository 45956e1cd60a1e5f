"""Folders and object stores by one set of calls, each for a place such as /data/photos or s3://bucket/photos."""

import contextlib
import posixpath
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self, TypeVar

import fsspec
import pyarrow as pa
from pyarrow import fs

ATTEMPTS = 3  # at a read or write that fails for a reason that may pass
WAIT = 0.5  # seconds before the second attempt, twice as long before the next
_WILL_NOT_PASS = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_TEMPORARY = "_temporary"  # like all that begins with _, readers of a folder of Parquet files leave it out
T = TypeVar("T")


class Place:
    """A folder, or a prefix of an object store.

    address: a path, or an address that pyarrow knows (file, s3, gs, abfs, hdfs) or fsspec does.
    Raises ValueError for an address that neither knows.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.filesystem, self.path = _filesystem(address)

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine, or one that is mounted."""
        return isinstance(self.filesystem, fs.LocalFileSystem)

    def resolve(self, name: str) -> tuple[fs.FileSystem, str]:
        """Return where a name leads: an address to its own file system, an absolute path and a relative one to this."""
        if "://" in name:
            return _filesystem(name)
        return self.filesystem, posixpath.join(self.path, name)

    def below(self, name: str) -> Self:
        """Return a folder in this one."""
        return type(self)(posixpath.join(self.address, name))

    def read(self, name: str, most: int | None = None) -> bytes:
        """Return a file's bytes, the first `most` where that is given. Raises OSError."""
        filesystem, path = self.resolve(name)

        def read() -> bytes:
            # A pipe or a device would never end.
            kind = filesystem.get_file_info(path).type
            if kind == fs.FileType.NotFound:
                raise FileNotFoundError(f"{name} is not there")
            if kind != fs.FileType.File:
                raise IsADirectoryError(f"{name} is no file")
            with filesystem.open_input_stream(path) as stream:
                return stream.read(most)

        return _attempt(read)

    def write(self, name: str, content: bytes) -> None:
        """Write a file of this place that appears whole or not at all, whoever reads or dies meanwhile.

        A rename does that on a file system. On an object store it is a copy, which appears whole too.
        """
        temporary = posixpath.join(self.path, _TEMPORARY, f"{posixpath.basename(name)}.{uuid.uuid4().hex}")
        target = posixpath.join(self.path, name)

        def write() -> None:
            for path in (temporary, target):
                self.filesystem.create_dir(posixpath.dirname(path), recursive=True)
            with self.filesystem.open_output_stream(temporary) as stream:
                stream.write(content)
            self.filesystem.move(temporary, target)

        _attempt(write)

    def delete(self, name: str) -> None:
        """Delete a file or a folder of this place; nothing where there is none."""
        path = posixpath.join(self.path, name)
        with contextlib.suppress(FileNotFoundError):
            if self.filesystem.get_file_info(path).type == fs.FileType.Directory:
                self.filesystem.delete_dir(path)
            else:
                self.filesystem.delete_file(path)

    def names(self) -> list[str]:
        """Return the names of the files that lie in this place itself."""
        selector = fs.FileSelector(self.path, allow_not_found=True)
        return [info.base_name for info in self.filesystem.get_file_info(selector) if info.type == fs.FileType.File]

    def walk(self) -> Iterator[str]:
        """Yield the path of each file below this place, relative to it; no more than one folder's are held at once.

        What begins with a dot is left out, and so are links to folders, which may lead in circles.
        Raises NotADirectoryError where this is no folder.
        """
        if self.filesystem.get_file_info(self.path).type != fs.FileType.Directory:
            raise NotADirectoryError(f"{self.address} is no folder")
        waiting = [self.path]
        while waiting:
            folder = waiting.pop()
            for path, is_folder in _local_entries(folder) if self.is_local else self._entries(folder):
                if posixpath.basename(path).startswith("."):
                    continue
                if is_folder:
                    waiting.append(path)
                else:
                    yield posixpath.relpath(path, self.path)

    def _entries(self, folder: str) -> Iterator[tuple[str, bool]]:
        for info in self.filesystem.get_file_info(fs.FileSelector(folder)):
            if info.path.rstrip("/") != folder.rstrip("/"):  # some stores have an object for a folder
                yield info.path, info.type == fs.FileType.Directory


def _local_entries(folder: str) -> Iterator[tuple[str, bool]]:
    # pyarrow follows links, and cannot tell names that are no UTF-8.
    for entry in Path(folder).iterdir():
        if entry.is_dir() and not entry.is_symlink():
            yield str(entry), True
        elif entry.is_file():
            yield str(entry), False


def _filesystem(address: str) -> tuple[fs.FileSystem, str]:
    if "://" not in address:
        return fs.LocalFileSystem(), str(Path(address).absolute())
    try:
        return fs.FileSystem.from_uri(address)
    except pa.ArrowInvalid:
        try:
            filesystem, path = fsspec.core.url_to_fs(address)
        except (ValueError, ImportError) as error:
            raise ValueError(f"{address}: {error}") from error
        return fs.PyFileSystem(fs.FSSpecHandler(filesystem)), path


def _attempt(call: Callable[[], T]) -> T:
    for number in range(ATTEMPTS - 1):
        try:
            return call()
        except _WILL_NOT_PASS:
            raise
        except OSError:
            time.sleep(WAIT * 2**number)
    return call()
