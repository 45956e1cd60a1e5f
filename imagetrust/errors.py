"""What a caller is told instead of an answer."""


class AnswerError(Exception):
    """One image gets no answer.

    status: of HTTP. code: a short constant that programs can test for. message: one sentence for a person.
    details: further members of the JSON error, such as a limit's value.
    """

    status = 500

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def as_json(self) -> dict[str, object]:
        """Return the body of the error answer."""
        return {"error": {"code": self.code, "message": self.message, **self.details}}


class RequestError(AnswerError):
    """The request is at fault: the message says what is wrong and which limit or format applies."""

    status = 400


class PredictionError(AnswerError):
    """The server is at fault; its log says why."""

    def __init__(self) -> None:
        super().__init__("internal", "The server failed on this picture; its log says why.")
