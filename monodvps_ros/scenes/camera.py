# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera of a drive: intrinsics, viewing rays and poses above the road.

The world is z up, metres; the camera's optical frame is x right, y down, z forward.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.config import SceneConfig

Matrix = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Camera:
    """An ideal pinhole camera whose principal point is the middle of the image.

    Attributes:
        height: rows of the image.
        width: columns of the image.
        focal_px: focal length in pixels, the same in both directions.
    """

    height: int
    width: int
    focal_px: float

    @classmethod
    def of(cls, config: SceneConfig) -> "Camera":
        """Make the camera that a scene configuration asks for."""
        return cls(config.height, config.width, config.focal_px or 0.6 * config.width)

    @property
    def center(self) -> tuple[float, float]:
        """Principal point (u, v) in pixels; the centre of the top left pixel is (0, 0)."""
        return (self.width - 1) / 2.0, (self.height - 1) / 2.0

    @property
    def intrinsics(self) -> Matrix:
        """(3, 3) float64 K."""
        u, v = self.center
        return np.array([[self.focal_px, 0.0, u], [0.0, self.focal_px, v], [0.0, 0.0, 1.0]])


def camera_pose(x: float, y: float, heading: float, height_m: float, pitch: float) -> Matrix:
    """Return world_from_camera, (4, 4), of a camera at (x, y), `height_m` metres above the road at z = 0.

    Angles in radians: `heading` is 0 along x and counter-clockwise; the optical axis points `pitch` below the horizon.
    """
    cos_h, sin_h, cos_p, sin_p = np.cos(heading), np.sin(heading), np.cos(pitch), np.sin(pitch)
    right = np.array([sin_h, -cos_h, 0.0])
    forward = np.array([cos_h * cos_p, sin_h * cos_p, -sin_p])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = right, np.cross(forward, right), forward
    pose[:3, 3] = x, y, height_m
    return pose


def planar_pose(x: float, y: float, heading: float, z: float = 0.0) -> Matrix:
    """Return the (4, 4) transform of a body that stands at (x, y, z) and looks along `heading` (radians)."""
    cos_h, sin_h = np.cos(heading), np.sin(heading)
    return np.array([[cos_h, -sin_h, 0.0, x], [sin_h, cos_h, 0.0, y], [0.0, 0.0, 1.0, z], [0.0, 0.0, 0.0, 1.0]])


def rigid_inverse(pose: Matrix) -> Matrix:
    """Invert rigid transforms, (..., 4, 4)."""
    inverse = np.zeros_like(pose)
    rotation = np.swapaxes(pose[..., :3, :3], -1, -2)
    inverse[..., :3, :3] = rotation
    inverse[..., :3, 3] = -(rotation @ pose[..., :3, 3:])[..., 0]
    inverse[..., 3, 3] = 1.0
    return inverse
