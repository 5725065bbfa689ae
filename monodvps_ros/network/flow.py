# SPDX-License-Identifier: Apache-2.0
"""The optical-flow decoder: coarse to fine on the shared features of two frames.

The paper takes its flow decoder from VPS-Transformer, whose layers are not published. This is the usual
self-supervised form instead: warp, correlate, estimate, level by level, as in PWC-Net (Sun et al. 2018), with one
estimator shared by all levels (Liu et al. 2020, ARFlow) and features normalised before correlation (Jonschkowski et al.
2020, "What matters in unsupervised optical flow").
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from monodvps_ros.geometry import warp_by_flow
from monodvps_ros.geometry.resizing import resize_bilinear
from monodvps_ros.shapes import check_shapes

RADIUS = 4
FLOW_FEATURES = 32
#: Strides of the levels, finest first. The last is the map at stride 16, halved: it doubles the reach, which is then
#: 4 * (4 + 8 + 16 + 32) = 240 px, at 1/64 of the finest level's cost.
FLOW_STRIDES = (4, 8, 16, 32)
_BLOCK = 8
_SLOPE = 0.1


def correlate(first: Tensor, second: Tensor, radius: int = RADIUS) -> Tensor:
    """Compare each pixel of one map with a square neighbourhood in another.

    Args:
        first: (B, C, H, W).
        second: (B, C, H, W); outside of it is 0.
        radius: reach in rows and columns.

    Returns:
        (B, (2 radius + 1)^2, H, W): channel (dy + radius) (2 radius + 1) + dx + radius holds the sum over C of
        first(y, x) second(y + dy, x + dx).

    Raises:
        ShapeError: the maps differ in shape.

    Source: Sun et al. 2018, Eq. 2, without its division by C. Ours: rows are cut into short blocks; one matrix product
    compares a block with all columns it can reach in another row, and the diagonal band of that product is kept.
    """
    sizes = check_shapes(first=(first, "B C H W"), second=(second, "B C H W"))
    batch, channels, height, width = (sizes[letter] for letter in "BCHW")
    side, span = 2 * radius + 1, _BLOCK + 2 * radius
    count = -(-width // _BLOCK)
    extra = count * _BLOCK - width
    blocks = functional.pad(first, (0, extra)).permute(0, 2, 3, 1).reshape(-1, _BLOCK, channels)
    around = functional.pad(second, (radius, radius + extra, radius, radius)).permute(0, 2, 3, 1).contiguous()
    windows = around.unfold(2, span, _BLOCK)  # B, H + 2 radius, count, C, span
    found = []
    for offset in range(side):
        reached = windows[:, offset : offset + height].reshape(-1, channels, span)
        products = torch.bmm(blocks, reached).flatten(1)  # (x, x') at x span + x'; wanted are x <= x' < x + side
        skewed = functional.pad(products, (0, _BLOCK)).reshape(-1, _BLOCK, span + 1)  # (x, x') at column x' - x
        found.append(skewed[:, :, :side].reshape(batch, height, count * _BLOCK, side)[:, :, :width])
    return torch.cat(found, 3).permute(0, 3, 1, 2)


class FlowDecoder(nn.Module):
    """Flow from the current frame to the previous one.

    Args:
        encoder_channels: channels of the encoder's maps.
        channels: channels of the first layers of the estimator.
    """

    def __init__(self, encoder_channels: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(count, FLOW_FEATURES, 1) for count in encoder_channels[1:4])
        cost = (2 * RADIUS + 1) ** 2
        half = max(channels // 2, 8)
        self.estimate = nn.Sequential(
            _convolution(cost + FLOW_FEATURES + 2, channels),
            _convolution(channels, channels),
            _convolution(channels, half),
        )
        self.predict = _flow_convolution(half)
        self.context = nn.Sequential(
            _convolution(half + 2, half, 1), _convolution(half, half, 2), _convolution(half, half, 4)
        )
        self.correct = _flow_convolution(half)

    def describe(self, features: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Make of the encoder's maps what is compared between frames, and remembered of a frame by a live model.

        Returns:
            Maps (B, 32, H/s, W/s) for the strides 4, 8, 16 and 32; each channel's mean over the map is 0, and the
            mean square over map and channels is 1.
        """
        maps = [project(features[place]) for place, project in enumerate(self.project, start=1)]
        maps.append(functional.avg_pool2d(maps[-1], 2))
        return tuple(_standardize(entry) for entry in maps)

    def forward(self, current: tuple[Tensor, ...], previous: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Find flow between what `describe` made of two frames.

        Returns:
            Flow (B, 2, H/s, W/s) for the strides s of 4, 8, 16 and 32: (dx, dy) from the current frame to the previous
            one in pixels of the H x W image.
        """
        found: list[Tensor] = []
        shape = current[-1].shape
        flow = current[-1].new_zeros(shape[0], 2, shape[2], shape[3])  # in pixels of its own level
        for mine, theirs in zip(reversed(current), reversed(previous), strict=True):
            size = (mine.shape[2], mine.shape[3])
            if flow.shape[2:] != size:
                flow = 2.0 * resize_bilinear(flow, size)
            moved = warp_by_flow(theirs, flow, padding="zeros")[0] if found else theirs
            cost = functional.leaky_relu(correlate(mine, moved) / FLOW_FEATURES, _SLOPE)
            hidden = self.estimate(torch.cat([cost, mine, flow], 1))
            flow = flow + self.predict(hidden)
            flow = flow + self.correct(self.context(torch.cat([hidden, flow], 1)))
            found.append(flow)
        return tuple(stride * entry for stride, entry in zip(FLOW_STRIDES, reversed(found), strict=True))


def _standardize(maps: Tensor) -> Tensor:
    """Center and scale, so that correlations are of the same size at every level and early in training.

    One scale for a whole map, not one per pixel: what has no texture must not look certain.
    """
    centered = maps - maps.mean((2, 3), keepdim=True)
    return centered / (centered.square().mean((1, 2, 3), keepdim=True) + 1e-6).sqrt()


def _convolution(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation),
        nn.LeakyReLU(_SLOPE, inplace=True),
    )


def _flow_convolution(in_channels: int) -> nn.Conv2d:
    """Make a last convolution that begins near zero, so that flow begins there too."""
    final = nn.Conv2d(in_channels, 2, 3, padding=1)
    nn.init.normal_(final.weight, std=1e-3)
    nn.init.zeros_(final.bias)  # type: ignore[arg-type]
    return final
