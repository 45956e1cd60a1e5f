"""The two clients: one waits, one is for asyncio. What they say and understand is in exchange.py."""

import asyncio
import contextlib
import ipaddress
import ssl
import time
from collections.abc import Callable, Iterator
from os import PathLike
from typing import Any, Generic, Self, TypedDict, TypeVar, Unpack
from urllib.parse import urlsplit

import httpx2
import msgspec

from imagetrust.client.answers import Authenticity, Explanation, GeneratorType, Verdicts
from imagetrust.client.errors import ClientError, UnreachableError
from imagetrust.client.exchange import Call, Picture, Reply, content_type, read_picture
from imagetrust.limits import MAX_BYTES

T = TypeVar("T")
Http = TypeVar("Http", httpx2.Client, httpx2.AsyncClient)
ADDRESS = "http://127.0.0.1:8080"
_PIECE = 64 * 1024  # bytes
_IDLE = 60  # seconds that a connection is kept without a request; the gate keeps it for 75


class ExplanationOptions(TypedDict, total=False):
    """docs/explanations.md has their values. `class_` is the option `class`."""

    class_: str
    method: str
    place: str


class _BothVerdicts(msgspec.Struct):
    inferred: Verdicts


class _Status(msgspec.Struct):
    status: str


class _Base(Generic[Http]):
    """What both clients are told, and how they say it.

    address: of the gate, or of TorchServe itself. token: of the caller, or a function that returns the one of the
    moment. timeout: seconds from a call's beginning to its answer, repetitions and waits included. retries: how often
    a call is repeated while the server is busy or cannot be reached. certificates: a PEM file of the authorities to
    trust in place of the system's. max_bytes: of a picture; a larger one is not sent.
    Raises ValueError for an address that is none.
    """

    _http_type: type[Http]

    def __init__(
        self,
        address: str = ADDRESS,
        *,
        token: str | Callable[[], str] | None = None,
        timeout: float = 60,
        retries: int = 3,
        certificates: str | PathLike[str] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(f"{address!r} is not an address such as {ADDRESS}")
        self.address = address.rstrip("/")
        self._token, self._timeout, self._retries, self._max_bytes = token, timeout, retries, max_bytes
        self._http: Http = self._http_type(
            # Without https no authority is needed, and reading the system's takes time.
            verify=ssl.create_default_context(cafile=certificates)
            if parts.scheme == "https"
            else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            # A proxy would look for a server on this machine on its own.
            trust_env=not _is_this_machine(parts.hostname),
            limits=httpx2.Limits(max_connections=None, keepalive_expiry=_IDLE),
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "imagetrust-client"},
        )

    def _about(self, picture: Picture, endpoint: str, answer_type: type[T], **options: str) -> Call[T]:
        body = read_picture(picture, self._max_bytes)
        headers = {f"ImageTrust-{name.rstrip('_')}": value for name, value in options.items()}
        headers["Content-Type"] = content_type(body)
        return Call("POST", f"/predictions/{endpoint}", answer_type, self._timeout, self._retries, body, headers)

    def _get(self, path: str) -> Call[_Status]:
        return Call("GET", path, _Status, self._timeout, retries=0)

    def _request(self, call: Call[Any]) -> httpx2.Request:
        token = self._token() if callable(self._token) else self._token
        headers = {**call.headers, "X-Request-Id": call.request_id}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if call.method == "POST":
            headers["Content-Length"] = str(len(call.body))
        content = self._content(call) if call.method == "POST" else None
        url = self.address + call.path
        return self._http.build_request(call.method, url, headers=headers, content=content, timeout=call.remaining)

    def _content(self, call: Call[Any]) -> bytes | Iterator[bytes]:
        return call.body


class Client(_Base[httpx2.Client]):
    """Asks a server about pictures and waits for each answer. Threads may share it.

    Each question raises ClientError where it gets no answer, and OSError where the picture's file cannot be read.
    """

    _http_type = httpx2.Client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def authenticity(self, picture: Picture) -> Authenticity:
        """Ask whether people and cameras made a picture or a machine did."""
        return self._ask(self._about(picture, "authenticity", Authenticity))

    def generator_type(self, picture: Picture) -> GeneratorType:
        """Ask which family of generator made a picture, if any did."""
        return self._ask(self._about(picture, "generator_type", GeneratorType))

    def verdicts(self, picture: Picture) -> Verdicts:
        """Ask both questions in one request."""
        return self._ask(self._about(picture, "explanation", _BothVerdicts, detail="verdicts")).inferred

    def explanation(self, picture: Picture, **options: Unpack[ExplanationOptions]) -> Explanation:
        """Ask both questions, where the evidence lies, and what the file declares."""
        return self._ask(self._about(picture, "explanation", Explanation, **options))

    def ready(self) -> bool:
        """Return whether every model has a worker that is ready. Raises ClientError where nobody says."""
        try:
            return self._ask(self._get("/health/ready")).status == "ready"
        except ClientError as error:
            if not _is_torchserve(error):
                return _is_ready(error)
        try:
            return self._ask(self._get("/ping")).status == "Healthy"
        except ClientError as error:
            return _is_ready(error)

    def _ask(self, call: Call[T]) -> T:
        while (wait := call.wait(outcome := self._send(call))) is not None:
            time.sleep(wait)
        return call.answer(outcome)

    def _content(self, call: Call[Any]) -> Iterator[bytes]:
        """Return the body in pieces: a server that reads them slowly does not hold the caller beyond the deadline."""
        for start in range(0, len(call.body), _PIECE):
            call.check_time()
            yield call.body[start : start + _PIECE]

    def _send(self, call: Call[Any]) -> Reply | UnreachableError:
        try:
            with contextlib.closing(self._http.send(self._request(call), stream=True)) as reply:
                body = bytearray()
                for chunk in reply.iter_raw():
                    call.take(chunk, body)
                return Reply(reply.status_code, reply.headers, bytes(body))
        except httpx2.TransportError as error:
            return _failure(call, error)


class AsyncClient(_Base[httpx2.AsyncClient]):
    """`Client` for asyncio: the same questions, awaited."""

    _http_type = httpx2.AsyncClient

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def authenticity(self, picture: Picture) -> Authenticity:
        """Ask whether people and cameras made a picture or a machine did."""
        return await self._ask(await self._read(picture, "authenticity", Authenticity))

    async def generator_type(self, picture: Picture) -> GeneratorType:
        """Ask which family of generator made a picture, if any did."""
        return await self._ask(await self._read(picture, "generator_type", GeneratorType))

    async def verdicts(self, picture: Picture) -> Verdicts:
        """Ask both questions in one request."""
        return (await self._ask(await self._read(picture, "explanation", _BothVerdicts, detail="verdicts"))).inferred

    async def explanation(self, picture: Picture, **options: Unpack[ExplanationOptions]) -> Explanation:
        """Ask both questions, where the evidence lies, and what the file declares."""
        return await self._ask(await self._read(picture, "explanation", Explanation, **options))

    async def ready(self) -> bool:
        """Return whether every model has a worker that is ready. Raises ClientError where nobody says."""
        try:
            return (await self._ask(self._get("/health/ready"))).status == "ready"
        except ClientError as error:
            if not _is_torchserve(error):
                return _is_ready(error)
        try:
            return (await self._ask(self._get("/ping"))).status == "Healthy"
        except ClientError as error:
            return _is_ready(error)

    async def _read(self, picture: Picture, endpoint: str, answer_type: type[T], **options: str) -> Call[T]:
        return await asyncio.to_thread(lambda: self._about(picture, endpoint, answer_type, **options))

    async def _ask(self, call: Call[T]) -> T:
        while (wait := call.wait(outcome := await self._send(call))) is not None:
            await asyncio.sleep(wait)
        return call.answer(outcome)

    async def _send(self, call: Call[Any]) -> Reply | UnreachableError:
        try:
            async with asyncio.timeout(call.remaining):
                async with contextlib.aclosing(await self._http.send(self._request(call), stream=True)) as reply:
                    body = bytearray()
                    async for chunk in reply.aiter_raw():
                        call.take(chunk, body)
                    return Reply(reply.status_code, reply.headers, bytes(body))
        except TimeoutError:
            return call.timed_out()
        except httpx2.TransportError as error:
            return _failure(call, error)


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _is_torchserve(error: ClientError) -> bool:
    """Whether what asked for the gate's health is TorchServe itself, which has none at that path."""
    return error.code == "no_route"


def _is_ready(error: ClientError) -> bool:
    if error.status not in (500, 503):
        raise error
    return False


def _failure(call: Call[Any], error: httpx2.TransportError) -> UnreachableError:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return call.no_answer("untrusted_certificate", f"The server's certificate is not trusted: {error}.")
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return call.no_answer("unreachable", f"No server answers at this address: {error}.")
    if isinstance(error, httpx2.TimeoutException):
        return call.timed_out()
    return call.no_answer("connection_lost", f"The connection broke before the answer was there: {error}.")
