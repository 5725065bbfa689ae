# SPDX-License-Identifier: Apache-2.0
"""Odometry as fields of nav_msgs and tf2_msgs messages; see `message_fields`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.outputs import Odometry


def odometry_fields(stamp: dict[str, int], odometry: Odometry) -> dict[str, Any]:
    """Pack an Odometry, with its header: the pose is in another frame than the image."""
    pose, twist = odometry.covariance, odometry.twist_covariance
    return {
        "header": {"stamp": stamp, "frame_id": odometry.frame_id},
        "child_frame_id": odometry.child_frame_id,
        "pose": {
            "pose": {"position": _vector(odometry.pose[:3, 3]), "orientation": _quaternion(odometry.pose[:3, :3])},
            "covariance": pose.ravel(),
        },
        "twist": {
            "twist": {"linear": _vector(odometry.linear_m_s), "angular": _vector(odometry.angular_rad_s)},
            "covariance": twist.ravel(),
        },
    }


def transform_fields(stamp: dict[str, int], odometry: Odometry) -> dict[str, Any]:
    """Pack a TFMessage: the child frame in the odometry's frame."""
    pose = odometry.pose
    transform = {
        "header": {"stamp": stamp, "frame_id": odometry.frame_id},
        "child_frame_id": odometry.child_frame_id,
        "transform": {"translation": _vector(pose[:3, 3]), "rotation": _quaternion(pose[:3, :3])},
    }
    return {"transforms": [transform]}


def _vector(values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip("xyz", map(float, values), strict=True))


def _quaternion(rotation: NDArray[np.float64]) -> dict[str, float]:
    """Return the quaternion of a rotation matrix, w not negative.

    Source: the eigenvector of the greatest eigenvalue of Bar-Itzhack's matrix (2000), which is stable for every angle.
    """
    (a, b, c), (d, e, f), (g, h, i) = rotation
    matrix = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    vector = np.linalg.eigh(matrix)[1][:, -1]
    vector = vector if vector[3] >= 0 else -vector
    return dict(zip("xyzw", map(float, vector), strict=True))
