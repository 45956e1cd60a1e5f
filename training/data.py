"""Read images in ArtiFact's layout and splits them without leakage.

Layout: one folder a source, each with `metadata.csv` (filename, image_path, target, category and, where known,
origin: the file that the image was cut from). Target 0 is real; 1 and above are generated.
"""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from PIL import Image
from torch.utils.data import Dataset, Sampler

from imagetrust.errors import RequestError
from imagetrust.images.decode import decode
from imagetrust.models.config import TASKS, DataSet
from training.sources import ARTIFACT_SOURCES, FAMILIES, PARTLY_REAL, REAL, UNDISCLOSED

WILD_LABELS = "labels.csv"  # what tells a folder of whole images from an ArtiFact root
NO_LABEL = -100  # a class index that torch's cross entropy leaves out

# Cumulative shares. Calibration has its own part, so that thresholds are never fitted on what chose the model.
SPLITS = (("train", 0.70), ("validation", 0.80), ("calibration", 0.90), ("test", 1.00))


class DataError(Exception):
    """The data set on disk is not what it should be; the message names the file."""


@dataclass(frozen=True)
class Record:
    """One image.

    group: shared by all that must stay in one split. repository: the public repository that its source was taken from,
        as owner/name; empty where not known. Sources of one repository often share a maker and a generator.
    """

    path: Path
    source: str
    family: str
    generator: str
    category: str
    group: str
    repository: str = ""

    @property
    def maker(self) -> str:
        """Whose images these are, as far as is known."""
        return self.repository or self.source

    @property
    def is_partly_real(self) -> bool:
        """Whether a generator was given a photograph and left much of it: how to call that is a decision."""
        return self.family != REAL and re.search(PARTLY_REAL, self.source) is not None


def read_artifact(root: Path) -> list[Record]:
    """Read all images under an ArtiFact root, in a fixed order.

    Raises DataError where the root holds no source, or a source's family is not known.
    """
    described = _described_sources(root)
    rows = []
    for metadata in sorted(root.glob("*/metadata.csv")):
        source = metadata.parent.name
        if source not in described:
            raise DataError(
                f"{metadata}: the family of source {source!r} is not known; "
                f"name it in {root / 'sources.csv'} (columns source, family, generator)"
            )
        with metadata.open(newline="") as file:
            reader = csv.DictReader(file)
            lacking = {"image_path", "target", "category"} - set(reader.fieldnames or ())
            if lacking:
                raise DataError(f"{metadata} lacks the columns {sorted(lacking)}")
            rows += [(source, row) for row in reader]
    if not rows:
        raise DataError(f"{root} holds no folder with a metadata.csv: it is not an ArtiFact root")
    return [
        _record(root, source, row, group, *described[source])
        for (source, row), group in zip(rows, _groups(rows), strict=True)
    ]


def read_wild(root: Path) -> list[Record]:
    """Read whole images that lie in one folder, as its labels.csv lists them: for scoring, never for training.

    Columns: file, family, source, generator, category, origin_repository. Raises DataError for an unknown family.
    """
    table = root / WILD_LABELS
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["family"] not in (*FAMILIES, UNDISCLOSED):
            raise DataError(f"{table}: {row['file']} has the unknown family {row['family']!r}")
    return [
        Record(
            path=root / row["file"],
            source=row["source"],
            family=row["family"],
            generator=REAL if row["family"] == REAL else row["generator"],
            category=row["category"],
            group=f"{row['source']}/{row['file']}",
            repository=row["origin_repository"],
        )
        for row in rows
    ]


def data_digest(records: list[Record], root: Path) -> str:
    """Return the SHA-256 of which images a data set lists, by source, path under its root and family.

    Pixels take no part: it tells two states of a data set apart, so that a released model's metrics are compared with
    those of the same images alone.
    """
    lines = sorted(f"{r.source}\t{r.path.relative_to(root).as_posix()}\t{r.family}\n" for r in records)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def describe_data(root: Path, records: list[Record]) -> DataSet:
    """Return what a release says of the data that it is of."""
    return DataSet(root.name, len(records), len({record.source for record in records}), data_digest(records, root))


def _described_sources(root: Path) -> dict[str, tuple[str, str, str]]:
    described = {source: (family, source, "") for source, (family, _) in ARTIFACT_SOURCES.items()}
    table = root / "sources.csv"
    if table.exists():
        with table.open(newline="") as file:
            for row in csv.DictReader(file):
                if row["family"] not in (*FAMILIES, UNDISCLOSED):
                    raise DataError(f"{table}: source {row['source']!r} has the unknown family {row['family']!r}")
                described[row["source"]] = (row["family"], row["generator"], row.get("origin_repository") or "")
    return described


def _record(
    root: Path, source: str, row: dict[str, str], group: str, family: str, generator: str, repository: str
) -> Record:  # fmt: skip
    path = root / source / row["image_path"]
    try:
        is_real = int(row["target"]) == 0
    except ValueError as error:
        raise DataError(f"{path}: target {row['target']!r} is not a number") from error
    if family == REAL and not is_real:
        raise DataError(f"{path}: {source} is a real source, but target is {row['target']}")
    return Record(
        path=path,
        source=source,
        family=REAL if is_real else family,  # ArtiFact's cycle_gan holds the photographs that it starts from
        generator=REAL if is_real else generator,
        category=row["category"],
        group=group,
        repository=repository,
    )


def _groups(rows: list[tuple[str, dict[str, str]]]) -> list[str]:
    """Return for each (source, row) the name that it shares with all that must stay in its split.

    Repositories often keep a photograph and what was made from it under one file name, so images whose origins
    have the same name share a group, in whichever source they lie: this errs on the side of keeping too much
    together. A name that one source uses five times or more (`PROMPT/output.png`) identifies nothing: there the
    folder's name does. Without an origin each file stands for itself.
    """
    paths = [
        PurePosixPath(row["origin"].replace("__", "/")).with_suffix("") if row.get("origin") else None
        for _, row in rows
    ]
    uses = Counter((source, path.name) for (source, _), path in zip(rows, paths, strict=True) if path)
    templates = {name for (_, name), count in uses.items() if count >= 5}
    groups = []
    for (source, row), path in zip(rows, paths, strict=True):
        if path is None:
            groups.append(f"{source}/{row['image_path']}")
        elif path.name in templates and path.parent.name:
            groups.append(path.parent.name.lower())
        else:
            groups.append(path.name.lower())
    return groups


def split_of(group: str, seed: int) -> str:
    """Return the split that a group falls into: a hash decides, so that adding images moves none of the old ones."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    return next(name for name, end in SPLITS if position < end)


def split(records: list[Record], seed: int) -> dict[str, list[Record]]:
    """Return the records by split. The same seed gives the same split for every task and every data root."""
    parts: dict[str, list[Record]] = {name: [] for name, _ in SPLITS}
    for record in records:
        parts[split_of(record.group, seed)].append(record)
    return parts


def label_of(record: Record, task: str) -> int:
    """Return the record's class index for a task. Undisclosed families have none in generator_type."""
    if task == "authenticity":
        return int(record.family != REAL)
    return NO_LABEL if record.family == UNDISCLOSED else TASKS[task].index(record.family)


def labelled(records: list[Record], task: str) -> list[tuple[Record, int]]:
    """Return the records that have a class index for a task, with it."""
    return [(record, label) for record in records if (label := label_of(record, task)) != NO_LABEL]


def absent_classes(records: list[Record], task: str) -> list[str]:
    """Return the classes of a task of which no record is an image."""
    present = {label for _, label in labelled(records, task)}
    return [name for index, name in enumerate(TASKS[task]) if index not in present]


class Images(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Decode records' files, as serving does, and transform them: (index) -> (tensor, label or labels).

    transform: from an RGB image to a tensor. min_side: what decoding is told is enough (imagetrust.images.decode).
    Raises DataError, naming the file, for one that cannot be decoded.
    """

    def __init__(
        self,
        items: Sequence[tuple[Record, int | tuple[int, ...]]],
        transform: Callable[[Image.Image], torch.Tensor],
        min_side: int | None = None,
    ) -> None:
        self.items, self.transform, self.min_side = items, transform, min_side

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.items)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Decode and transform one image."""
        record, label = self.items[index]
        try:
            image = decode(record.path.read_bytes(), self.min_side).image
        except (OSError, RequestError) as error:
            raise DataError(f"{record.path}: {error}") from error
        return self.transform(image), torch.tensor(label)


def start_method(workers: int) -> str | None:
    """Return how a DataLoader starts its workers: a fork of a process in which OpenVINO has threads may crash."""
    return "forkserver" if workers else None


def balanced_weights(items: list[tuple[Record, int]]) -> torch.Tensor:
    """Return sampling weights: classes equal, families within a class by the root of their count, makers likewise.

    They sum to the number of classes. A maker is a repository, or a source where none is known: one author's fifty
    folders of StyleGAN faces are one maker's. The root keeps a maker of five images from being drawn as often as one of
    eight hundred.
    """
    cells = Counter((label, record.family, record.maker) for record, label in items)
    families: Counter = Counter()
    for (label, family, _), count in cells.items():
        families[label, family] += count
    roots_in_class, roots_in_family = Counter(), Counter()
    for (label, _), count in families.items():
        roots_in_class[label] += count**0.5
    for (label, family, _), count in cells.items():
        roots_in_family[label, family] += count**0.5

    def weight(label: int, family: str, maker: str) -> float:
        count = cells[label, family, maker]
        of_family = families[label, family] ** 0.5 / roots_in_class[label]
        of_maker = count**0.5 / roots_in_family[label, family]
        return of_family * of_maker / count

    return torch.tensor([weight(label, record.family, record.maker) for record, label in items], dtype=torch.double)


class BalancedSampler(Sampler[int]):
    """Sample an epoch's indices with replacement, the same on every process, each taking every n-th.

    `begin(epoch, skip)` fixes the sample, so a run resumed in the middle of an epoch sees what it would have seen.
    """

    def __init__(self, weights: torch.Tensor, seed: int, rank: int, world: int) -> None:
        self.weights, self.seed, self.rank, self.world = weights, seed, rank, world
        self.epoch = self.skip = 0

    def begin(self, epoch: int, skip: int = 0) -> None:
        """Set the epoch and how many of this process's indices were already used."""
        self.epoch, self.skip = epoch, skip

    def __len__(self) -> int:
        """Return how many indices this process has left in the epoch."""
        return len(self.weights) // self.world - self.skip

    def __iter__(self) -> Iterator[int]:
        """Return this process's indices."""
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        drawn = torch.multinomial(self.weights, len(self.weights), replacement=True, generator=generator)
        mine = drawn[self.rank :: self.world][: len(self.weights) // self.world]
        return iter(mine[self.skip :].tolist())
