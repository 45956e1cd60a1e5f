"""What the load consists of: who sends, to which endpoint, and which pictures. All shares are of requests."""

from dataclasses import dataclass

BROKEN_SHARE = 0.02  # pictures whose file ends too early


@dataclass(frozen=True)
class Sender:
    """share: of ten requests, how many. endpoints: how a sender's requests spread, as weights."""

    share: int
    endpoints: dict[str, int]


UPLOAD_FEED = Sender(share=7, endpoints={"authenticity": 5, "generator_type": 2})
ANALYST = Sender(share=1, endpoints={"explanation": 1})
PARTNER_FEED = Sender(share=2, endpoints={"authenticity": 3, "generator_type": 1, "explanation": 1})

# For the scenario `even`, which leaves out all that makes requests differ.
METRONOME = Sender(share=10, endpoints={"authenticity": 1})

ENDPOINTS = ("authenticity", "generator_type", "explanation")


@dataclass(frozen=True)
class Kind:
    """Pictures of one size and format. share: of a hundred pictures, how many."""

    width: int
    height: int
    format: str
    share: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height} {self.format}"


TYPICAL = Kind(1024, 768, "JPEG", 45)  # latencies are compared on these: one kind costs the server the same each time
KINDS = (
    TYPICAL,
    Kind(640, 480, "JPEG", 25),
    Kind(1600, 1200, "JPEG", 10),
    Kind(1024, 768, "PNG", 9),
    Kind(1024, 768, "WEBP", 9),
    Kind(4000, 3000, "JPEG", 2),
)
