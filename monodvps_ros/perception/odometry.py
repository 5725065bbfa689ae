# SPDX-License-Identifier: Apache-2.0
"""Visual odometry: the motion of the camera between frames, composed into a pose, in metres."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.config import OdometryConfig
from monodvps_ros.geometry import canonical_factor, motion_of_camera, transform_from_axis_angle
from monodvps_ros.network import PoseNetwork
from monodvps_ros.outputs import Odometry, ScaleEstimate

#: Axes of a robot (x forward, y left, z up; REP 103) from those of an optical frame (x right, y down, z forward).
BODY_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
# Standard deviation of one motion: a share of it, and what there is of it at standstill.
_SHARE, _STILL_M, _STILL_RAD = 0.2, 0.01, 0.002


class OdometryEstimator:
    """Composes the motions that the pose network of the weights sees.

    Args:
        pose_network: on the device of the images, in evaluation mode.
        canonical_focal_px: of the network beside it; 0 where its depth is up to scale.
    """

    def __init__(self, pose_network: PoseNetwork, canonical_focal_px: float) -> None:
        self._network, self._canonical = pose_network, canonical_focal_px
        self.reset()

    def reset(self) -> None:
        """Begin at the origin, with the next frame."""
        self._previous: tuple[Tensor, int] | None = None
        self._odom_from_camera = BODY_FROM_OPTICAL
        self.problem = ""
        self._covariance = np.zeros((6, 6))

    def update(
        self,
        image: Tensor,
        stamp_ns: int,
        intrinsics: NDArray[np.float64] | None,
        scale: ScaleEstimate,
        config: OdometryConfig,
        camera_frame: str,
    ) -> Odometry | None:
        """Add the motion since the frame before.

        Args:
            image: (1, 3, H, W) in 0..1, of the network's size.
            stamp_ns: of the frame; not before the last one.
            intrinsics: (3, 3) K in pixels of `image`; None where it is not known.
            scale: metres per unit of the network's depth; while it is unknown, there is no odometry, and once it is
                known, odometry begins at the origin.
            config: names of the frames.
            camera_frame: optical frame of the image.

        Returns:
            The pose; None while the scale is unknown, or where the network gives no motion: `problem` says so, and the
            next motion is from the frame before this one.
        """
        if not scale.is_known:
            self.reset()
            return None
        self.problem = ""
        before, self._previous = self._previous, (image, stamp_ns)
        motion, seconds = np.eye(4), 0.0
        if before is not None:
            motion = self._motion(before[0], image, intrinsics, scale)
            if not np.isfinite(motion).all():
                self._previous = before
                self.problem = "the pose network gave NaN or infinite motion: no odometry for this image"
                return None
            seconds = 1e-9 * (stamp_ns - before[1])
            self._compose(motion)
        return self._odometry(motion, seconds, config, camera_frame)

    def _motion(
        self, before: Tensor, image: Tensor, intrinsics: NDArray[np.float64] | None, scale: ScaleEstimate
    ) -> NDArray[np.float64]:
        """Return (4, 4): carries points of this camera into the one before, metres."""
        rotation, translation = (part.float().cpu() for part in self._network(before, image))
        factor = scale.factor
        if self._canonical and intrinsics is not None:
            rotation, translation = motion_of_camera(
                rotation, translation, torch.from_numpy(intrinsics).float()[None], self._canonical
            )
            factor /= float(canonical_factor(intrinsics, self._canonical))  # the scale may correct the metric one
        moved = transform_from_axis_angle(rotation.double(), factor * translation.double(), invert=True)
        return moved[0].numpy()

    def _compose(self, motion: NDArray[np.float64]) -> None:
        before = self._odom_from_camera
        self._odom_from_camera = before @ motion
        # An error of the attitude so far turns the step; to first order, d' = d + a x step.
        x, y, z = before[:3, :3] @ motion[:3, 3]
        carry = np.eye(6)
        carry[:3, 3:] = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]
        self._covariance = carry @ self._covariance @ carry.T + _covariance_of(motion)

    def _odometry(
        self, motion: NDArray[np.float64], seconds: float, config: OdometryConfig, camera_frame: str
    ) -> Odometry:
        camera_from_child = np.linalg.inv(BODY_FROM_OPTICAL) if config.child_frame else np.eye(4)
        axes = camera_from_child[:3, :3].T
        rate = 1.0 / seconds if seconds > 0 else 0.0
        return Odometry(
            frame_id=config.frame,
            child_frame_id=config.child_frame or camera_frame,
            pose=self._odom_from_camera @ camera_from_child,
            covariance=self._covariance.copy(),
            linear_m_s=rate * (axes @ motion[:3, 3]),
            angular_rad_s=rate * (axes @ _axis_angle(motion[:3, :3])),
            twist_covariance=rate**2 * _covariance_of(motion),
        )


def _covariance_of(motion: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (6, 6) of one motion, the same along all axes."""
    length = _SHARE * float(np.linalg.norm(motion[:3, 3])) + _STILL_M
    angle = _SHARE * float(np.linalg.norm(_axis_angle(motion[:3, :3]))) + _STILL_RAD
    return np.diag([length**2] * 3 + [angle**2] * 3)


def _axis_angle(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return axis times angle (3,) of a rotation below 180 degrees."""
    sine = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    length = float(np.linalg.norm(sine)) / 2
    angle = np.arctan2(length, (np.trace(rotation) - 1) / 2)
    return sine / 2 * (angle / length if length > 0 else 1.0)
