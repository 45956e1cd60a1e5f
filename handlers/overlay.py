"""How a heat map is shown: the picture, small, with the heat laid over the part that the network saw."""

import base64
import io
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from handlers.decode import Picture
from handlers.preprocessing import View, central_view

OVERLAY_SIDE = 256  # pixels of the longer side: enough to see the regions, cheap enough to send every time
_COLOURS = 256  # of an overlay; banding shows only in smooth skies
_HEAT_SHARE = 0.45  # how much of the colour an overlay's hottest pixel takes from the heat map


@dataclass(frozen=True)
class Frame:
    """What showing a map needs of a picture, when its full-size pixels have been let go.

    view: the part that the network saw, in pixels of the full picture, whose (width, height) is full_size.
    """

    thumbnail: Image.Image
    view: View
    full_size: tuple[int, int]


def frame_of(picture: Picture, crop: float) -> Frame:
    """The frame of a picture whose network sees the central square of `crop` times the shorter side."""
    return Frame(thumbnail(picture.image), central_view(*picture.size, crop), picture.size)


def thumbnail(image: Image.Image) -> Image.Image:
    """The picture at the size of its overlay, never enlarged."""
    scale = OVERLAY_SIDE / max(image.size)
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)


def overlay_png(heat: np.ndarray, frame: Frame) -> str:
    """A PNG in base64: the thumbnail with the heat (rows, columns) in 0..1 laid over the view."""
    canvas = np.array(frame.thumbnail)[:, :, ::-1].copy()  # OpenCV works in BGR
    scale_x, scale_y = (small / full for small, full in zip(frame.thumbnail.size, frame.full_size, strict=True))
    view = frame.view
    left, right = round(view.left * scale_x), max(round(view.right * scale_x), round(view.left * scale_x) + 1)
    top, bottom = round(view.top * scale_y), max(round(view.bottom * scale_y), round(view.top * scale_y) + 1)
    seen = canvas[top:bottom, left:right]
    smooth = cv2.resize(heat, (seen.shape[1], seen.shape[0]), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    share = np.float32(_HEAT_SHARE) * smooth
    canvas[top:bottom, left:right] = cv2.blendLinear(np.ascontiguousarray(seen), colours, 1 - share, share)
    # A palette takes under half the time of true colour and a third of the bytes, which Java has to copy as well.
    palette = Image.fromarray(canvas[:, :, ::-1]).quantize(
        _COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
    )
    png = io.BytesIO()
    palette.save(png, "PNG", compress_level=1)
    return base64.b64encode(png.getvalue()).decode("ascii")
