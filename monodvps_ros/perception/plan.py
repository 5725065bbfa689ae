# SPDX-License-Identifier: Apache-2.0
"""What can be worked out once for each camera: sizes, index tables, K of every map, rays."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.errors import ConfigError
from monodvps_ros.geometry import scale_intrinsics
from monodvps_ros.perception.pointcloud import pixel_rays
from monodvps_ros.perception.segments import PublishedGrid

#: The road is measured at every n-th pixel of the network's map in both directions.
ROAD_STRIDE = 4


@dataclass(frozen=True, eq=False)
class Plan:
    """Constants of one camera size, K and configuration.

    Attributes:
        camera_size: (H, W) of the images.
        network_size: (h, w) that the network sees.
        published_size: size of the maps that come out.
        camera_intrinsics: K of the images; None where the camera is not known.
        published_intrinsics: K of the published maps; None likewise.
        grid: which network pixel each published pixel shows (nearest).
        network_pixels_in_camera: row and column of the image nearest to each of the network's rows and columns.
        cloud_stride: every n-th published pixel is a point.
        network_rays: (2, h, w) of the network's pixels; None without K.
        cloud_rays: (2, ...) of the cloud's pixels; None without K.
        road_rays: (N, 3) of the pixels that the road is measured at; None without K.
    """

    camera_size: tuple[int, int]
    network_size: tuple[int, int]
    published_size: tuple[int, int]
    camera_intrinsics: NDArray[np.float64] | None
    published_intrinsics: NDArray[np.float64] | None
    grid: PublishedGrid
    network_pixels_in_camera: tuple[Tensor, Tensor]
    cloud_stride: int
    network_rays: Tensor | None
    cloud_rays: Tensor | None
    road_rays: Tensor | None

    def fits(self, size: tuple[int, int], intrinsics: NDArray[np.float64] | None) -> bool:
        """True where this plan serves images of that size and K."""
        if size != self.camera_size or (intrinsics is None) != (self.camera_intrinsics is None):
            return False
        return intrinsics is None or bool((intrinsics == self.camera_intrinsics).all())


def make_plan(
    camera_size: tuple[int, int],
    intrinsics: NDArray[np.float64] | None,
    network_size: tuple[int, int],
    output_size: str,
    cloud_stride: int,
    device: torch.device,
) -> Plan:
    """Work out a plan.

    Args:
        camera_size: (H, W) of the images.
        intrinsics: (3, 3) K of the images, or None.
        network_size: (h, w) that the network sees.
        output_size: `camera` or `network`.
        cloud_stride: every n-th published pixel becomes a point.
        device: where the tensors are to lie.

    Raises:
        ConfigError: K is not finite, or a focal length is not positive.
    """
    published_size = camera_size if output_size == "camera" else network_size
    grid = PublishedGrid(*(_nearest(published_size[i], network_size[i], device) for i in (0, 1)))
    backward = (_nearest(network_size[0], camera_size[0], device), _nearest(network_size[1], camera_size[1], device))
    if intrinsics is None:
        return Plan(
            camera_size, network_size, published_size, None, None, grid, backward, cloud_stride, None, None, None
        )
    if not np.isfinite(intrinsics).all() or min(intrinsics[0, 0], intrinsics[1, 1]) <= 0:
        raise ConfigError(f"K is {intrinsics.tolist()}; focal lengths must be positive and all numbers finite")
    published = scale_intrinsics(intrinsics, camera_size, published_size)
    seen = scale_intrinsics(intrinsics, camera_size, network_size)
    network_rays = pixel_rays(seen, network_size, 1, device)
    road = network_rays[:, ::ROAD_STRIDE, ::ROAD_STRIDE].flatten(1)
    return Plan(
        camera_size,
        network_size,
        published_size,
        np.array(intrinsics, np.float64),
        published,
        grid,
        backward,
        cloud_stride,
        network_rays,
        pixel_rays(published, published_size, cloud_stride, device),
        torch.cat((road, torch.ones_like(road[:1]))).T.contiguous(),
    )


def _nearest(wanted: int, given: int, device: torch.device) -> Tensor:
    """Index of the given row (or column) whose centre is nearest to that of each wanted one."""
    index = (np.arange(wanted) * 2 + 1) * given // (2 * wanted)
    return torch.from_numpy(index).to(device)
