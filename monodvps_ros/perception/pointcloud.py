# SPDX-License-Identifier: Apache-2.0
"""The labelled point cloud: back-projected pixels, packed as they lie in a PointCloud2."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.config import CloudConfig
from monodvps_ros.outputs import POINT_DTYPE
from monodvps_ros.shapes import check_shapes


def pixel_rays(intrinsics: NDArray[np.float64], size: tuple[int, int], stride: int, device: torch.device) -> Tensor:
    """Rays through the centres of pixels 0, stride, 2 stride, ... of rows and columns of a map of `size` (H, W).

    Returns:
        (2, h, w) float32, x / z and y / z of each pixel taken.
    """
    check_shapes(intrinsics=(intrinsics, "3 3"))
    v, u = np.arange(0, size[0], stride), np.arange(0, size[1], stride)
    y = (v - intrinsics[1, 2]) / intrinsics[1, 1]
    x = (u - intrinsics[0, 2] - intrinsics[0, 1] * y[:, None]) / intrinsics[0, 0]
    rays = np.stack((np.broadcast_to(x, (len(v), len(u))), np.broadcast_to(y[:, None], (len(v), len(u)))))
    return torch.from_numpy(rays.astype(np.float32)).to(device)


def pack_cloud(
    depth_m: Tensor, rays: Tensor, image: Tensor, label: Tensor, instance: Tensor, config: CloudConfig
) -> Tensor:
    """Back-project a depth map and pack it with colours and labels.

    Args:
        depth_m: (h, w) float32 metres along the axis, NaN where there is none.
        rays: (2, h, w) float32 from `pixel_rays`.
        image: (h, w, 3) uint8 red, green, blue.
        label: (h, w) integer class ids.
        instance: (h, w) integer instance ids.
        config: range and order.

    Returns:
        (h, w, 6) float32 words for `as_points`, NaN for points that are missing or beyond the range; or, where not
        organized, (N, 6) without them, for which the host waits.

    Raises:
        ShapeError: the maps differ in size.
    """
    check_shapes(
        depth_m=(depth_m, "h w"), rays=(rays, "2 h w"), image=(image, "h w 3"), label=(label, "h w"),
        instance=(instance, "h w"),
    )  # fmt: skip
    words = torch.empty((*depth_m.shape, 6), dtype=torch.float32, device=depth_m.device)
    depth_m = torch.where(depth_m <= config.max_range_m, depth_m, torch.nan)
    torch.mul(rays[0], depth_m, out=words[..., 0])
    torch.mul(rays[1], depth_m, out=words[..., 1])
    words[..., 2] = depth_m
    bits = words.view(torch.int32)
    red, green, blue = image.to(torch.int32).unbind(2)
    bits[..., 3] = (red << 16) | (green << 8) | blue
    bits[..., 4] = label
    bits[..., 5] = instance
    if not config.organized:
        words = words[torch.isfinite(depth_m)]
    return words


def as_points(words: NDArray[np.float32]) -> NDArray[Any]:
    """Return the words of `pack_cloud`, (..., 6), as (...) of `POINT_DTYPE`."""
    return words.view(POINT_DTYPE)[..., 0]
