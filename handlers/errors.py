"""What a caller is told when the request is at fault."""


class RequestError(Exception):
    """A request that cannot be answered, through its own fault: status 400 for it alone.

    code: a short constant that programs can test for.
    message: one sentence for a person: what is wrong and which limit or format applies.
    details: further members of the JSON error, such as the limit's value.
    """

    def __init__(self, code: str, message: str, **details: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details

    def as_json(self) -> dict[str, object]:
        """The body of the error answer."""
        return {"error": {"code": self.code, "message": self.message, **self.details}}
