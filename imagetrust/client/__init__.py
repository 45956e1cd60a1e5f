"""Asks a server about pictures from Python. Needs no model, and nothing that a model needs."""

from imagetrust.client.answers import Authenticity, Explanation, GeneratorType, Verdicts
from imagetrust.client.clients import AsyncClient, Client
from imagetrust.client.errors import BusyError, ClientError, PictureError, TokenError, UnreachableError

__all__ = [
    "AsyncClient", "Authenticity", "BusyError", "Client", "ClientError", "Explanation", "GeneratorType",
    "PictureError", "TokenError", "UnreachableError", "Verdicts",
]  # fmt: skip
