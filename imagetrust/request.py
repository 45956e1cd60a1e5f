"""What is asked about one image."""

from collections.abc import Collection
from dataclasses import dataclass, field

from imagetrust.errors import RequestError


@dataclass(frozen=True)
class Request:
    """One request: an image's bytes, the options beside it, and whether the answer shall carry a heat map."""

    image: bytes
    options: dict[str, object] = field(default_factory=dict)
    heatmap: bool = False

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """Return the option `name`, or the default where it is not given.

        Raises RequestError where it is not one of those allowed.
        """
        value = self.options.get(name, default)
        if isinstance(value, (bytes, bytearray, memoryview)):
            value = bytes(value).decode("utf-8", errors="replace")
        if not isinstance(value, str) or value not in allowed:
            raise RequestError(
                "invalid_option", f"{name!r} must be one of {', '.join(allowed)}.", allowed=list(allowed)
            )
        return value
