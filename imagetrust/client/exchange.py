"""One call from the picture to the typed answer, without any input or output: what both clients share."""

import email.utils
import random
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import msgspec

from imagetrust.client.errors import BusyError, ClientError, PictureError, TokenError, UnreachableError
from imagetrust.limits import MAX_BYTES

Picture = bytes | bytearray | memoryview | str | PathLike[str] | BinaryIO
T = TypeVar("T")

MAX_ANSWER = 16 * 1024 * 1024  # bytes; the longest explanation takes less than 1 MiB
_FIRST_WAIT, _LONGEST_WAIT = 0.25, 8.0  # seconds, of the exponential back-off
_AGAIN = {429, 503, 507}  # docs/api.md: wait and send again

_CONTENT_TYPES = (
    (re.compile(rb"\xff\xd8\xff"), "image/jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "image/png"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "image/webp"),
    (re.compile(rb"....ftyp(?:avif|avis)", re.DOTALL), "image/avif"),
    (re.compile(rb"....ftyp(?:hei[cxms]|hev[cxms])", re.DOTALL), "image/heic"),
    (re.compile(rb"....ftyp(?:mif1|msf1)", re.DOTALL), "image/heif"),
    (re.compile(rb"II[*+]\0|MM\0[*+]"), "image/tiff"),
    (re.compile(rb"GIF8[79]a"), "image/gif"),
    (re.compile(rb"BM"), "image/bmp"),
)

# docs/api.md, "Errors": what is wrong with the picture itself.
_PICTURE_CODES = {
    "empty_body", "unknown_format", "unsupported_format", "broken_picture", "too_small", "too_many_pixels",
    "too_many_bytes", "several_pictures", "no_picture", "no_image_field", "invalid_base64", "invalid_json",
}  # fmt: skip
# What TorchServe calls it where no gate stands before it, and the code that the gate would give.
_OF_TORCHSERVE = {
    "InvalidKeyException": "unauthorized",
    "ModelNotFoundException": "unknown_model",
    "ModelVersionNotFoundException": "unknown_model",
    "ResourceNotFoundException": "no_route",
    "MethodNotAllowedException": "method_not_allowed",
    "ServiceUnavailableException": "busy",
}
_BY_STATUS = {
    401: "unauthorized", 404: "no_route", 413: "too_many_bytes", 429: "too_many_requests", 500: "internal",
    503: "busy", 507: "unavailable",
}  # fmt: skip


@dataclass(frozen=True)
class Reply:
    """What a server sent back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Body(msgspec.Struct):
    """An error's body: ours under `error`, TorchServe's beside it."""

    error: dict[str, object] = {}
    type: str = ""
    message: str = ""


@dataclass
class Call(Generic[T]):
    """One call: what is sent, how often it may be sent again, and until when.

    timeout: seconds from now until the answer is there, waits included. retries: how often it is sent again.
    """

    method: str
    path: str
    answer_type: type[T]
    timeout: float
    retries: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        self._deadline = time.monotonic() + self.timeout
        self._repeated = 0

    @property
    def remaining(self) -> float:
        """Seconds until the deadline. Raises UnreachableError where none are left."""
        self.check_time()
        return self._deadline - time.monotonic()

    def check_time(self) -> None:
        """Raise UnreachableError where the deadline has passed."""
        if time.monotonic() >= self._deadline:
            raise self.timed_out()

    def timed_out(self) -> UnreachableError:
        """Return the error of a call whose time is over."""
        return self.no_answer("timed_out", f"There was no answer within {self.timeout:g} s.")

    def no_answer(self, code: str, message: str) -> UnreachableError:
        """Return the error of a call that no server answered."""
        return UnreachableError(code, message, request_id=self.request_id)

    def take(self, chunk: bytes, body: bytearray) -> None:
        """Add what has arrived to the reply's body. Raises ClientError where time or space are over."""
        self.check_time()
        body += chunk
        if len(body) > MAX_ANSWER:
            raise self._unreadable("it is too long")

    def wait(self, outcome: "Reply | UnreachableError") -> float | None:
        """Return the seconds after which to send again, None where the outcome is an answer.

        Raises ClientError where it is neither an answer nor a reason to send again.
        """
        if isinstance(outcome, Reply) and 200 <= outcome.status < 300:
            return None
        error = self._error(outcome) if isinstance(outcome, Reply) else outcome
        jitter = random.uniform(0, min(_FIRST_WAIT * 2**self._repeated, _LONGEST_WAIT))
        wait = jitter + (error.retry_after or 0)
        may_change = error.status in _AGAIN or error.code in ("connection_lost", "unreachable")
        if not may_change or self._repeated >= self.retries or time.monotonic() + wait >= self._deadline:
            raise error
        self._repeated += 1
        return wait

    def answer(self, outcome: "Reply | UnreachableError") -> T:
        """Return the answer that an outcome holds. Raises ClientError where it cannot be read."""
        assert isinstance(outcome, Reply)
        try:
            return msgspec.json.decode(outcome.body, type=self.answer_type)
        except (msgspec.DecodeError, RecursionError) as error:
            raise self._unreadable(str(error)) from error

    def _unreadable(self, why: str) -> ClientError:
        message = f"The server's answer cannot be read: {why}."
        return ClientError("unreadable_answer", message, request_id=self.request_id)

    def _error(self, reply: Reply) -> ClientError:
        """Return what a reply that is no answer says, in the gate's words whoever said it."""
        try:
            body = msgspec.json.decode(reply.body, type=_Body)
        except (msgspec.DecodeError, RecursionError):
            body = _Body()
        code = str(body.error.get("code") or _OF_TORCHSERVE.get(body.type) or _BY_STATUS.get(reply.status, "unknown"))
        message = str(body.error.get("message") or body.message or f"The server answered with status {reply.status}.")
        if reply.status in _AGAIN:
            kind: type[ClientError] = BusyError
        elif code == "unauthorized":
            kind = TokenError
        else:
            kind = PictureError if code in _PICTURE_CODES else ClientError
        retry_after = _seconds(reply.headers.get("retry-after"))
        return kind(code, message, status=reply.status, request_id=self.request_id, retry_after=retry_after)


def read_picture(picture: Picture, limit: int = MAX_BYTES) -> bytes:
    """Return a picture's bytes from a path, an open binary file, or themselves.

    Raises PictureError where they are more than `limit`, of which no more is read, and OSError where a file cannot be.
    """
    if isinstance(picture, str | PathLike):
        with Path(picture).open("rb") as file:
            data = file.read(limit + 1)
    elif isinstance(picture, bytes | bytearray | memoryview):
        data = bytes(picture[: limit + 1])
    else:
        data = picture.read(limit + 1)
    if len(data) > limit:
        raise PictureError("too_many_bytes", f"The picture exceeds the limit of {limit} bytes; it was not sent.")
    return data


def content_type(picture: bytes) -> str:
    """Return the content type that a picture's first bytes name, or that of any bytes."""
    return next((name for magic, name in _CONTENT_TYPES if magic.match(picture)), "application/octet-stream")


def _seconds(retry_after: str | None) -> float | None:
    """Read Retry-After: a number of seconds or a date (RFC 9110, 10.2.3)."""
    if retry_after is None:
        return None
    if re.fullmatch(r"\s*[0-9]+\s*", retry_after):
        return float(retry_after)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None
