# SPDX-License-Identifier: Apache-2.0
"""Constants of a camera, computed once: sizes, index tables, K of every map, rays."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.geometry import scale_intrinsics
from monodvps_ros.geometry.calibration import check_intrinsics
from monodvps_ros.geometry.resizing import nearest_index
from monodvps_ros.perception.metric_scale import ROAD_STRIDE
from monodvps_ros.perception.pointcloud import pixel_rays
from monodvps_ros.perception.segments import PublishedGrid


@dataclass(frozen=True, eq=False, kw_only=True)
class Plan:
    """Constants of one camera size, K and configuration; K and rays are None where the camera is not known.

    Attributes:
        camera_size: (H, W) of the images.
        network_size: (h, w) of the network's input.
        published_size: size of the published maps.
        grid: which network pixel each published pixel shows (nearest).
        cloud_stride: every n-th published pixel is a point.
        camera_intrinsics: K of the images.
        published_intrinsics: K of the published maps.
        network_intrinsics: K of the network's input.
        network_rays: (2, h, w) of the network's pixels.
        cloud_rays: (2, ...) of the cloud's pixels.
        road_rays: (N, 3) of the pixels that are sampled for the road.
    """

    camera_size: tuple[int, int]
    network_size: tuple[int, int]
    published_size: tuple[int, int]
    grid: PublishedGrid
    cloud_stride: int
    camera_intrinsics: NDArray[np.float64] | None = None
    published_intrinsics: NDArray[np.float64] | None = None
    network_intrinsics: NDArray[np.float64] | None = None
    network_rays: Tensor | None = None
    cloud_rays: Tensor | None = None
    road_rays: Tensor | None = None

    def fits(self, size: tuple[int, int], intrinsics: NDArray[np.float64] | None) -> bool:
        """Whether this plan is for images of that size and K."""
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
    """Compute a plan; `output_size` is `camera` or `network`.

    Raises:
        CameraInfoError: K is one that no camera has.
    """
    published_size = camera_size if output_size == "camera" else network_size
    rows, columns = (
        nearest_index(torch.arange(wanted, device=device), wanted, given)
        for wanted, given in zip(published_size, network_size, strict=True)
    )
    plan = Plan(
        camera_size=camera_size,
        network_size=network_size,
        published_size=published_size,
        grid=PublishedGrid(rows, columns, network_size),
        cloud_stride=cloud_stride,
    )
    if intrinsics is None:
        return plan
    check_intrinsics(intrinsics)
    published = scale_intrinsics(intrinsics, camera_size, published_size)
    seen = scale_intrinsics(intrinsics, camera_size, network_size)
    network_rays = pixel_rays(seen, network_size, 1, device)
    road = network_rays[:, ::ROAD_STRIDE, ::ROAD_STRIDE].flatten(1)
    return replace(
        plan,
        camera_intrinsics=np.array(intrinsics, np.float64),
        published_intrinsics=published,
        network_intrinsics=seen,
        network_rays=network_rays,
        cloud_rays=pixel_rays(published, published_size, cloud_stride, device),
        road_rays=torch.cat((road, torch.ones_like(road[:1]))).T.contiguous(),
    )
