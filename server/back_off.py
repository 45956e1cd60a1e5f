"""When to try again what failed."""

import time
from dataclasses import dataclass


@dataclass
class BackOff:
    """When the next try may be made: after 1, 2, 4 ... seconds, at most `longest`."""

    longest: float = 60
    shortest: float = 1
    _tries: int = 0
    _next: float = 0

    def due(self) -> bool:
        """Whether a try may be made now; the next one may be made later, if so."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + min(self.longest, self.shortest * 2**self._tries)
        self._tries += 1
        return True

    def reset(self) -> None:
        """Forget the tries: the last one was good."""
        self._tries, self._next = 0, 0
