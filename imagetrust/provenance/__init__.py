"""What a file declares of its own origin, read from its bytes and kept apart from what the pixels say."""

from imagetrust.provenance.manifest_hosts import allowed_origins
from imagetrust.provenance.reading import read_declarations
from imagetrust.provenance.summary import summarise

__all__ = ["allowed_origins", "read_declarations", "summarise"]
