"""A backbone that is not the product's: what adding one takes. The tests that use it register it."""

import functools

from torch import nn

from imagetrust.models.backbone import Backbone
from imagetrust.models.vit import LaterBlocks, Tokens

_TIMM = "vit_tiny_patch16_224"
SMALL_VIT = Backbone(
    name="small_vit",
    features=functools.partial(Tokens, timm_name=_TIMM, depth=11, taps=(10,)),
    pool=functools.partial(LaterBlocks, 192, 3, 1, 1, nn.GELU, 1e-6),
    layout="tokens",
    channels=3 * 192,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    input_size=96,
    stride=16,
    source="none: random weights",
)
