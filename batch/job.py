"""Run a job on Ray: one process a core, each with a model of its own, fed with the shards that have no part yet."""

import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a job calls nobody unasked

import ray  # noqa: E402
import ray.data  # noqa: E402

from batch.manifest import Job, JobError, open_job, pending_shards  # noqa: E402
from batch.scoring import ShardScorer  # noqa: E402
from batch.storage import Place  # noqa: E402
from imagetrust.models.config import ModelConfig  # noqa: E402
from imagetrust.runtime.precision_gate import EXACT_NETWORK  # noqa: E402

SHARD_SIZE = 500
_STORE_BYTES = 80 * 2**20  # of Ray's memory for objects, which hold nothing but numbers of shards here


@dataclass(frozen=True)
class Run:
    """What one run did.

    seconds: from its start to its end. scoring_seconds: from the first shard's begin to the last one's end.
    """

    processes: int
    files: int
    errors: int
    seconds: float
    scoring_seconds: float

    @property
    def files_per_second(self) -> float:
        """Return the rate while it scored."""
        return self.files / self.scoring_seconds if self.scoring_seconds else 0.0

    def as_json(self) -> dict[str, float]:
        """Return its members and the rate."""
        return asdict(self) | {"files_per_second": self.files_per_second}


def run(
    source: str,
    output: str,
    model: Path,
    processes: int,
    shard_size: int = SHARD_SIZE,
    report: Callable[[str], None] = print,
) -> Run:
    """Score what is not scored yet, and return when every input has its row.

    source: a folder, a prefix, or a .parquet with a column `path`. model: a serving folder, as archive_scripts.prepare
    writes it, at the same path on every machine.
    Raises JobError for a folder of another job, a source that cannot be listed, and a model that cannot be served.
    """
    begin = time.monotonic()
    try:
        config = ModelConfig.read(model)
    except (OSError, ValueError) as error:
        raise JobError(f"{model} holds no model: {error}") from error
    if not (model / EXACT_NETWORK).exists():
        raise JobError(f"{model} is not prepared for serving: python -m archive_scripts.prepare RELEASE FOLDER")
    place = Place(output)
    job = open_job(source, place, config.version, config.weights_sha256, shard_size)
    shards = pending_shards(job, place)
    done = job.inputs - sum(job.rows(shard) for shard in shards)
    report(f"{job.inputs:,} files in {job.shards:,} parts, of which {job.shards - len(shards):,} are there")
    progress = _Progress(job, done, len(shards), report)
    if shards:
        _start_ray(processes)
        try:
            _score(job, shards, place, model, processes, progress)
        finally:
            ray.shutdown()
    if missing := pending_shards(job, place):
        raise JobError(f"{len(missing)} parts are missing; the same command makes them")
    place.delete("_notes")
    place.delete("_temporary")
    return Run(processes, progress.files, progress.errors, time.monotonic() - begin, progress.seconds)


def _start_ray(processes: int) -> None:
    """Join the cluster that RAY_ADDRESS names, as a submitted job does, or start Ray on this machine."""
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
    else:
        ray.init(num_cpus=processes, object_store_memory=_STORE_BYTES, include_dashboard=False, **quiet)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False


def _score(job: Job, shards: list[int], output: Place, model: Path, processes: int, progress: "_Progress") -> None:
    items = [{"shard": shard, "first": shard * job.shard_size} for shard in shards]
    scored = ray.data.from_items(items, override_num_blocks=len(items)).map(
        ShardScorer,
        fn_constructor_args=(str(model.absolute()), job.source, output.address),
        # A shard beyond those being scored waits with Ray, not with a process that may be slower than the others.
        compute=ray.data.ActorPoolStrategy(size=min(processes, len(shards)), max_tasks_in_flight_per_actor=1),
        num_cpus=1,
    )
    try:
        for part in scored.iter_rows():
            progress.add(part["rows"], part["errors"], part["begin"], part["end"])
    except ray.exceptions.RayError as error:
        raise JobError(f"the engine gave up: {error}") from error


class _Progress:
    """Counts what the processes report, and says so."""

    def __init__(self, job: Job, done: int, parts: int, report: Callable[[str], None]) -> None:
        self._job, self._done, self._left, self._report = job, done, parts, report
        self._begin = self._end = 0.0
        self.files = self.errors = 0

    @property
    def seconds(self) -> float:
        """Return from when until when shards were scored, in seconds."""
        return self._end - self._begin

    def add(self, rows: int, errors: int, begin: float, end: float) -> None:
        """Count a part: its rows and errors, and when it was begun and ended, in seconds since 1970."""
        self._begin = min(self._begin or begin, begin)
        self._end = max(self._end, end)
        self.files, self.errors, self._left = self.files + rows, self.errors + errors, self._left - 1
        rate = self.files / self.seconds
        rest = (self._job.inputs - self._done - self.files) / rate
        self._report(
            f"{self._done + self.files:,} of {self._job.inputs:,} files, {self.errors:,} errors, {rate:.1f} files/s, "
            f"{self._left:,} parts left, {timedelta(seconds=round(rest))}"
        )
