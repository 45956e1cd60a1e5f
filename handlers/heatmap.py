"""Where in a picture the evidence for a class lies: Grad-CAM, and how it is shown."""

import base64

import cv2
import numpy as np
import torch
from PIL import Image

from handlers.preprocessing import View

OVERLAY_SIDE = 512  # pixels of the longer side: enough to see the regions, small enough to send every time
_HEAT_SHARE = 0.45  # how much of the colour an overlay's hottest pixel takes from the heat map


def grad_cam(features: torch.Tensor, head: torch.nn.Linear, class_index: int) -> np.ndarray:
    """Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) of one picture's features, as (rows, columns) in 0..1.

    features: (channels, rows, columns), the input of the global average pooling before `head`.
    The gradient of a class's logit by each feature is then head.weight / (rows * columns) everywhere, so the map
    is relu(weights . features) and needs no backward pass. Scaled to 0..1 as the grad-cam package does; a map
    without positive evidence is all zero.
    """
    weights = head.weight[class_index].detach()
    heat = torch.einsum("c,crk->rk", weights, features).relu()
    heat = heat - heat.min()
    return (heat / (heat.max() + 1e-7)).cpu().numpy()


def thumbnail(image: Image.Image) -> Image.Image:
    """The picture at the size of its overlay, never enlarged."""
    scale = OVERLAY_SIDE / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))), reducing_gap=2.0)


def overlay_png(picture: Image.Image, heat: np.ndarray, view: View, full_size: tuple[int, int]) -> str:
    """A PNG in base64: the picture with the heat laid over the part that the network saw.

    picture: the thumbnail. view: in pixels of the full picture, whose (width, height) is full_size.
    """
    canvas = np.array(picture)[:, :, ::-1].copy()  # OpenCV works in BGR
    scale_x, scale_y = picture.width / full_size[0], picture.height / full_size[1]
    left, right = round(view.left * scale_x), max(round(view.right * scale_x), round(view.left * scale_x) + 1)
    top, bottom = round(view.top * scale_y), max(round(view.bottom * scale_y), round(view.top * scale_y) + 1)
    seen = canvas[top:bottom, left:right]
    smooth = cv2.resize(heat, (seen.shape[1], seen.shape[0]), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap((smooth * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    share = (_HEAT_SHARE * smooth)[:, :, None]
    canvas[top:bottom, left:right] = (seen * (1 - share) + colours * share).astype(np.uint8)
    encoded, png = cv2.imencode(".png", canvas)
    if not encoded:
        raise ValueError(f"OpenCV could not encode an overlay of shape {canvas.shape}")
    return base64.b64encode(png).decode("ascii")
