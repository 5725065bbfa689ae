# SPDX-License-Identifier: Apache-2.0
"""Atrous spatial pyramid pooling: context at several ranges on the encoder's last map."""

import torch
from torch import Tensor, nn

from monodvps_ros.network.blocks import conv_norm, separable

#: Dilations by output stride; both look equally far in the image.
RATES = {16: (6, 12, 18), 32: (3, 6, 9)}
DROPOUT = 0.1


class ASPP(nn.Module):
    """A 1x1 convolution, three dilated 3x3 ones and a global mean, side by side, then joined by a 1x1 convolution.

    The global mean's convolution has a bias and no batch normalisation: after pooling a batch of one has a single
    value per channel, of which no statistics can be taken (as in detectron2). Dropout is 0.1 (detectron2).

    Source: Chen et al. 2017 (DeepLabv3), section 3.3; the dilated convolutions may be depthwise-separable as in
    Chen et al. 2018 (DeepLabv3+), section 3.2, which the small encoders with their wide last maps need.
    """

    def __init__(self, in_channels: int, channels: int, output_stride: int, use_separable: bool = False) -> None:
        """Build the branches; `output_stride`, 16 or 32, decides the dilations."""
        super().__init__()
        dilated = separable if use_separable else conv_norm
        self.branches = nn.ModuleList(
            [conv_norm(in_channels, channels, 1)]
            + [dilated(in_channels, channels, 3, dilation=rate) for rate in RATES[output_stride]]
        )
        self.pooled = nn.Sequential(nn.Conv2d(in_channels, channels, 1), nn.ReLU(inplace=True))
        self.join = conv_norm((len(self.branches) + 1) * channels, channels, 1)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, maps: Tensor) -> Tensor:
        """Gather context: (B, in_channels, h, w) to (B, channels, h, w)."""
        mean = self.pooled(maps.mean((2, 3), keepdim=True)).expand(-1, -1, *maps.shape[2:])
        joined: Tensor = self.dropout(self.join(torch.cat([*(branch(maps) for branch in self.branches), mean], 1)))
        return joined
