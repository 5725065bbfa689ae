# SPDX-License-Identifier: Apache-2.0
"""The depth head: sigmoid disparities at strides 2, 4, 8 and 16 from the semantic decoder."""

import math

import torch
from torch import Tensor, nn

from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.network.blocks import conv_norm, final_convolution, separable

#: Channels that the encoder's maps at strides 2, 4, 8 and 16 are projected to: the decoder's own 64 and 32 at
#: strides 8 and 4, continued by halving and doubling.
DEPTH_SKIPS = (16, 32, 64, 128)
#: Disparity that an untrained network says everywhere: about 1 m in the range of 0.1 to 100 m. From 0.5, where a
#: sigmoid begins by itself, depth could only halve before it meets the near end of the range; in photometric training,
#: which knows no metres, the road before the car then stays cut off there (seen on synthetic drives).
INITIAL_DISPARITY = 0.1
_COARSE_CHANNELS = 64
_FINE_CHANNELS = 32


class DepthHead(nn.Module):
    """One scale: [5x5, 64] separable, bilinear enlarging, join with the encoder's map, [5x5, 32], [1x1, 1], sigmoid.

    The paper gives the sizes. Open there, and chosen here: the [5x5, 32] convolution is separable like the first one
    (a plain one at stride 2 would cost more than the whole decoder); the encoder's map is projected by a 1x1
    convolution first, as in the decoder's stages, so that a wide encoder does not drown the 64 depth channels.

    Source: section 3.2 of Petrovai & Nedevschi.

    Args:
        projected: channels that the encoder's map of `skip_channels` is projected to.
    """

    def __init__(self, in_channels: int, skip_channels: int, projected: int) -> None:
        super().__init__()
        self.coarse = separable(in_channels, _COARSE_CHANNELS, 5)
        self.project = conv_norm(skip_channels, projected, 1)
        self.fine = separable(_COARSE_CHANNELS + projected, _FINE_CHANNELS, 5)
        self.final = final_convolution(_FINE_CHANNELS, 1)
        nn.init.constant_(self.final.bias, math.log(INITIAL_DISPARITY / (1.0 - INITIAL_DISPARITY)))  # type: ignore[arg-type]

    def forward(self, maps: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        """Predict one scale from (B, in_channels, h, w) and (B, skip_channels, H, W).

        Returns:
            Disparity (B, 1, H, W) in (0, 1), and the 32 feature channels before the last convolution.
        """
        coarse = resize_bilinear(self.coarse(maps), (skip.shape[2], skip.shape[3]))
        features = self.fine(torch.cat([coarse, self.project(skip)], 1))
        return torch.sigmoid(self.final(features)), features


class DepthHeads(nn.Module):
    """The depth head at four scales, each on the decoder map one step coarser than its result.

    Stride 2 stands on the decoder's stride-4 map with the encoder's stem, stride 4 on its stride-8 map, strides 8 and
    16 on its context map. The paper does not say where the coarser scales branch off; this wiring repeats its one
    head wherever the decoder has a map, so that each scale trains the stage it stands on, and at run time only the
    finest scale is computed (ours).

    Args:
        encoder_channels: of the maps at strides 2, 4, 8, 16 and the last one.
        context_channels: of the decoder's map at the output stride.
        decoder_channels: of its maps at strides 8 and 4.
    """

    def __init__(self, encoder_channels: tuple[int, ...], context_channels: int, decoder_channels: int) -> None:
        super().__init__()
        inputs = (decoder_channels, decoder_channels, context_channels, context_channels)
        self.scales = nn.ModuleList(
            DepthHead(channels, skip, projected)
            for channels, skip, projected in zip(inputs, encoder_channels[:4], DEPTH_SKIPS, strict=True)
        )

    def forward(
        self, decoded: tuple[Tensor, Tensor, Tensor], features: tuple[Tensor, ...], finest_only: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Predict disparities.

        Args:
            decoded: the semantic decoder's maps at the output stride and strides 8 and 4.
            features: the encoder's maps.
            finest_only: predict stride 2 alone.

        Returns:
            Disparities and the feature maps before each one's last convolution, finest first.
        """
        context, stage8, stage4 = decoded
        inputs = (stage4, stage8, context, context)
        count = 1 if finest_only else len(inputs)
        pairs = [self.scales[i](inputs[i], features[i]) for i in range(count)]
        return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)
