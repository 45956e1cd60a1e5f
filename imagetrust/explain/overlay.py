"""How a heat map is shown: the image, small, with the heat laid over the part that the network saw."""

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagetrust.images.views import View

OVERLAY_SIDE = 256  # pixels of the longer side: enough to see the regions, cheap enough to send every time
_COLOURS = 256  # of an overlay; banding shows only in smooth skies
_OPACITY = 0.45  # of the colour where an overlay is hottest


def thumbnail(image: Image.Image) -> Image.Image:
    """Return the image at the size of its overlay, never enlarged."""
    scale = OVERLAY_SIDE / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)


def overlay_png(heat: NDArray[np.float32], view: View, small: Image.Image, full_size: tuple[int, int]) -> str:
    """Return a PNG in base64: the thumbnail `small` of an image with the heat laid over a part of it.

    heat: (rows, columns) in 0..1. view: what it covers, in pixels of the image, whose (width, height) is full_size.
    """
    canvas = np.array(small)[:, :, ::-1].copy()  # OpenCV works in BGR
    scale_x, scale_y = small.width / full_size[0], small.height / full_size[1]
    left, right = round(view.left * scale_x), max(round(view.right * scale_x), round(view.left * scale_x) + 1)
    top, bottom = round(view.top * scale_y), max(round(view.bottom * scale_y), round(view.top * scale_y) + 1)
    seen = canvas[top:bottom, left:right]
    smooth = cv2.resize(heat, (seen.shape[1], seen.shape[0]), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    opacity = np.float32(_OPACITY) * smooth
    canvas[top:bottom, left:right] = cv2.blendLinear(np.ascontiguousarray(seen), colours, 1 - opacity, opacity)
    # A palette takes under half the time of true colour and a third of the bytes, which Java has to copy as well.
    palette = Image.fromarray(canvas[:, :, ::-1]).quantize(
        _COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    png = io.BytesIO()
    palette.save(png, "PNG", compress_level=1)
    return base64.b64encode(png.getvalue()).decode("ascii")
