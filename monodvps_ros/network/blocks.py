# SPDX-License-Identifier: Apache-2.0
"""What decoders are made of: two convolution blocks, and the heads for class scores, instance centres and offsets."""

from torch import Tensor, nn

from monodvps_ros.network.depthwise import DepthwiseConv2d


def conv_norm(in_channels: int, out_channels: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Make a convolution without bias, a batch normalisation and a ReLU; the size stays, `kernel` is odd."""
    padding = dilation * (kernel // 2)
    return _normalized(nn.Conv2d(in_channels, out_channels, kernel, 1, padding, dilation, bias=False))


def _normalized(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU(inplace=True))


def separable(in_channels: int, out_channels: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Make a depthwise-separable convolution: depthwise, then 1x1, each followed by normalisation and ReLU.

    Source: the decoder convolution of Panoptic-DeepLab (Cheng et al. 2020, section 3.1).
    """
    return nn.Sequential(
        _normalized(DepthwiseConv2d(in_channels, kernel, dilation)),
        conv_norm(in_channels, out_channels, 1),
    )


class Head(nn.Module):
    """A 5x5 depthwise-separable convolution, then a 1x1 convolution to the outputs.

    The last weights start normal with deviation 0.01 and bias 0 (deeplab2): scores begin near zero, and random
    features do not begin as confident centres.

    Source: Cheng et al. 2020 (Panoptic-DeepLab), section 3.1.

    Args:
        channels: channels between the two convolutions.
        outputs: channels of the output.
    """

    def __init__(self, in_channels: int, channels: int, outputs: int) -> None:
        super().__init__()
        self.mix = separable(in_channels, channels, 5)
        self.final = final_convolution(channels, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        """Predict: (B, in_channels, h, w) to (B, outputs, h, w)."""
        predicted: Tensor = self.final(self.mix(maps))
        return predicted


def final_convolution(channels: int, outputs: int) -> nn.Conv2d:
    """Make the last 1x1 convolution of a head, near zero."""
    final = nn.Conv2d(channels, outputs, 1)
    nn.init.normal_(final.weight, std=0.01)
    nn.init.zeros_(final.bias)  # type: ignore[arg-type]
    return final
