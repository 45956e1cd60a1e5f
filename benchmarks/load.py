"""Sends requests over a fixed number of connections and notes how long each took."""

import http.client
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TIMEOUT = 120  # seconds, for one answer

Ask = Callable[[bytes], bytes]  # a picture's bytes to the answer's


class RequestFailed(Exception):
    """A server did not answer a picture with success; a cost measured on failures says nothing."""


@dataclass(frozen=True)
class Load:
    """What a client saw: seconds that each request took, seconds for all, and the first picture's answer."""

    latencies: list[float]
    seconds: float
    answer: bytes


class HttpConnection:
    """One kept-alive connection that posts pictures; `http.client`, because a client that computes takes cores."""

    def __init__(self, port: int, path: str, headers: dict[str, str], form_field: str | None = None) -> None:
        """form_field: the picture goes as this field of a form; without, as the body itself."""
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._path = path
        self._form_field = form_field
        content_type = "multipart/form-data; boundary=picture" if form_field else "application/octet-stream"
        self._headers = headers | {"Content-Type": content_type}

    def __call__(self, picture: bytes) -> bytes:
        """The answer's body. Raises RequestFailed where the status is not 200."""
        body = self._form(picture) if self._form_field else picture
        self._connection.request("POST", self._path, body, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RequestFailed(f"{self._path} answered {response.status}: {answer[:300]!r}")
        return answer

    def _form(self, picture: bytes) -> bytes:
        disposition = f'form-data; name="{self._form_field}"; filename="picture.jpg"'
        head = f"--picture\r\nContent-Disposition: {disposition}\r\nContent-Type: image/jpeg\r\n\r\n"
        return b"".join([head.encode(), picture, b"\r\n--picture--\r\n"])


def drive(connect: Callable[[], Ask], paths: list[Path], requests: int, concurrency: int) -> Load:
    """Sends the pictures in turn, `requests` in all, over `concurrency` connections that each wait for an answer.

    Raises what a connection raised first.
    """
    pictures = [path.read_bytes() for path in paths]
    turns = iter(range(requests))
    turn_lock = threading.Lock()
    latencies: list[float] = []
    answers: dict[int, bytes] = {}
    failures: list[BaseException] = []

    def client() -> None:
        try:
            ask = connect()
            while not failures:
                with turn_lock:
                    turn = next(turns, None)
                if turn is None:
                    return
                start = time.perf_counter()
                answer = ask(pictures[turn % len(pictures)])
                latencies.append(time.perf_counter() - start)
                if turn == 0:
                    answers[turn] = answer
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=client) for _ in range(min(concurrency, requests))]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - start
    if failures:
        raise failures[0]
    return Load(latencies, seconds, answers[0])


def spread_over(count: int, parts: int) -> list[int]:
    """`count` in `parts` whole numbers that differ by one at most: [3, 2, 2] for 7 in 3."""
    return [len(range(first, count, parts)) for first in range(parts)]
