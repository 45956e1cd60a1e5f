"""The blocks that the project defines itself are timm's."""

import pytest
import torch
from torch import nn

from imagetrust.models.backbone import timm_model
from imagetrust.models.registry import backbone_of
from imagetrust.models.vit import LaterBlocks, QuickGELU
from tests.small_vit import SMALL_VIT


@pytest.mark.parametrize(
    ("timm_name", "channels", "heads", "activation", "epsilon"),
    [
        ("vit_base_patch16_clip_quickgelu_224", 768, 12, QuickGELU, 1e-5),
        ("vit_tiny_patch16_224", 192, 3, nn.GELU, 1e-6),
    ],
)
def test_a_block_is_timms(timm_name, channels, heads, activation, epsilon):
    torch.manual_seed(0)
    reference = timm_model(timm_name, depth=2).blocks.eval()
    own = LaterBlocks(channels, heads, 2, 1, activation, epsilon).eval()
    own.load_state_dict({f"blocks.{name}": tensor for name, tensor in reference.state_dict().items()})
    tokens = torch.randn(3, 51, channels)
    with torch.inference_mode():
        first = reference[0](tokens[:, 1:])
        expected = torch.cat([tokens[:, 0], tokens[:, 1], first[:, 0], reference[1](first)[:, 0]], dim=1)
        assert torch.allclose(own(tokens), expected, atol=1e-5)


@pytest.mark.parametrize("backbone", [backbone_of("clip_vit_b16"), SMALL_VIT], ids=["clip", "small"])
def test_the_embedding_is_as_wide_as_it_says(backbone):
    length = backbone.pool().taps + 1 + 4
    channels = backbone.pool().blocks[0].norm1.normalized_shape[0]
    assert backbone.pool()(torch.randn(1, length, channels)).shape == (1, backbone.channels)


def test_position_embeddings_are_interpolated_as_they_are_loaded():
    """As timm does it for each batch: the weights fit images of another size, and those of that size fit the first."""
    torch.manual_seed(0)
    larger = SMALL_VIT.build(96).eval()
    smaller = SMALL_VIT.build(64).eval()
    smaller.load_state_dict(larger.state_dict())
    assert smaller.features.vit.pos_embed.shape[1] == 1 + 4 * 4
    images = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.allclose(smaller(images)[1], larger(images)[1], atol=1e-5)
    larger.load_state_dict(smaller.state_dict())
    assert larger.features.vit.pos_embed.shape[1] == 1 + 6 * 6
