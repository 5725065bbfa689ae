# SPDX-License-Identifier: Apache-2.0
"""The pinhole matrix K of an image that is resized, cropped or flipped."""

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import ShapeError
from monodvps_ros.shapes import check_shapes

if TYPE_CHECKING:
    from torch import Tensor

Matrices = TypeVar("Matrices", NDArray[np.float64], "Tensor")


def canonical_factor(intrinsics: Matrices, canonical_focal_px: float) -> Matrices:
    """Return metres per unit of the depth of a metric network (`network.metric`).

    The vertical focal length counts. Where a camera is of another shape than the network's input, the image is resized
    unevenly, and by its height objects are taken to be near or far: with the horizontal one, images of 4:3 shown to a
    network that was trained on 3.3:1 have twice their depth.

    Args:
        intrinsics: (..., 3, 3) K at the network's input size.
        canonical_focal_px: focal length at which the network's depth is in metres.

    Returns:
        (...).

    Source: Metric3D (Yin et al. 2023), section 3.1, for square pixels; the choice of the vertical one is ours.
    """
    return intrinsics[..., 1, 1] / canonical_focal_px


def resize_matrix(from_size: tuple[int, int], to_size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the matrix that carries homogeneous pixels (u, v, 1) of an image to those of the resized image.

    Left-multiplied to K it gives K of the resized image; for a batch of K on a device, make a tensor of it first.

    Args:
        from_size: height and width before.
        to_size: height and width after.

    Returns:
        (3, 3) float64.

    Raises:
        ShapeError: a size is not positive.

    Source: ours, from u' = s * (u + 0.5) - 0.5.
    """
    if min(*from_size, *to_size) <= 0:
        raise ShapeError(f"cannot resize from {from_size} to {to_size}: sizes must be positive")
    scale_v, scale_u = to_size[0] / from_size[0], to_size[1] / from_size[1]
    return np.array([[scale_u, 0.0, 0.5 * (scale_u - 1.0)], [0.0, scale_v, 0.5 * (scale_v - 1.0)], [0.0, 0.0, 1.0]])


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
    return resize_matrix(from_size, to_size) @ np.asarray(intrinsics, np.float64)


def crop_intrinsics(intrinsics: NDArray[np.float64], top: float, left: float) -> NDArray[np.float64]:
    """Return K of a part of an image.

    Args:
        intrinsics: (3, 3) K in pixels of the whole image.
        top: row of the whole image that becomes row 0; negative where the image was padded.
        left: column of the whole image that becomes column 0; negative where the image was padded.

    Returns:
        (3, 3) float64 K in pixels of the part.

    Raises:
        ShapeError: K is not 3 x 3.
    """
    check_shapes(intrinsics=(intrinsics, "3 3"))
    cropped = np.array(intrinsics, np.float64)
    cropped[0, 2] -= left
    cropped[1, 2] -= top
    return cropped


def flip_intrinsics(intrinsics: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Return K of an image that was mirrored left to right.

    The mirrored image shows the world with x negated: a point (x, y, z) of the camera before is (-x, y, z) after, and
    a motion M becomes F M F with F = diag(-1, 1, 1, 1).

    Args:
        intrinsics: (3, 3) K in pixels of the image before.
        width: columns of the image.

    Returns:
        (3, 3) float64 K in pixels of the mirrored image.

    Raises:
        ShapeError: K is not 3 x 3, or the width is not positive.

    Source: ours, from u' = width - 1 - u.
    """
    check_shapes(intrinsics=(intrinsics, "3 3"))
    if width <= 0:
        raise ShapeError(f"cannot flip an image {width} pixels wide: the width must be positive")
    flipped = np.array(intrinsics, np.float64)
    flipped[0, 1] *= -1.0
    flipped[0, 2] = width - 1.0 - flipped[0, 2]
    return flipped
