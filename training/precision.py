"""Whether to compute in bf16."""

from contextlib import AbstractContextManager, nullcontext

import torch


def bf16_is_fast(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def autocast(device: torch.device, bf16: bool) -> AbstractContextManager:
    """A context in which networks compute in bf16, or one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16) if bf16 else nullcontext()
