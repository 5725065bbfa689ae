# SPDX-License-Identifier: Apache-2.0
"""Heads of the panoptic decoders: class scores, instance centres, offsets to them."""

from torch import Tensor, nn

from monodvps_ros.network.blocks import separable

_FINAL_STD = 0.01


class Head(nn.Module):
    """A 5x5 depthwise-separable convolution, then a 1x1 convolution to the outputs.

    The last weights start normal with deviation 0.01 and bias 0 (deeplab2): scores begin near zero, and random
    features do not begin as confident centres.

    Source: Cheng et al. 2020 (Panoptic-DeepLab), section 3.1.
    """

    def __init__(self, in_channels: int, channels: int, outputs: int) -> None:
        """Build the head; `channels` stand between its two convolutions."""
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
    nn.init.normal_(final.weight, std=_FINAL_STD)
    nn.init.zeros_(final.bias)  # type: ignore[arg-type]
    return final
