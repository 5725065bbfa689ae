# SPDX-License-Identifier: Apache-2.0
"""The pose network: how the camera moved between two frames."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from monodvps_ros.network.encoder import Encoder
from monodvps_ros.network.normalize import Normalize
from monodvps_ros.shapes import check_shapes

_CHANNELS = 256
#: Motions begin small, where warped images still overlap; without it photometric training diverges at its start.
POSE_SCALE = 0.01
#: The same for translations in metres, where a scene is some 15 m away instead of one unit, and steps are of a metre.
METRIC_TRANSLATION_SCALE = 0.5


class PoseNetwork(nn.Module):
    """Two frames in, motion of the camera out. Apart from the shared encoder; training and odometry need it.

    Source: the pose network of Godard et al. 2019 (monodepth2), section 3.3 and supplementary section A: an encoder on
    the two frames joined along their channels (pretrained first filters spread over both and halved, which timm does
    for six channels), then 1x1 to 256, two 3x3 of 256, 1x1 to 6, the mean over the map, times 0.01. Batch normalisation
    after the first three convolutions is ours: without it the pooled features of all pairs point the same way (their
    second singular value is 0.01 of the first), so that turns and steps can only be found in one fixed proportion.

    Attributes:
        encoder_name: timm model.
        shrink: by how much it shrinks frames before it looks at them.
        metric: whether translations are in metres, of the canonical camera; see `geometry.motion_of_camera`.

    Args:
        encoder: timm model.
        weights: 'hub', a file, or empty for random ones, as for `Encoder`, which raises the same errors.
        shrink: whole number by which height and width of the frames are divided first, by averaging.
        metric: of the network whose depth it is trained with.
    """

    def __init__(self, encoder: str = "resnet18", weights: str = "", shrink: int = 1, *, metric: bool = False) -> None:
        super().__init__()
        self.encoder_name, self.shrink, self.metric = encoder, shrink, metric
        self._translation_scale = METRIC_TRANSLATION_SCALE if metric else POSE_SCALE
        self.normalize = Normalize(encoder)
        self.encoder = Encoder(encoder, 32, in_channels=6, weights=weights)
        self.decoder = nn.Sequential(
            *_layer(self.encoder.channels[4], 1),
            *_layer(_CHANNELS, 3),
            *_layer(_CHANNELS, 3),
            nn.Conv2d(_CHANNELS, 6, 1),
        )

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Find the motion between two frames in the order in which they were taken.

        Args:
            first: (B, 3, H, W) in 0..1, the earlier frame.
            second: (B, 3, H, W) in 0..1, the later frame.

        Returns:
            Axis-angle rotation (B, 3) in radians and translation (B, 3) in the unit of the depth: the motion that
            carries points of the first camera into the second camera. For the other direction invert it. Of a metric
            network it is the canonical camera's, as the depth.

        Raises:
            ShapeError: a shape differs.
        """
        check_shapes(first=(first, "B 3 H W"), second=(second, "B 3 H W"))
        pair = torch.cat([self.normalize(first), self.normalize(second)], 1)
        features = self.encoder(functional.avg_pool2d(pair, self.shrink) if self.shrink > 1 else pair)
        motion = self.decoder(features[4]).mean((2, 3))
        return POSE_SCALE * motion[:, :3], self._translation_scale * motion[:, 3:]


def _layer(channels: int, size: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels, _CHANNELS, size, padding=size // 2, bias=False),
        nn.BatchNorm2d(_CHANNELS),
        nn.ReLU(inplace=True),
    )
