"""CLIP's Vision Transformer B/16 (Dosovitskiy et al. 2020, arXiv 2010.11929; Radford et al. 2021, arXiv 2103.00020)."""

import functools
from typing import Any

import torch
from torch import nn

from imagetrust.models.backbone import Backbone, timm_model


class Tokens(nn.Module):
    """All but the last block: (N, 3, H, W) to the tokens (N, 1 + rows * columns, channels), [CLS] first."""

    def __init__(self, timm_name: str) -> None:
        super().__init__()
        vit: Any = timm_model(timm_name, dynamic_img_size=True)
        del vit.blocks[-1]
        vit.norm = nn.Identity()
        self.vit = vit

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens that enter the last block: after it, [CLS] no longer depends on any other."""
        tokens: torch.Tensor = self.vit.forward_features(images)
        return tokens


class LastBlock(nn.Module):
    """The last block and norm: tokens (N, T, channels) to the embedding (N, channels) of [CLS]."""

    def __init__(self, timm_name: str) -> None:
        super().__init__()
        vit: Any = timm_model(timm_name)
        self.block, self.norm = vit.blocks[-1], vit.norm

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the embedding."""
        embedding: torch.Tensor = self.norm(self.block(tokens)[:, 0])
        return embedding


BACKBONE = Backbone(
    name="vit_b16",
    features=functools.partial(Tokens, "vit_base_patch16_clip_quickgelu_224"),
    pool=functools.partial(LastBlock, "vit_base_patch16_clip_quickgelu_224"),
    layout="tokens",
    channels=768,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    input_size=224,
    stride=16,
    source="none yet: trained from scratch",
)
