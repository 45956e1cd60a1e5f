"""What a file declares of its own origin, read from its bytes and kept apart from what the pixels say."""

from handlers.declared.manifest_hosts import allowed_origins
from handlers.declared.reading import read_declarations
from handlers.declared.summary import summarise

__all__ = ["allowed_origins", "read_declarations", "summarise"]
