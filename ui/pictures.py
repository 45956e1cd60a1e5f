"""Pictures that a page shows: a smaller copy, a thumbnail, the heat map as a layer. None of them touches the disk."""

import base64
import io
import threading
from dataclasses import dataclass

import numpy as np
from PIL import Image

from imagetrust.client.answers import Heatmap
from imagetrust.errors import RequestError
from imagetrust.images.decode import decode

PREVIEW, THUMBNAIL = 1024, 96  # pixels on the longer side
_LAYER = 320  # pixels on the longer side of the heat map's layer; the browser enlarges it smoothly
# From little heat to much, on any photograph: the opacity grows with the heat, so that what is cold shows the picture.
_COLOURS = np.array([[255, 236, 140], [255, 176, 32], [240, 80, 20], [190, 10, 60]], np.float32)
_one_at_a_time = threading.Lock()  # a large picture takes hundreds of megabytes while it is decoded


@dataclass(frozen=True)
class Copies:
    """Smaller copies of a picture, as data URIs."""

    preview: str
    thumbnail: str


def copies(data: bytes) -> Copies | None:
    """Return upright copies of a picture, None where it cannot be decoded here."""
    with _one_at_a_time:
        try:
            picture = decode(data, min_side=PREVIEW).image
        except (RequestError, MemoryError):
            return None
        picture.thumbnail((PREVIEW, PREVIEW), Image.Resampling.LANCZOS, reducing_gap=2.0)
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return Copies(_jpeg(picture, 85), _jpeg(small, 80))


def heat_layer(heatmap: Heatmap) -> str:
    """Return the heat map as a transparent PNG over its view, as a data URI."""
    values = np.array(heatmap.values, np.float32)
    if values.max(initial=0.0) > 0:
        values = values / values.max()
    enlarge = _LAYER / max(values.shape)
    size = (max(1, round(values.shape[1] * enlarge)), max(1, round(values.shape[0] * enlarge)))
    heat = np.array(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)
    step = heat * (len(_COLOURS) - 1)
    below = np.minimum(step.astype(int), len(_COLOURS) - 2)
    part = (step - below)[..., None]
    colours = _COLOURS[below] * (1 - part) + _COLOURS[below + 1] * part
    # Squared: what is lukewarm would veil the picture.
    layer = np.dstack([colours, 255 * np.minimum(1, 1.6 * heat**1.5)]).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(layer, "RGBA").quantize(128).save(file, "PNG", optimize=True)
    return data_uri("image/png", file.getvalue())


def data_uri(content_type: str, content: bytes) -> str:
    """Return content as an address that needs no request."""
    return f"data:{content_type};base64,{base64.b64encode(content).decode()}"


def _jpeg(picture: Image.Image, quality: int) -> str:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, optimize=True)
    return data_uri("image/jpeg", file.getvalue())
