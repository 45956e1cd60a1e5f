"""Which files a job scores: listed once, in shards of a few hundred, so that nobody ever holds all of them.

The job's folder holds `_job.json`, the shards under `_manifest`, and a part of the results for each shard that is done.
"""

import io
import itertools
import json
import posixpath
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from batch.storage import Place

JOB = "_job.json"
_SHARDS = "_manifest"
_LISTED_AT_ONCE = 10_000  # rows of a Parquet list
_FOOTERS_AT_ONCE = 16


class JobError(Exception):
    """A job cannot run so; the message says what to change."""


@dataclass(frozen=True)
class Job:
    """What a folder of results belongs to, which never changes.

    source: what was listed: a folder, a prefix, or a Parquet file with a column `path`. weights_sha256: of the model.
    inputs: how many files. shard_size: of each shard but the last.
    """

    source: str
    version: str
    weights_sha256: str
    shard_size: int
    inputs: int

    @property
    def shards(self) -> int:
        """Return how many shards and parts there are."""
        return -(-self.inputs // self.shard_size)

    def rows(self, shard: int) -> int:
        """Return how many inputs a shard has."""
        return min(self.shard_size, self.inputs - shard * self.shard_size)


def part_name(shard: int) -> str:
    """Return the file of a shard's results."""
    return f"part-{shard:07}.parquet"


def base_of(source: str) -> Place:
    """Return what the paths in a job's manifest are relative to."""
    return Place(posixpath.dirname(source) or "." if source.endswith(".parquet") else source)


def open_job(source: str, output: Place, version: str, weights_sha256: str, shard_size: int) -> Job:
    """Return the job of an output folder: the one that is there, or a new one, whose inputs are listed now.

    Raises JobError where the folder belongs to another job or the source cannot be listed.
    """
    try:
        job = Job(**json.loads(output.read(JOB)))
    except FileNotFoundError:
        return _new_job(source, output, version, weights_sha256, shard_size)
    wanted = {"source": source, "version": version, "weights_sha256": weights_sha256}
    for name, value in wanted.items():
        if (was := getattr(job, name)) != value:
            raise JobError(f"{output.address} has results of another job, whose {name} is {was}: name another folder")
    return job


def _new_job(source: str, output: Place, version: str, weights_sha256: str, shard_size: int) -> Job:
    output.delete(_SHARDS)  # what a job left that was killed while it listed
    count = 0
    try:
        for shard, paths in enumerate(_chunks(_list(source, output), shard_size)):
            output.write(shard_name(shard), parquet_bytes(pa.table({"path": pa.array(paths, pa.string())})))
            count += len(paths)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise JobError(f"{source} cannot be listed: {error}") from error
    job = Job(source, version, weights_sha256, shard_size, count)
    output.write(JOB, json.dumps(asdict(job), indent=1).encode())
    return job


def _list(source: str, output: Place) -> Iterator[str]:
    if not source.endswith(".parquet"):
        place = Place(source)
        if posixpath.join(output.path, "").startswith(posixpath.join(place.path, "")):
            raise ValueError("the results would lie among the inputs")
        # A name that is no UTF-8 stays readable for people; its file is one that cannot be found.
        for path in place.walk():
            yield path.encode(errors="surrogateescape").decode(errors="backslashreplace")
        return
    filesystem, path = Place(".").resolve(source)
    with filesystem.open_input_file(path) as file, pq.ParquetFile(file) as listed:
        if "path" not in listed.schema_arrow.names:
            raise ValueError("it has no column `path`")
        for rows in listed.iter_batches(_LISTED_AT_ONCE, columns=["path"]):
            for name in rows.column(0).cast(pa.string()).to_pylist():
                yield name or ""


def _chunks(names: Iterable[str], size: int) -> Iterator[list[str]]:
    names = iter(names)
    while chunk := list(itertools.islice(names, size)):
        yield chunk


def shard_name(shard: int) -> str:
    """Return the file of a shard's list."""
    return f"{_SHARDS}/{shard:07}.parquet"


def read_shard(output: Place, shard: int) -> list[str]:
    """Return the paths of a shard, in order."""
    return pq.read_table(io.BytesIO(output.read(shard_name(shard)))).column("path").to_pylist()


def pending_shards(job: Job, output: Place) -> list[int]:
    """Return the shards without a part, or with one that lost power before it was written in full."""
    there = set(output.names())
    written = [shard for shard in range(job.shards) if part_name(shard) in there]
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        whole = dict(zip(written, pool.map(lambda shard: _is_whole(output, job, shard), written), strict=True))
    return [shard for shard in range(job.shards) if not whole.get(shard)]


def _is_whole(output: Place, job: Job, shard: int) -> bool:
    filesystem, path = output.resolve(part_name(shard))
    try:
        with filesystem.open_input_file(path) as file:
            return pq.read_metadata(file).num_rows == job.rows(shard)
    except pa.ArrowInvalid:
        return False


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as a Parquet file."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
