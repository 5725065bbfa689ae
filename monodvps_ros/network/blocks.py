# SPDX-License-Identifier: Apache-2.0
"""The two convolution blocks that decoders and heads are made of, and the way maps are enlarged."""

from torch import nn


def conv_norm(in_channels: int, out_channels: int, kernel: int, dilation: int = 1, groups: int = 1) -> nn.Sequential:
    """Make a convolution without bias, a batch normalisation and a ReLU; the size stays, `kernel` is odd."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(in_channels, out_channels, kernel, 1, padding, dilation, groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def separable(in_channels: int, out_channels: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Make a depthwise-separable convolution: depthwise, then 1x1, each followed by normalisation and ReLU.

    Source: the decoder convolution of Panoptic-DeepLab (Cheng et al. 2020, section 3.1).
    """
    return nn.Sequential(
        conv_norm(in_channels, in_channels, kernel, dilation, groups=in_channels),
        conv_norm(in_channels, out_channels, 1),
    )
