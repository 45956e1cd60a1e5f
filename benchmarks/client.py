"""A closed-loop client: a fixed number of connections, each of which waits for its answer."""

import http.client
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

TIMEOUT = 120  # seconds, for one answer

Send = Callable[[bytes], bytes]  # an image's bytes to the answer's


class RequestFailed(Exception):
    """A server did not answer an image with success: a cost measured on failures says nothing."""


@dataclass(frozen=True)
class Load:
    """What a client measured: seconds of each request, seconds of all, and the first image's answer."""

    latencies: list[float]
    seconds: float
    answer: bytes


class HttpConnection:
    """One kept-alive connection that posts images; `http.client`, because a client that computes takes processor time.

    form_field: the image goes as this field of a form; None: as the body.
    """

    def __init__(self, port: int, path: str, headers: dict[str, str], form_field: str | None = None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        self._path = path
        self._form_field = form_field
        content_type = "multipart/form-data; boundary=image" if form_field else "application/octet-stream"
        self._headers = headers | {"Content-Type": content_type}

    def __call__(self, image: bytes) -> bytes:
        """Return the answer's body. Raises RequestFailed where the status is not 200."""
        body = image
        if self._form_field:
            disposition = f'form-data; name="{self._form_field}"; filename="image.jpg"'
            head = f"--image\r\nContent-Disposition: {disposition}\r\nContent-Type: image/jpeg\r\n\r\n"
            body = head.encode() + image + b"\r\n--image--\r\n"
        self._connection.request("POST", self._path, body, self._headers)
        response = self._connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RequestFailed(f"{self._path} answered {response.status}: {answer[:300]!r}")
        return answer


def closed_loop(connect: Callable[[], Send], images: Sequence[bytes], requests: int, concurrency: int) -> Load:
    """Send the images in turn, `requests` in all, over `concurrency` connections.

    Raises what a connection raised first.
    """
    turns = iter(range(requests))
    turn_lock = threading.Lock()
    latencies: list[float] = []
    answers: dict[int, bytes] = {}
    failures: list[BaseException] = []

    def client() -> None:
        try:
            send = connect()
            while not failures:
                with turn_lock:
                    turn = next(turns, None)
                if turn is None:
                    return
                start = time.perf_counter()
                answer = send(images[turn % len(images)])
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
