"""Why a call has no answer. Each class is a case in which a caller acts otherwise."""


class ClientError(Exception):
    """A call has no answer.

    status: of HTTP, None where no server answered. code: a short constant, of docs/api.md or one of this module.
    message: one sentence for a person. request_id: what the server's logs call the request.
    retry_after: seconds that the server asks to wait, None where it asks for nothing.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.request_id = request_id
        self.retry_after = retry_after


class UnreachableError(ClientError):
    """No server answered: `unreachable`, `untrusted_certificate`, `connection_lost` or `timed_out`."""


class BusyError(ClientError):
    """The server is there and cannot answer now, not even when asked again: wait, then repeat the call."""


class TokenError(ClientError):
    """The token is missing, wrong or out of date: get another one."""


class PictureError(ClientError):
    """The picture gets no answer, now or later: another one may."""
