# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolution that trains fast on a CPU."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import conv2d

from monodvps_ros.network.convolutions import with_replaced_convolutions

#: Widest kernel for which oneDNN's weight gradient is fast: 8 ms for 5x3 and 77 ms for 5x5, where the convolution takes
#: 20 (96 channels of 96 x 320, batch 3, one core).
_WIDEST = 3


class DepthwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` with one filter per channel, an odd kernel, stride 1 and the size kept.

    On a CPU the weight gradient of a kernel of five columns is put together from those of narrower ones.

    Args:
        channels: of the input and of the output.
        kernel: odd size of the kernel.
        dilation: of the kernel.
    """

    def __init__(self, channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__(channels, channels, kernel, 1, dilation * (kernel // 2), dilation, channels, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve: (B, C, H, W) to the same shape."""
        trains = torch.is_grad_enabled() and self.weight.requires_grad and input.device.type == "cpu"
        if not trains or self.kernel_size[1] != _WIDEST + 2 or torch.is_autocast_enabled("cpu"):
            return super().forward(input)
        result: Tensor = _Convolution.apply(input, self.weight, self.dilation[0])
        return result


def with_fast_training(module: nn.Module) -> nn.Module:
    """Put `DepthwiseConv2d` in the place of all convolutions that it can stand for; the weights stay.

    Returns:
        The module, changed.
    """
    return with_replaced_convolutions(
        module,
        lambda child: (
            DepthwiseConv2d(child.in_channels, child.kernel_size[0], child.dilation[0]) if _is_like(child) else None
        ),
    )


def _is_like(other: nn.Conv2d) -> bool:
    (kernel, width), (dilation, _) = other.kernel_size, other.dilation
    return (
        other.groups == other.in_channels == other.out_channels
        and kernel == width
        and other.stride == (1, 1)
        and other.dilation == (dilation, dilation)
        and other.padding == (dilation * (kernel // 2),) * 2
        and other.bias is None
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.dilation = dilation
        return conv2d(maps, weight, None, 1, _padding(weight, dilation), dilation, len(weight))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        maps, weight = ctx.saved_tensors
        step = ctx.dilation
        of_maps = of_weight = None
        if ctx.needs_input_grad[0]:
            of_maps = conv2d(gradient, weight.flip(2, 3), None, 1, _padding(weight, step), step, len(weight))
        if ctx.needs_input_grad[1]:
            # Columns 0 and 1 from maps moved right by one step, 3 and 4 from maps moved left; what is cut off the maps
            # belongs to column 2.
            right, left = _moved_right(maps, step), _moved_right(maps, -step)
            parts = (
                _weight_gradient(right, weight[..., :3], gradient, step)[..., :2],
                _weight_gradient(maps, weight[..., 2:3], gradient, step),
                _weight_gradient(left, weight[..., 2:], gradient, step)[..., 1:],
            )
            of_weight = torch.cat(parts, dim=3)
        return of_maps, of_weight, None


def _padding(weight: Tensor, dilation: int) -> list[int]:
    return [dilation * (size // 2) for size in weight.shape[2:]]


def _moved_right(maps: Tensor, step: int) -> Tensor:
    """Move maps by columns, left where `step` is negative; zeros come in."""
    moved, step = torch.empty_like(maps), max(-maps.shape[3], min(step, maps.shape[3]))
    kept = maps.shape[3] - abs(step)
    moved.narrow(3, 0 if step > 0 else kept, abs(step)).zero_()
    moved.narrow(3, max(step, 0), kept).copy_(maps.narrow(3, max(-step, 0), kept))
    return moved


def _weight_gradient(maps: Tensor, weight: Tensor, gradient: Tensor, dilation: int) -> Tensor:
    around, steps = _padding(weight, dilation), [dilation, dilation]
    of_weight: Tensor = torch.ops.aten.convolution_backward(
        gradient, maps, weight, None, [1, 1], around, steps, False, [0, 0], len(weight), [False, True, False]
    )[1]
    return of_weight
