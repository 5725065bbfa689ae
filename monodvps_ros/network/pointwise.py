# SPDX-License-Identifier: Apache-2.0
"""1x1 convolution that trains fast in one thread of a CPU."""

import torch
from torch import Tensor, nn

from monodvps_ros.network.convolutions import with_replaced_convolutions


class PointwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` of one pixel, stride 1, in one group.

    With one thread torch does not use oneDNN for these; oneDNN takes half the time for the output and three quarters of
    it with the gradients (96 to 48 channels of 96 x 320, batch 3). Here oneDNN trains them with one thread too.

    Args:
        channels: of the input and of the output.
        bias: add one.
    """

    def __init__(self, channels: tuple[int, int], bias: bool = True) -> None:
        super().__init__(*channels, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve: (B, C, H, W) to (B, out_channels, H, W)."""
        trains = torch.is_grad_enabled() and input.device.type == "cpu" and input.dtype == torch.float32
        if (
            not trains
            or torch.get_num_threads() > 1
            or torch.is_autocast_enabled("cpu")
            or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        ):
            return super().forward(input)
        result: Tensor = torch.ops.aten.mkldnn_convolution(input, self.weight, self.bias, [0, 0], [1, 1], [1, 1], 1)
        return result


def with_fast_pointwise(module: nn.Module) -> nn.Module:
    """Put `PointwiseConv2d` in the place of all convolutions that it can stand for; the weights stay.

    Returns:
        The module, changed.
    """
    return with_replaced_convolutions(
        module,
        lambda child: (
            PointwiseConv2d((child.in_channels, child.out_channels), child.bias is not None)
            if _is_pointwise(child)
            else None
        ),
    )


def _is_pointwise(layer: nn.Conv2d) -> bool:
    has_one_pixel = layer.kernel_size == layer.stride == layer.dilation == (1, 1)
    return has_one_pixel and layer.padding == (0, 0) and layer.groups == 1
