# SPDX-License-Identifier: Apache-2.0
"""Pinhole camera, rigid motion, back-projection, projection and warping.

Convention, here and everywhere in the package: pixel (u, v) = (0, 0) is the *centre* of the top left pixel, so an
image of W columns covers u from -0.5 to W - 0.5. Resizing by s therefore maps u to s * (u + 0.5) - 0.5.
Camera axes: x right, y down, z forward. Depth is z, not the length of the ray.
"""

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import ShapeError
from monodvps_ros.shapes import check_shapes


def scale_intrinsics(
    intrinsics: NDArray[np.float64], from_size: tuple[int, int], to_size: tuple[int, int]
) -> NDArray[np.float64]:
    """Return K of an image that was resized.

    Args:
        intrinsics: (3, 3) K in pixels of the image before.
        from_size: height and width before.
        to_size: height and width after.

    Returns:
        (3, 3) float64 K in pixels of the image after.

    Raises:
        ShapeError: K is not 3 x 3, or a size is not positive.
    """
    check_shapes(intrinsics=(intrinsics, "3 3"))
    if min(*from_size, *to_size) <= 0:
        raise ShapeError(f"cannot resize from {from_size} to {to_size}: sizes must be positive")
    scale_v, scale_u = to_size[0] / from_size[0], to_size[1] / from_size[1]
    scaled = np.array(intrinsics, np.float64)
    scaled[0] *= scale_u
    scaled[1] *= scale_v
    scaled[0, 2] += 0.5 * (scale_u - 1.0)
    scaled[1, 2] += 0.5 * (scale_v - 1.0)
    return scaled
