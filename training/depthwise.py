"""Depthwise convolutions whose gradients do not starve a processor.

oneDNN computes two gradients of bf16 depthwise convolutions 10 to 30 times slower than their cost in arithmetic: that
of the input under a stride of 2, and that of a 5 x 5 kernel. Both can be had from its fast paths: the first is a
convolution of the gradient spread with zeros, the second is put together from 3 x 3 tiles.
"""

import torch
from torch import nn
from torch.nn.functional import conv2d, pad

_backward = torch.ops.aten.convolution_backward


class _DepthwiseFunction(torch.autograd.Function):
    @staticmethod
    def forward(context, inputs, kernel, stride: int):
        context.save_for_backward(inputs, kernel)
        context.stride = stride
        return conv2d(inputs, kernel, stride=stride, groups=kernel.shape[0])

    @staticmethod
    def backward(context, gradient):
        inputs, kernel = context.saved_tensors
        stride = context.stride
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        for_inputs = _for_inputs(gradient, kernel, stride, inputs.shape) if context.needs_input_grad[0] else None
        for_kernel = _for_kernel(gradient, inputs, kernel, stride) if context.needs_input_grad[1] else None
        return for_inputs, for_kernel, None


def _for_inputs(gradient, kernel, stride: int, shape: torch.Size):
    size = kernel.shape[-1]
    if stride == 2:
        gradient = _spread(gradient)
    # The last rows and columns of an input may have been reached by no window.
    bottom, right = (shape[axis] - gradient.shape[axis] for axis in (2, 3))
    gradient = pad(gradient, (size - 1, right, size - 1, bottom))
    return conv2d(gradient, kernel.flip(2, 3), groups=kernel.shape[0])


def _spread(gradient):
    """(N, C, H, W) to (N, C, 2H, 2W), zeros in between: two paddings of the channels-last memory."""
    n, c, h, w = gradient.shape
    rows = pad(gradient.permute(0, 2, 3, 1).reshape(n, h, w, c), (0, c)).view(n, h, 2 * w * c)
    return pad(rows, (0, 2 * w * c)).view(n, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


def _for_kernel(gradient, inputs, kernel, stride: int):
    size, channels = kernel.shape[-1], kernel.shape[0]

    def tile(inputs, like):
        return _backward(
            gradient, inputs, like, None, [stride, stride], [0, 0], [1, 1], False, [0, 0], channels,
            [False, True, False],
        )[1]  # fmt: skip

    if size != 5:
        return tile(inputs, kernel)
    result = torch.empty_like(kernel)
    corner = kernel[:, :, :3, :3].contiguous()
    height, width = (stride * (side - 1) + 3 for side in gradient.shape[2:])
    for top in (0, 2):
        for left in (0, 2):
            part = inputs[:, :, top : top + height, left : left + width]
            result[:, :, top : top + 3, left : left + 3] = tile(
                part.contiguous(memory_format=torch.channels_last), corner
            )
    return result


class Depthwise(nn.Conv2d):
    """Drop-in for a depthwise nn.Conv2d without bias, 3 x 3 or 5 x 5, stride 1 or 2: same results, faster training."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if torch.is_autocast_enabled(inputs.device.type):
            dtype = torch.get_autocast_dtype(inputs.device.type)
            inputs, kernel = inputs.to(dtype), self.weight.to(dtype)
        else:
            kernel = self.weight
        top, left = self.padding
        if top or left:
            inputs = pad(inputs, (left, left, top, top))
        return _DepthwiseFunction.apply(inputs, kernel, self.stride[0])


def train_fast(network: nn.Module) -> None:
    """Turns a network's depthwise convolutions into `Depthwise`, in place; its weights and names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
            module.__class__ = Depthwise
