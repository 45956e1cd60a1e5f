"""From the bytes of images to answers: what handlers, tests, evaluation and benchmarks all call."""

import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from imagetrust.answers import ANSWERS
from imagetrust.errors import AnswerError, PredictionError, RequestError
from imagetrust.explain.cam import METHODS
from imagetrust.explain.heatmap import heatmap_answer
from imagetrust.explain.overlay import thumbnail
from imagetrust.images.decode import DecodedImage, decode
from imagetrust.images.views import View
from imagetrust.measured import Measured
from imagetrust.models.model import Model
from imagetrust.provenance import allowed_origins, read_declarations, summarise
from imagetrust.request import Request
from imagetrust.runtime.engine import Scores, choose_engine

logger = logging.getLogger(__name__)

# What can be asked, and the tasks that answer it. The first one's decision is what a heat map explains.
QUESTIONS = {
    "authenticity": ("authenticity",),
    "generator_type": ("generator_type",),
    "explanation": ("authenticity", "generator_type"),
}
# The options beside an image: all of them for an explanation, those of a heat map on TorchServe's own route.
OPTIONS = ("detail", "class", "method", "place")
HEATMAP_OPTIONS = ("class", "method")
PLACES = ("hidden", "shown")
DECIDED = "decided"  # the option `class`: the class that the first task decides for
# The option `detail` of an explanation: verdicts alone cost little more than one; "declared" is all but the heat map.
DETAILS = ("full", "declared", "verdicts")
TRUST_ANCHORS = "trust_anchors.pem"  # in the model's folder, where the operator names some

Answer = dict[str, Any] | AnswerError
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class HeatmapRequest:
    """What a heat map needs when an image's full-size pixels are gone."""

    class_name: str
    method: str
    small: Image.Image


@dataclass(frozen=True)
class PreparedImage:
    """What is kept of an image until its answer. pixels: (views, size, size, 3) uint8; size: (width, height)."""

    pixels: NDArray[np.uint8]
    views: list[View]
    size: tuple[int, int]
    heatmap: HeatmapRequest | None
    file: dict[str, Any] | None
    declared: dict[str, Any] | None


class Predictor:
    """Answers questions about images with the model in a folder, each image apart from its neighbours.

    device: of torch. threads: of the processor. precision: see imagetrust.runtime.engine.
    manifest_hosts: where Content Credentials that a file keeps elsewhere may be fetched from; none: no connection.
    Raises ValueError or FileNotFoundError for a model that cannot be served.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device | None = None,
        threads: int = 1,
        precision: str = "auto",
        manifest_hosts: Collection[str] = (),
    ) -> None:
        self.model = Model(folder, device)
        self.engine = choose_engine(self.model, threads, precision)
        self.preprocessing = self.model.config.preprocessing
        self.min_side = self.preprocessing.min_side()
        anchors = folder / TRUST_ANCHORS
        self._trust_anchors = anchors.read_text() if anchors.exists() else None
        self._manifest_hosts = allowed_origins(manifest_hosts)

    def predict(self, requests: Sequence[Request | AnswerError], question: str) -> list[Answer]:
        """Answer one of QUESTIONS for each request, in order; what goes wrong with one is the answer to that one.

        A request that is an error already stays one, so that a caller need not keep its place.
        """
        return [answer for answer, _ in self.predict_measured(requests, question)]

    def predict_measured(
        self, requests: Sequence[Request | AnswerError], question: str
    ) -> list[tuple[Answer, Measured]]:
        """`predict`, with what was measured of each request."""
        answers: dict[int, Answer] = {}
        prepared: dict[int, PreparedImage] = {}
        measured = [Measured() for _ in requests]
        for index, request in enumerate(requests):
            if isinstance(request, AnswerError):
                answers[index] = request
                continue
            outcome = _attempt(self._prepare, request, question, measured[index])
            if isinstance(outcome, AnswerError):
                answers[index] = outcome
            else:
                prepared[index] = outcome
        begin = time.perf_counter()
        scored = self._score([one.pixels for one in prepared.values()], QUESTIONS[question])
        seconds = time.perf_counter() - begin
        for (index, one), scores in zip(prepared.items(), scored, strict=True):
            measured[index].seconds["inference"] = seconds
            if isinstance(scores, AnswerError):
                answers[index] = scores
                continue
            measured[index].views, measured[index].recomputed = scores.views, scores.recomputed
            answers[index] = _attempt(self._answer, one, scores, question, measured[index])
        return [(answers[index], one) for index, one in enumerate(measured)]

    def _prepare(self, request: Request, question: str, measured: Measured) -> PreparedImage:
        options = self._options(request, question)
        detail = options.get("detail")
        wants_heatmap = detail == "full" if question == "explanation" else request.heatmap
        wants_file = detail in ("full", "declared")
        with measured.stage("decode"):
            decoded = decode(request.image, self.min_side)
        measured.size = decoded.size
        with measured.stage("preprocess"):
            pixels = self.preprocessing.pixels(decoded.image)
        declared = None
        if wants_file:
            with measured.stage("provenance"):
                declared = self._declared(request.image, decoded, options["place"] == "shown")
        return PreparedImage(
            pixels=pixels,
            views=self.preprocessing.views_of(*decoded.size),
            size=decoded.size,
            heatmap=HeatmapRequest(options["class"], options["method"], thumbnail(decoded.image))
            if wants_heatmap
            else None,
            declared=declared,
            file=decoded.facts() if wants_file else None,
        )

    def _options(self, request: Request, question: str) -> dict[str, str]:
        """Return the value of each option that the question has.

        Raises RequestError for one that it does not have and for another value.
        """
        offered = {
            "detail": (DETAILS, "full"),
            "class": ((DECIDED, *self._task_of_class(QUESTIONS[question])), DECIDED),
            "method": (METHODS, "centred-hirescam"),
            "place": (PLACES, "hidden"),
        }
        allowed = OPTIONS if question == "explanation" else HEATMAP_OPTIONS if request.heatmap else ()
        for name in request.options:
            if name not in allowed:
                those = f"those here are {', '.join(allowed)}" if allowed else "this endpoint has none"
                raise RequestError("invalid_option", f"{name[:40]!r} is no option: {those}.", allowed=list(allowed))
        return {name: request.choice(name, *offered[name]) for name in allowed}

    def _declared(self, data: bytes, decoded: DecodedImage, include_places: bool) -> dict[str, Any]:
        return read_declarations(
            data,
            decoded,
            include_places=include_places,
            trust_anchors=self._trust_anchors,
            manifest_hosts=self._manifest_hosts,
        )

    def _task_of_class(self, tasks: Collection[str]) -> Mapping[str, str]:
        """Which task explains a class; of one that several have, the first."""
        return {name: task for task in reversed(list(tasks)) for name in self.model.config.heads[task].classes}

    def _score(self, images: list[NDArray[np.uint8]], tasks: Collection[str]) -> Sequence[Scores | AnswerError]:
        """Score all images in one go, or each alone where that fails, so that one cannot harm its neighbours."""
        if not images:
            return []
        scores = _attempt(self.engine.score, images, tasks)
        if isinstance(scores, AnswerError):
            if len(images) == 1:
                return [scores]
            return [one for image in images for one in self._score([image], tasks)]
        return [one if _is_finite(one, tasks) else PredictionError() for one in scores]

    def _answer(self, prepared: PreparedImage, scores: Scores, question: str, measured: Measured) -> dict[str, Any]:
        tasks = QUESTIONS[question]
        inferred = {task: ANSWERS[task](self.model, scores.logits[task], self.engine.name) for task in tasks}
        heatmap = {}
        if prepared.heatmap:
            class_name = prepared.heatmap.class_name
            if class_name == DECIDED:
                class_name = self.model.config.heads[tasks[0]].classes[int(scores.logits[tasks[0]].argmax())]
            with measured.stage("explanation"):
                heatmap["heatmap"] = heatmap_answer(
                    self.model,
                    scores.features,
                    prepared.views[: scores.views],
                    self._task_of_class(tasks)[class_name],
                    class_name,
                    prepared.heatmap.method,
                    prepared.heatmap.small,
                    prepared.size,
                )
        if question != "explanation":
            return inferred[question] | heatmap
        if prepared.declared is None:
            return {"inferred": inferred}
        return {
            "summary": summarise(prepared.declared, inferred["authenticity"]["verdict"]),
            "inferred": inferred | heatmap,
            "declared": prepared.declared,
            "file": prepared.file,
        }


def _is_finite(scores: Scores, tasks: Collection[str]) -> bool:
    finite = all(bool(scores.logits[task].isfinite().all()) for task in tasks)
    if not finite:
        logger.error("the network gives values that are not finite")
    return finite


def _attempt(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | AnswerError:
    try:
        return call(*args, **kwargs)
    except AnswerError as error:
        return error
    except Exception:
        logger.exception("an image could not be answered")
        return PredictionError()
