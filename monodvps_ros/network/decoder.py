# SPDX-License-Identifier: Apache-2.0
"""The Panoptic-DeepLab decoder: context, then two stages that bring back detail at strides 8 and 4."""

import torch
from torch import Tensor, nn

from monodvps_ros.network.aspp import ASPP
from monodvps_ros.network.blocks import conv_norm, enlarge, separable

#: Channels to which the encoder's maps at strides 8 and 4 are projected.
SEMANTIC_SKIPS = (64, 32)
INSTANCE_SKIPS = (32, 16)


class DecoderStage(nn.Module):
    """Enlarge, join with the projected encoder map, and mix by one 5x5 depthwise-separable convolution.

    Source: Cheng et al. 2020 (Panoptic-DeepLab), section 3.1 and figure 2.
    """

    def __init__(self, in_channels: int, skip_channels: int, projected: int, out_channels: int) -> None:
        """Build the stage.

        Args:
            in_channels: channels of the coarse map.
            skip_channels: channels of the encoder's map.
            projected: channels that the encoder's map is brought to.
            out_channels: channels of the result.
        """
        super().__init__()
        self.project = conv_norm(skip_channels, projected, 1)
        self.mix = separable(in_channels + projected, out_channels, 5)

    def forward(self, maps: Tensor, skip: Tensor) -> Tensor:
        """Refine a map.

        Args:
            maps: (B, in_channels, h, w).
            skip: (B, skip_channels, H, W), at least as large.

        Returns:
            (B, out_channels, H, W).
        """
        size = (skip.shape[2], skip.shape[3])
        mixed: Tensor = self.mix(torch.cat([enlarge(maps, size), self.project(skip)], 1))
        return mixed


class Decoder(nn.Module):
    """One of the two decoders: ASPP and two stages.

    At output stride 16 as at 32 the first stage goes to stride 8 at once, as in the reference configurations.
    """

    def __init__(
        self,
        encoder_channels: tuple[int, ...],
        output_stride: int,
        *,
        aspp_channels: int,
        channels: int,
        skips: tuple[int, int],
        separable_aspp: bool,
    ) -> None:
        """Build the decoder.

        Args:
            encoder_channels: of the maps at strides 2, 4, 8, 16 and the last one.
            output_stride: stride of the last one.
            aspp_channels: channels of the context map.
            channels: channels of both stages.
            skips: channels that the maps at strides 8 and 4 are projected to.
            separable_aspp: make the dilated convolutions depthwise-separable.
        """
        super().__init__()
        self.aspp = ASPP(encoder_channels[4], aspp_channels, output_stride, separable_aspp)
        self.stage8 = DecoderStage(aspp_channels, encoder_channels[2], skips[0], channels)
        self.stage4 = DecoderStage(channels, encoder_channels[1], skips[1], channels)

    def forward(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Decode.

        Args:
            features: the encoder's maps.

        Returns:
            Maps at the output stride, at stride 8 and at stride 4.
        """
        context = self.aspp(features[4])
        stage8 = self.stage8(context, features[2])
        return context, stage8, self.stage4(stage8, features[1])
