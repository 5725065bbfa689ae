# SPDX-License-Identifier: Apache-2.0
"""Depth of an image from points that another sensor measured."""

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.shapes import check_shapes

NEAREST_M = 0.3
#: A point is seen through what is nearer by more than this share of its depth, so many degrees beside it or above.
#: Scan lines of a spinning sensor are up to two degrees apart.
HIDDEN_SHARE, BESIDE_DEG, ABOVE_DEG = 0.15, 0.5, 2.0


def project_to_depth(
    points_m: NDArray[np.float64], intrinsics: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.float32]:
    """Project points into an image and keep those that the camera sees.

    A sensor beside the camera also measures what stands behind an object for the camera. Such points lie among those
    of the object: in the same row and above within some degrees there are points that are nearer by a seventh. Below
    is not looked at, since a road comes nearer downwards.

    Args:
        points_m: (N, 3) in the camera's optical frame.
        intrinsics: (3, 3) K in pixels of the image.
        size: height and width of the image.

    Returns:
        (H, W) float32 metres along the optical axis; NaN where no point is. Of several on a pixel the nearest counts.
    """
    check_shapes(points_m=(points_m, "N 3"), intrinsics=(intrinsics, "3 3"))
    ahead = points_m[points_m[:, 2] >= NEAREST_M]
    homogeneous = ahead @ intrinsics.T
    u, v = np.rint(homogeneous[:, :2] / homogeneous[:, 2:]).clip(-1, 1 << 20).astype(np.int64).T
    inside = (u >= 0) & (u < size[1]) & (v >= 0) & (v < size[0])
    nearest = np.full(size, np.inf, np.float32)
    np.minimum.at(nearest, (v[inside], u[inside]), ahead[inside, 2].astype(np.float32))
    beside = max(1, round(intrinsics[0, 0] * np.tan(np.deg2rad(BESIDE_DEG))))
    above = max(1, round(intrinsics[1, 1] * np.tan(np.deg2rad(ABOVE_DEG))))
    window = np.ones((above + 1, 2 * beside + 1), np.uint8)  # its last row is the point's own
    around = cv2.erode(nearest, window, anchor=(beside, above))
    seen = np.isfinite(nearest) & (nearest * (1.0 - HIDDEN_SHARE) <= around)
    return np.where(seen, nearest, np.nan).astype(np.float32)
