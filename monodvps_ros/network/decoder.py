# SPDX-License-Identifier: Apache-2.0
"""The Panoptic-DeepLab decoder: context, then stages that bring back detail at strides 8 and 4, and 2 if wanted."""

import torch
from torch import Tensor, nn

from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.network.blocks import conv_norm, separable

#: Dilations by output stride; both look equally far in the image.
RATES = {16: (6, 12, 18), 32: (3, 6, 9)}
DROPOUT = 0.1
#: Channels to which the encoder's maps at strides 8, 4 and 2 are projected: Panoptic-DeepLab's, halved once more.
SEMANTIC_SKIPS = (64, 32, 16)
INSTANCE_SKIPS = (32, 16, 8)
#: Stride of the finest map that a decoder can end with.
_FINEST_STRIDE = 2


class ASPP(nn.Module):
    """A 1x1 convolution, three dilated 3x3 ones and a global mean, side by side, then joined by a 1x1 convolution.

    The global mean's convolution has a bias and no batch normalisation: after pooling a batch of one has a single
    value per channel, of which no statistics can be taken (as in detectron2). Dropout is 0.1 (detectron2).

    Source: Chen et al. 2017 (DeepLabv3), section 3.3; the dilated convolutions may be depthwise-separable as in
    Chen et al. 2018 (DeepLabv3+), section 3.2, which the small encoders with their wide last maps need.

    Args:
        output_stride: 16 or 32; determines the dilation rates.
    """

    def __init__(self, in_channels: int, channels: int, output_stride: int, use_separable: bool = False) -> None:
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


class DecoderStage(nn.Module):
    """Enlarge, join with the projected encoder map, and mix by one 5x5 depthwise-separable convolution.

    Source: Cheng et al. 2020 (Panoptic-DeepLab), section 3.1 and figure 2.

    Args:
        projected: channels that the encoder's map of `skip_channels` is projected to.
    """

    def __init__(self, in_channels: int, skip_channels: int, projected: int, out_channels: int) -> None:
        super().__init__()
        self.project = conv_norm(skip_channels, projected, 1)
        self.mix = separable(in_channels + projected, out_channels, 5)

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        """Refine (B, in_channels, h, w) with (B, skip_channels, H, W), at least as large: (B, out_channels, H, W)."""
        size = (skip.shape[2], skip.shape[3])
        mixed: Tensor = self.mix(torch.cat([resize_bilinear(maps, size), self.project(skip)], 1))
        return mixed


class DetailStage(nn.Module):
    """A decoder stage at stride 2 on half of the channels, for heads that are to see thin and small things (ours).

    Panoptic-DeepLab ends at stride 4, of images 1024 pixels high. Of images 192 pixels high that loses what is smaller
    than a pole: with perfect scores at stride 4, enlarged bilinearly, the synthetic drives 'val' give a PQ of 61; at
    stride 2, of 78.

    Args:
        channels: channels of the input; the output has half of them.
        projected: channels that the encoder's map of `skip_channels` is projected to.
    """

    def __init__(self, channels: int, skip_channels: int, projected: int) -> None:
        super().__init__()
        self.reduce = conv_norm(channels, channels // 2, 1)
        self.stage = DecoderStage(channels // 2, skip_channels, projected, channels // 2)

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        """Refine (B, channels, h, w) with (B, skip_channels, H, W), at least as large: (B, channels // 2, H, W)."""
        refined: Tensor = self.stage(self.reduce(maps), skip)
        return refined


class Decoder(nn.Module):
    """One of the two decoders: ASPP and two stages, or three where heads work at stride 2.

    At output stride 16 as at 32 the first stage goes to stride 8 at once, as in the reference configurations.

    Attributes:
        channels: of the last map.

    Args:
        encoder_channels: of the maps at strides 2, 4, 8, 16 and the last one.
        output_stride: stride of the last one.
        aspp_channels: channels of the context map.
        channels: of the stages at strides 8 and 4.
        skips: channels that the maps at strides 8, 4 and 2 are projected to.
        separable_aspp: make the dilated convolutions depthwise-separable.
        stride: of the last map, 4 or 2.
    """

    def __init__(
        self,
        encoder_channels: tuple[int, ...],
        output_stride: int,
        *,
        aspp_channels: int,
        channels: int,
        skips: tuple[int, int, int],
        separable_aspp: bool,
        stride: int = 4,
    ) -> None:
        super().__init__()
        self.aspp = ASPP(encoder_channels[4], aspp_channels, output_stride, separable_aspp)
        self.stage8 = DecoderStage(aspp_channels, encoder_channels[2], skips[0], channels)
        self.stage4 = DecoderStage(channels, encoder_channels[1], skips[1], channels)
        self.stage2 = DetailStage(channels, encoder_channels[0], skips[2]) if stride == _FINEST_STRIDE else None
        self.channels = channels if self.stage2 is None else channels // 2

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Decode the encoder's maps to maps at the output stride, strides 8 and 4 and, where it was built so, 2."""
        context = self.aspp(features[4])
        stage8 = self.stage8(context, features[2])
        stage4 = self.stage4(stage8, features[1])
        maps = (context, stage8, stage4)
        return maps if self.stage2 is None else (*maps, self.stage2(stage4, features[0]))
