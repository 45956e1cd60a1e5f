"""The predictor without a server, over the same bytes: the least that an answer can cost."""

import argparse
import json
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from benchmarks.client import Load
from benchmarks.servers.eager import TASK
from imagetrust.errors import AnswerError
from imagetrust.predictor import Predictor
from imagetrust.request import Request


def read_arguments() -> argparse.Namespace:
    """Return what a server around the predictor is started with: its serving folder, port, workers and batches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    for name in ("port", "workers", "batch-size"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--batch-delay", type=float, required=True, help="milliseconds")
    return parser.parse_args()


def load_predictor(folder: Path) -> Predictor:
    """Load the model in a serving folder, on the GPU where there is one, with one thread of the processor."""
    torch.set_num_threads(1)
    return Predictor(folder, torch.device("cuda", 0) if torch.cuda.is_available() else None)


def answer_batch(predictor: Predictor, images: Sequence[bytes]) -> list[bytes]:
    """Return the JSON answer to each image of a batch. Raises the AnswerError of one that has none."""
    answers = predictor.predict([Request(image) for image in images], TASK)
    for answer in answers:
        if isinstance(answer, AnswerError):
            raise answer
    return [json.dumps(answer, separators=(",", ":"), allow_nan=False).encode() for answer in answers]


def serve(connection: Connection, folder: Path) -> None:
    """Say that the model is loaded, then answer jobs until the job is None.

    A job is (images, requests, batch size): answer `requests` images, those given in turn. The reply is a Load, where
    an image's latency is that of its batch.
    """
    predictor = load_predictor(folder)
    connection.send("ready")
    while job := connection.recv():
        images, requests, batch = job
        latencies: list[float] = []
        first = b""
        begin = time.perf_counter()
        for start in range(0, requests, batch):
            part = [images[turn % len(images)] for turn in range(start, min(start + batch, requests))]
            start_time = time.perf_counter()
            answers = answer_batch(predictor, part)
            latencies += [time.perf_counter() - start_time] * len(part)
            first = first or answers[0]
        connection.send(Load(latencies, time.perf_counter() - begin, first))
