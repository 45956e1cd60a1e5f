"""What shall be served: a file that outlives TorchServe, which forgets versions, defaults and workers at its end."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

import msgspec

from imagetrust.files import replace_bytes

DESIRED = "desired.json"  # in the server's folder
_LOCK = "desired.lock"

Share = Annotated[float, msgspec.Meta(gt=0, lt=1)]


class DesiredError(Exception):
    """The file of what shall be served cannot be used; the message says why."""


class Served(msgspec.Struct, forbid_unknown_fields=True):
    """One version of a model.

    archive: its file in the model store. contents: the SHA-256 of the archive's list of contents.
    workers: None where server/sizing.py chooses, which another machine does otherwise.
    """

    archive: str
    contents: str
    workers: Annotated[int, msgspec.Meta(ge=1)] | None = None


class Canary(msgspec.Struct, forbid_unknown_fields=True):
    """The share of a model's requests that the gate sends to another version than the default."""

    version: str
    share: Share


class Model(msgspec.Struct, forbid_unknown_fields=True):
    """A model's versions. tasks: that it answers. previous: the default before this one, for a rollback."""

    default: str
    versions: dict[str, Served]
    tasks: tuple[str, ...] = ()
    previous: str | None = None
    canary: Canary | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where a version is named that the model does not have."""
        for version in (self.default, self.previous, self.canary and self.canary.version):
            if version is not None and version not in self.versions:
                raise ValueError(f"version {version} is named and not served")

    def ordered(self) -> list[tuple[str, Served]]:
        """Return the versions, the default first: TorchServe takes the first that it loads as its default."""
        return sorted(self.versions.items(), key=lambda item: item[0] != self.default)


class Desired(msgspec.Struct, forbid_unknown_fields=True):
    """All models by name. made_from: the archives that the settings named when nothing had been registered yet.

    left_out: those of them that did not stand, and are served as soon as they do.
    """

    made_from: list[str]
    models: dict[str, Model]
    left_out: list[str] = []

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the file in a server's folder; None where there is none. Raises DesiredError for a damaged one."""
        path = folder / DESIRED
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (msgspec.DecodeError, OSError) as error:
            raise DesiredError(f"{path} cannot be used: {error}. Mend it, or remove it to start anew.") from error

    def write(self, folder: Path) -> None:
        """Write the file, in one step."""
        replace_bytes(folder / DESIRED, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    def add(self, name: str, version: str, served: Served, tasks: tuple[str, ...]) -> None:
        """Serve a version of a model beside the others; the first one is the default."""
        if name in self.models:
            self.models[name].versions[version] = served
        else:
            self.models[name] = Model(version, {version: served}, tasks)

    def canaries(self) -> dict[str, tuple[str, float]]:
        """Return, by model, the version of a canary and its share in per cent."""
        return {
            name: (model.canary.version, 100 * model.canary.share)
            for name, model in self.models.items()
            if model.canary
        }

    def sharing(self, name: str) -> int:
        """Return how many versions of a model the settings named, which share its workers; those added later do not."""
        return max(1, sum(served.archive in self.made_from for served in self.models[name].versions.values()))

    def group(self, name: str) -> list[str]:
        """Return the models that must be of one version with this one: those that share a task, and theirs."""
        group, tasks = {name}, set(self.models[name].tasks)
        while joining := {other for other, model in self.models.items() if tasks & set(model.tasks)} - group:
            group |= joining
            tasks.update(*(self.models[other].tasks for other in joining))
        return [other for other in self.models if other in group]


@contextlib.contextmanager
def changing(folder: Path, wait: bool = True) -> Iterator[bool]:
    """Hold the lock under which versions are changed; yield whether it is held.

    wait: until another holder lets it go, or yield False at once.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
