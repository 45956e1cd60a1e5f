"""Where a request's time goes: waiting in the queue, decoding, inference, the answer, Java and the socket.

The handler's own stages are timed in this process, around its functions and not in them. What the server adds is
counted on a running one, process by process.
"""

import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

from benchmarks.load import Load
from benchmarks.peers.backend import ENDPOINT, Backend
from benchmarks.peers.torchserve import TorchServeServer
from handlers import base


class Stopwatch:
    """Adds up the CPU seconds, of all threads, that functions take; what one calls of another counts there alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = 0.0

    def timed(self, stage: str, function: Callable) -> Callable:
        """The same function, its time added to the stage."""

        def measured(*arguments, **options):
            outer, self._inner = self._inner, 0.0
            start = time.process_time()
            try:
                return function(*arguments, **options)
            finally:
                took = time.process_time() - start
                self.seconds[stage] += took - self._inner
                self._inner = outer + took

        return measured


def handler_stages(backend: Backend, pictures: list[bytes], batch: int, rounds: int) -> dict[str, float]:
    """CPU milliseconds a picture of each stage of the handler, `rounds` batches of so many pictures long."""
    handler, watch = backend.handler, Stopwatch()
    batches = [[pictures[(start + item) % len(pictures)] for item in range(batch)] for start in range(rounds)]
    backend.answer(batches[0])
    with ExitStack() as patched:
        for owner, name, stage in (
            (base, "read_request", "request"),
            (base, "decode", "decode"),
            (handler, "prepare", "resize and normalise"),
            (handler, "infer", "inference"),
        ):
            patched.enter_context(mock.patch.object(owner, name, watch.timed(stage, getattr(owner, name))))
        answer = watch.timed("answer", backend.answer)  # what is left: logits to JSON
        for part in batches:
            answer(part)
    return {stage: 1000 * seconds / (batch * rounds) for stage, seconds in watch.seconds.items()}


def server_stages(server: TorchServeServer, paths: list[Path], requests: int, concurrency: int) -> dict[str, float]:
    """Milliseconds a request: CPU of Java and of the workers, and waiting in the queue for a worker."""

    def processor() -> tuple[float, float]:
        (java,) = server.roots()
        workers = java.children(recursive=True)
        return sum(java.cpu_times()[:2]), sum(sum(worker.cpu_times()[:2]) for worker in workers)

    def queue() -> tuple[float, float]:
        waited = server.counter("ts_queue_latency_microseconds", ENDPOINT)
        return waited, server.counter("ts_inference_requests_total", ENDPOINT)

    server.load(paths, requests, concurrency)
    (waited, answered), (java, workers) = queue(), processor()  # reading the metrics costs Java time: not in between
    load: Load = server.load(paths, requests, concurrency)
    (java_after, workers_after), (waited_after, answered_after) = processor(), queue()
    return {
        "queue": (waited_after - waited) / 1000 / (answered_after - answered),
        "java": 1000 * (java_after - java) / requests,
        "workers": 1000 * (workers_after - workers) / requests,
        "latency": 1000 * sum(load.latencies) / len(load.latencies),
    }


def profile(
    server: TorchServeServer, backend: Backend, paths: list[Path], concurrency: int, batch: int, requests: int
) -> dict[str, float]:
    """Milliseconds a request by stage at one concurrency, where a worker's batches have up to `batch` pictures.

    "queue" and "latency" are waiting; the others are processor time and "total" is their sum.
    """
    in_server = server_stages(server, paths, requests, concurrency)
    in_handler = handler_stages(backend, [path.read_bytes() for path in paths], batch, max(1, requests // batch))
    return {
        "latency": in_server["latency"],
        "queue": in_server["queue"],
        **in_handler,
        "worker: socket, codec": in_server["workers"] - sum(in_handler.values()),
        "Java": in_server["java"],
        "total": in_server["java"] + in_server["workers"],
    }
