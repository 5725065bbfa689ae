# SPDX-License-Identifier: Apache-2.0
"""1x1 convolution that trains fast in one thread of a CPU."""

from torch import Tensor, nn
from torch.nn.functional import conv2d

from monodvps_ros.network.convolutions import with_replaced_convolutions


class PointwiseConv2d(nn.Conv2d):
    """`nn.Conv2d` of one pixel, stride 1, in one group.

    With one thread torch does not use oneDNN for these, unless they are dilated, which a kernel of one pixel does not
    notice. oneDNN takes half the time, and returns gradients in the layout of the maps.

    Args:
        channels: of the input and of the output.
        bias: add one.
    """

    def __init__(self, channels: tuple[int, int], bias: bool = True) -> None:
        super().__init__(*channels, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Convolve: (B, C, H, W) to (B, out_channels, H, W)."""
        return conv2d(input, self.weight, self.bias, dilation=2 if input.device.type == "cpu" else 1)


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
