# SPDX-License-Identifier: Apache-2.0
"""Between pixels, disparity, depth and 3-D points of one pinhole camera."""

import torch
from torch import Tensor

from monodvps_ros.errors import ShapeError
from monodvps_ros.shapes import check_shapes

#: Points nearer than this, or behind the camera, are projected as if they were this near: finite, and marked
#: invalid by the functions that warp.
MIN_PROJECTED_DEPTH = 1e-6


def disparity_to_inverse_depth(disparity: Tensor, min_m: float, max_m: float) -> Tensor:
    """Convert the network's disparity to inverse depth.

    Args:
        disparity: any shape, in [0, 1].
        min_m: depth at disparity 1.
        max_m: depth at disparity 0.

    Returns:
        The same shape, in [1 / max_m, 1 / min_m]; NaN where the disparity is NaN.

    Raises:
        ShapeError: the range is not 0 < min_m < max_m.

    Source: Godard et al. 2019, depth = 1 / (1 / max + (1 / min - 1 / max) * disparity).
    """
    if not 0.0 < min_m < max_m:
        raise ShapeError(f"depth range is {min_m} to {max_m}; it must be 0 < min_m < max_m")
    return 1.0 / max_m + (1.0 / min_m - 1.0 / max_m) * disparity


def disparity_to_depth(disparity: Tensor, min_m: float, max_m: float) -> Tensor:
    """Convert the network's disparity to depth in [min_m, max_m]; see `disparity_to_inverse_depth`."""
    return disparity_to_inverse_depth(disparity, min_m, max_m).reciprocal()


def pixel_grid(
    height: int, width: int, device: torch.device | str | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the coordinates of all pixel centres of an image, (2, H, W): u (the column), then v (the row)."""
    u = torch.arange(width, device=device, dtype=dtype)
    v = torch.arange(height, device=device, dtype=dtype)
    return torch.stack([u[None].expand(height, width), v[:, None].expand(height, width)])


def back_project(depth_m: Tensor, intrinsics: Tensor) -> Tensor:
    """Lift every pixel to a 3-D point in the camera's optical frame.

    Args:
        depth_m: (B, 1, H, W) metres along the optical axis.
        intrinsics: (B, 3, 3) pinhole K in pixels of this H x W image; skew is honoured, the last row is taken as
            0 0 1.

    Returns:
        (B, 3, H, W) metres, x right, y down, z forward; NaN where the depth is NaN, infinite, zero or negative.

    Raises:
        ShapeError: a shape differs, or B disagrees.

    Source: Hartley & Zisserman 2004, section 6.1; the bracket of Eq. 2 of Petrovai & Nedevschi.
    """
    sizes = check_shapes(depth_m=(depth_m, "B 1 H W"), intrinsics=(intrinsics, "B 3 3"))
    depth = torch.where((depth_m > 0) & depth_m.isfinite(), depth_m, torch.nan)
    grid = pixel_grid(sizes["H"], sizes["W"], depth_m.device, depth_m.dtype)
    k = intrinsics[..., None, None]
    y = (grid[1] - k[:, 1, 2]) / k[:, 1, 1]
    x = (grid[0] - k[:, 0, 2] - k[:, 0, 1] * y) / k[:, 0, 0]
    return torch.stack([x, y, torch.ones_like(x)], 1) * depth


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Project 3-D points of the camera's optical frame onto its image.

    Args:
        points: (B, 3, ...) x, y, z in the second axis, any axes after it; (B, 3, H, W) for a map.
        intrinsics: (B, 3, 3) pinhole K; skew is honoured, the last row is taken as 0 0 1.

    Returns:
        (B, 2, ...) pixels (u, v). Points with z below `MIN_PROJECTED_DEPTH`, those behind the camera among them, are
        projected as if z were `MIN_PROJECTED_DEPTH`: finite, but meaningless; look at z to tell them. NaN stays NaN.

    Raises:
        ShapeError: a shape differs, or B disagrees.

    Source: Hartley & Zisserman 2004, section 6.1; Eq. 2 of Petrovai & Nedevschi.
    """
    shape = points.shape
    flat = points.reshape(*shape[:2], -1) if points.dim() > 1 and 0 not in shape else points
    check_shapes(points=(flat, "B 3 N"), intrinsics=(intrinsics, "B 3 3"))
    near = flat[:, 2].clamp(min=MIN_PROJECTED_DEPTH)
    x, y = flat[:, 0] / near, flat[:, 1] / near
    k = intrinsics[..., None]
    u = k[:, 0, 0] * x + k[:, 0, 1] * y + k[:, 0, 2]
    v = k[:, 1, 1] * y + k[:, 1, 2]
    return torch.stack([u, v], 1).reshape(shape[0], 2, *shape[2:])
