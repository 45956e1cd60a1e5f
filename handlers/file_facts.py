"""The plain facts of a file. What it declares of its origin is read by imagetrust.provenance."""

from typing import Any

from handlers.decode import Picture


def file_facts(picture: Picture) -> dict[str, Any]:
    """Format, size in pixels as shown (upright), bytes, and Pillow's name of the colour mode as stored."""
    width, height = picture.size
    return {
        "format": picture.format,
        "width": width,
        "height": height,
        "bytes": picture.byte_count,
        "mode": picture.mode,
    }
