# SPDX-License-Identifier: Apache-2.0
"""Pinhole camera, rigid motion, back-projection, projection and warping.

Convention, here and everywhere in the package: pixel (u, v) = (0, 0) is the *centre* of the top left pixel, so an
image of W columns covers u from -0.5 to W - 0.5. Resizing by s therefore maps u to s * (u + 0.5) - 0.5.
Camera axes: x right, y down, z forward. Depth is z, not the length of the ray. Maps of pixel coordinates hold (u, v)
in their channels, maps of flow hold (dx, dy). ``source_from_target`` carries points of the target camera into the
source camera.

Names are imported when they are first asked for: who needs the camera models alone does not wait for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monodvps_ros.geometry.canonical_motion import motion_of_camera
    from monodvps_ros.geometry.intrinsics import (
        canonical_factor,
        crop_intrinsics,
        flip_intrinsics,
        resize_matrix,
        scale_intrinsics,
    )
    from monodvps_ros.geometry.motion import (
        axis_angle_to_matrix,
        invert_transform,
        transform_from_axis_angle,
        transform_points,
    )
    from monodvps_ros.geometry.projection import (
        MIN_PROJECTED_DEPTH,
        back_project,
        disparity_to_depth,
        disparity_to_inverse_depth,
        pixel_grid,
        project,
    )
    from monodvps_ros.geometry.reference_size import REFERENCE_SIZE, scale_area, scale_length, scale_window
    from monodvps_ros.geometry.warping import (
        inside_image,
        rigid_flow,
        visible_both_ways,
        warp,
        warp_by_depth,
        warp_by_flow,
    )

__all__ = [
    "MIN_PROJECTED_DEPTH",
    "REFERENCE_SIZE",
    "axis_angle_to_matrix",
    "back_project",
    "canonical_factor",
    "crop_intrinsics",
    "disparity_to_depth",
    "disparity_to_inverse_depth",
    "flip_intrinsics",
    "inside_image",
    "invert_transform",
    "motion_of_camera",
    "pixel_grid",
    "project",
    "resize_matrix",
    "rigid_flow",
    "scale_area",
    "scale_intrinsics",
    "scale_length",
    "scale_window",
    "transform_from_axis_angle",
    "transform_points",
    "visible_both_ways",
    "warp",
    "warp_by_depth",
    "warp_by_flow",
]

_MODULES = ("reference_size", "intrinsics", "motion", "canonical_motion", "projection", "warping")


def __getattr__(name: str) -> Any:
    """Find a name in the modules."""
    if name in __all__:
        for module in _MODULES:
            contents = vars(import_module(f"{__name__}.{module}"))
            if name in contents:
                return contents[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
