"""What each process of the engine does: scores a shard and writes its part."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch

from batch.manifest import base_of, parquet_bytes, part_name, read_shard
from batch.rows import ERROR, row_of, table_of
from batch.storage import Place
from imagetrust import limits
from imagetrust.errors import AnswerError, PredictionError, RequestError
from imagetrust.predictor import Predictor
from imagetrust.request import Request

READ_AT_ONCE = 8  # files whose bytes are held while as many before them are scored: at most 16 of limits.MAX_BYTES
MOST_DEATHS = 2  # of processes that looked at one file alone, until it is an error


class ShardScorer:
    """Scores shards with the model in a serving folder, in one thread, and reads ahead in others.

    source: the job's. output: its folder. Raises what Predictor raises.
    """

    def __init__(self, model: str, source: str, output: str) -> None:
        torch.set_num_threads(1)
        self._predictor = Predictor(Path(model))
        self._base, self._output = base_of(source), Place(output)
        self._readers = ThreadPoolExecutor(READ_AT_ONCE)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Score the shard of this number, write its part, and say how many rows and errors it has and when it was."""
        shard, begin = int(item["shard"]), time.time()
        note = _Note(self._output, shard)
        paths = read_shard(self._output, shard)
        rows: list[dict[str, Any]] = []
        # A process died over this shard: look at one file at a time to learn which one does that.
        for numbers, contents in self._read_ahead(paths, 1 if note.is_repeated else READ_AT_ONCE):
            if note.is_repeated:
                note.look_at(numbers[0])
            if note.is_deadly(numbers[0]):
                contents = [WorkerDied()]
            rows += self._score(contents)
        first = int(item["first"])
        rows = [
            {"input": first + number, "path": path} | row
            for number, (path, row) in enumerate(zip(paths, rows, strict=True))
        ]
        self._output.write(part_name(shard), parquet_bytes(table_of(rows)))
        note.remove()
        errors = sum(row["status"] == ERROR for row in rows)
        return {"shard": shard, "rows": len(rows), "errors": errors, "begin": begin, "end": time.time()}

    def _read_ahead(self, paths: Sequence[str], size: int) -> Iterator[tuple[range, list[bytes | AnswerError]]]:
        """Yield the numbers of `size` files at a time and their contents, while the next ones are being read."""
        reading: deque[tuple[range, list[Future[bytes | AnswerError]]]] = deque()
        for start in range(0, len(paths), size):
            numbers = range(start, min(start + size, len(paths)))
            reading.append((numbers, [self._readers.submit(self._read, paths[number]) for number in numbers]))
            if len(reading) > 1:
                numbers, futures = reading.popleft()
                yield numbers, [future.result() for future in futures]
        for numbers, futures in reading:
            yield numbers, [future.result() for future in futures]

    def _score(self, contents: Sequence[bytes | AnswerError]) -> list[dict[str, Any]]:
        requests = [one if isinstance(one, AnswerError) else Request(one, {"detail": "declared"}) for one in contents]
        answers = self._predictor.predict(requests, "explanation")
        return [
            row_of(answer, self._predictor.model.config) | _digest(content)
            for answer, content in zip(answers, contents, strict=True)
        ]

    def _read(self, path: str) -> bytes | AnswerError:
        """Return a file's bytes; of one beyond the limit as many as show that."""
        try:
            return self._base.read(path, limits.MAX_BYTES + 1)
        except FileNotFoundError:
            return RequestError("not_found", "The file is not there.")
        except (OSError, ValueError) as error:
            return RequestError("unreadable", f"The file cannot be read: {error}")


class WorkerDied(PredictionError):
    """A file over which processes end."""

    def __init__(self) -> None:
        AnswerError.__init__(self, "worker_died", "The process that looked at this file ended each time.")


def _digest(content: bytes | AnswerError) -> dict[str, Any]:
    if isinstance(content, AnswerError) or len(content) > limits.MAX_BYTES:
        return {}
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


class _Note:
    """What is kept of a shard that is being scored, for the process that comes after one that died over it."""

    def __init__(self, output: Place, shard: int) -> None:
        self._output, self._name = output, f"_notes/{shard:07}.json"
        self._deaths: dict[str, int] = {}
        self.is_repeated = True
        try:
            left = json.loads(output.read(self._name))
        except FileNotFoundError:
            self.is_repeated = False
            self._write(None)
            return
        self._deaths = left["deaths"]
        if left["at"] is not None:
            self._deaths[left["at"]] = self._deaths.get(left["at"], 0) + 1

    def look_at(self, number: int) -> None:
        """Say that a file is looked at alone, before that is done."""
        if not self.is_deadly(number):
            self._write(str(number))

    def is_deadly(self, number: int) -> bool:
        """Return whether the file is to be left alone."""
        return self._deaths.get(str(number), 0) >= MOST_DEATHS

    def remove(self) -> None:
        """Forget it: the part is written."""
        self._output.delete(self._name)

    def _write(self, at: str | None) -> None:
        self._output.write(self._name, json.dumps({"at": at, "deaths": self._deaths}).encode())
