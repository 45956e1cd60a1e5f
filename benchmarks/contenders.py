"""All that is compared, in the order of the table."""

from benchmarks.peers import in_process, lit, ours, plain_fastapi, stock
from benchmarks.peers.base import Contender


def single_question() -> list[Contender]:
    """Everything that answers whether a picture is generated."""
    peers = (in_process, ours, stock, plain_fastapi, lit)
    return [contender for peer in peers for contender in peer.contenders()]
