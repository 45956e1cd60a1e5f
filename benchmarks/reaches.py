"""What the service is to reach: the cost of another way of answering, over ours."""

from dataclasses import dataclass

from benchmarks.figures import Summary, ratios, summarise
from benchmarks.peers import in_process, lit, ours, plain_fastapi, stock


@dataclass(frozen=True)
class Reach:
    """CPU milliseconds of `others` over those of `measured`, for pictures of one size, is to be at least `target`.

    others: where there are several, the cheapest counts.
    """

    name: str
    size: str
    measured: str
    others: tuple[str, ...]
    target: float


REACHES = (
    Reach("in-process limit / ours", "1024x768", ours.REST, (in_process.SINGLE, in_process.BATCHED), 0.90),
    Reach("stock TorchServe handler / ours", "1024x768", ours.REST, (stock.NAME,), 4.0),
    Reach("FastAPI / ours", "1024x768", ours.REST, (plain_fastapi.NAME,), 4.0),
    Reach("LitServe with our backend / ours", "1024x768", ours.REST, (lit.BATCHED, lit.SINGLE), 1.05),
    Reach("stock TorchServe handler / ours, 12 MP", "4000x3000", ours.REST, (stock.NAME,), 6.0),
    Reach("two requests / one, both questions", "1024x768", ours.TOGETHER, (ours.SEPARATE,), 1.7),
)


def reached(reach: Reach, costs: dict[str, dict[str, list[float]]]) -> Summary | None:
    """The ratio over the blocks, or None where the run did not measure it.

    costs: size -> contender -> CPU milliseconds a request, a value for each block.
    """
    measured = costs.get(reach.size, {})
    if reach.measured not in measured or not all(name in measured for name in reach.others):
        return None
    cheapest = min(reach.others, key=lambda name: summarise(measured[name]).median)
    return ratios(measured[cheapest], measured[reach.measured])
