"""What a worker tells TorchServe to count, and what it logs of each request. deploy/torchserve/metrics.yaml lists all.

TorchServe reads metrics from the worker's output and serves them on its metrics address. The buckets of its histograms
are fixed (0.005 to 10): they suit seconds, so that probabilities and sizes are counted by bins instead.
"""

import json
import logging
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from imagetrust.distributions import EDGES, bin_of
from imagetrust.errors import AnswerError
from imagetrust.measured import Measured
from imagetrust.models.config import ModelConfig
from imagetrust.predictor import Answer

logger = logging.getLogger(__name__)

SELF_TEST = "self-test"  # the supervisor's requests call themselves so, and are not counted (server/self_test.py)
_VERDICTS = ("real", "uncertain", "generated")
_ANSWERED = "answered"  # the code of a request that failed in nothing
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")  # as the gate has it
_LONGEST_WAIT = 600.0  # seconds; a gate waits for less


class Metrics:
    """One worker's metrics of a model.

    cache: TorchServe's, with what metrics.yaml lists; a TorchServe that was started without that file counts nothing.
    """

    def __init__(self, cache: Any, question: str, config: ModelConfig, engine: str, batch_size: int) -> None:
        by_type = cache.cache.values() if cache else ()
        self._metrics = {name: metric for metrics in by_type for name, metric in metrics.items()}
        self._labels = [question, config.version]
        self._engine = engine.split()  # "openvino bf16"
        self._batch_size = batch_size

    def begin(self, config: ModelConfig, tasks: Collection[str]) -> None:
        """Say what the model was measured on, and begin each counter at nothing: Prometheus sees no first step else."""
        for name, reference in config.reference.items():
            for distribution, edges in EDGES.items():
                for edge, count in zip(edges, getattr(reference, distribution), strict=True):
                    self._add("imagetrust_reference_images", count, name, distribution, _edge(edge))
        for distribution, edges in EDGES.items():
            if distribution != "probability" or "authenticity" in tasks:
                for edge in edges:
                    self._add("imagetrust_distribution_total", 0, distribution, _edge(edge))
        if "authenticity" in tasks:
            for verdict in _VERDICTS:
                self._add("imagetrust_verdicts_total", 0, verdict)
        if "generator_type" in tasks:
            for family in config.heads["generator_type"].classes:
                self._add("imagetrust_families_total", 0, family)
        for code in (_ANSWERED, "internal"):
            self._add("imagetrust_requests_total", 0, code)
        self._add("imagetrust_scored_total", 0, *self._engine)
        self._add("imagetrust_views_total", 0)
        self._add("imagetrust_recomputed_total", 0)

    def count_batch(self, items: int) -> None:
        """Count a batch by how full it is: the fraction of the items that one may have."""
        self._add("imagetrust_batch_fill_ratio", items / self._batch_size)

    def count(self, headers: Mapping[str, str], answer: Answer, measured: Measured, begun: float) -> None:
        """Count one request, and log it.

        headers: of HTTP, by their names in small letters. begun: when the worker got it, in seconds since 1970.
        """
        name = request_id(headers)
        seconds = measured.seconds
        if (waited := _waited(headers, begun)) is not None:
            seconds = {"queue": waited} | seconds
        status, code = (answer.status, answer.code) if isinstance(answer, AnswerError) else (200, _ANSWERED)
        self._log(name, status, code, seconds)
        if name == SELF_TEST:
            return
        self._add("imagetrust_requests_total", 1, code)
        for stage, spent in seconds.items():
            self._add("imagetrust_stage_seconds", round(spent, 6), stage)
        if "inference" in seconds:
            self._add("imagetrust_scored_total", 1, *self._engine)
            self._add("imagetrust_views_total", measured.views)
        if measured.recomputed:
            self._add("imagetrust_recomputed_total", 1)
        if measured.size:
            self._count_bin("megapixels", measured.size[0] * measured.size[1] / 1e6)
        if isinstance(answer, AnswerError):
            return
        parts = answer.get("inferred", {"": answer}).values()
        for part in parts:
            if "verdict" in part:
                self._add("imagetrust_verdicts_total", 1, part["verdict"])
                self._count_bin("probability", part["probability_generated"])
            elif "family" in part:
                self._add("imagetrust_families_total", 1, part["family"])

    def _log(self, name: str, status: int, code: str, seconds: Mapping[str, float]) -> None:
        """Write a line of JSON, which server/log4j2.xml sends to a log of its own: no picture, place or token."""
        model, version = self._labels
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "id": name,
            "model": model,
            "version": version,
            "status": status,
            "code": code,
            "seconds": {stage: round(spent, 4) for stage, spent in seconds.items()},
        }
        logger.info("%s", json.dumps(line, separators=(",", ":")))

    def _count_bin(self, distribution: str, value: float) -> None:
        edge = EDGES[distribution][bin_of(distribution, value)]
        self._add("imagetrust_distribution_total", 1, distribution, _edge(edge))

    def _add(self, name: str, value: float, *labels: str) -> None:
        if name in self._metrics:
            self._metrics[name].add_or_update(value, [*self._labels, *labels])


def request_id(headers: Mapping[str, str]) -> str:
    """Return what the gate called a request, or "-" for one that came past it without a well-formed name."""
    name = headers.get("x-request-id", "")
    return name if _REQUEST_ID.fullmatch(name) else "-"


def _waited(headers: Mapping[str, str], begun: float) -> float | None:
    """Return the seconds from when the gate handed a request on until a worker began with it.

    None where it came past the gate, over gRPC, or with a time that cannot be.
    """
    try:
        waited = begun - float(headers["x-request-start"])
    except (KeyError, ValueError):
        return None
    return max(waited, 0.0) if -1 < waited < _LONGEST_WAIT else None


def _edge(edge: float) -> str:
    return f"{edge:g}"
