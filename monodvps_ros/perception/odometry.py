# SPDX-License-Identifier: Apache-2.0
"""Visual odometry: the motion of the camera between frames, composed into a pose, in metres."""

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.config import OdometryConfig
from monodvps_ros.geometry import canonical_factor, motion_of_camera, transform_from_axis_angle
from monodvps_ros.network import PoseNetwork
from monodvps_ros.outputs import Odometry, ScaleEstimate
from monodvps_ros.perception.corner_motion import CornerMotion
from monodvps_ros.perception.views import View

#: Axes of a robot (x forward, y left, z up; REP 103) from those of an optical frame (x right, y down, z forward).
BODY_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
# Standard deviation of one motion: a share of it, and what there is of it at standstill.
_SHARE, _STILL_M, _STILL_RAD = 0.2, 0.01, 0.002


class MotionSource(Protocol):
    """Sees how the camera moved from view to view.

    Attributes:
        needs_intrinsics: whether it takes K.
        problem: why the last motion counts for nothing, as if its view had not been; empty where there is none.
    """

    needs_intrinsics: bool
    problem: str

    def reset(self) -> None:
        """Begin with the next view."""
        ...

    def since_last(self, view: View, scale: ScaleEstimate) -> NDArray[np.float64] | None:
        """Return (4, 4), which carries points of this camera into the one before, metres; None where it is not seen."""
        ...


class NetworkMotion:
    """What the pose network of the weights sees.

    Args:
        pose_network: on the device of the images, in evaluation mode.
        canonical_focal_px: of the network beside it; 0 where its depth is up to scale.
    """

    needs_intrinsics = False

    def __init__(self, pose_network: PoseNetwork, canonical_focal_px: float) -> None:
        self._network, self._canonical = pose_network, canonical_focal_px
        self.reset()

    def reset(self) -> None:
        """Begin with the next view."""
        self._before: Tensor | None = None
        self.problem = ""

    def since_last(self, view: View, scale: ScaleEstimate) -> NDArray[np.float64] | None:
        """Return (4, 4), which carries points of this camera into the one before, metres; None at first."""
        self.problem = ""
        before, self._before = self._before, view.image
        if before is None:
            return None
        rotation, translation = (part.float().cpu() for part in self._network(before, view.image))
        factor = scale.factor
        if self._canonical and view.intrinsics is not None:
            rotation, translation = motion_of_camera(
                rotation, translation, torch.from_numpy(view.intrinsics).float()[None], self._canonical
            )
            factor /= float(canonical_factor(view.intrinsics, self._canonical))  # the scale may correct the metric one
        moved = transform_from_axis_angle(rotation.double(), factor * translation.double(), invert=True)[0].numpy()
        if not np.isfinite(moved).all():
            self._before = before
            self.problem = "the pose network gave NaN or infinite motion: no odometry for this image"
        return moved


class OdometryEstimator:
    """Composes motions into a pose.

    Args:
        source: sees the motions.
    """

    def __init__(self, source: MotionSource) -> None:
        self._source = source
        self.reset()

    def reset(self) -> None:
        """Begin at the origin, with the next frame."""
        self._source.reset()
        self._stamp_ns: int | None = None
        self._last_motion = np.eye(4)
        self._odom_from_camera = BODY_FROM_OPTICAL
        self.problem = ""
        self._covariance = np.zeros((6, 6))

    def update(self, view: View, scale: ScaleEstimate, config: OdometryConfig, camera_frame: str) -> Odometry | None:
        """Add the motion since the frame before.

        A motion that cannot be seen is taken to be the one before it, and to be as uncertain as it is long.

        Args:
            view: the frame.
            scale: metres per unit of the network's depth; while it is unknown, there is no odometry, and once it is
                known, odometry begins at the origin.
            config: names of the frames.
            camera_frame: optical frame of the image.

        Returns:
            The pose; None while the scale is unknown, without the K that the source needs, and where the numbers of the
            source are not finite: `problem` says so, and the next motion is from the frame before this one.
        """
        if not scale.is_known or (self._source.needs_intrinsics and view.intrinsics is None):
            self.reset()
            return None
        seen = self._source.since_last(view, scale)
        self.problem = self._source.problem
        if self.problem:
            return None
        before, self._stamp_ns = self._stamp_ns, view.stamp_ns
        motion = self._last_motion = self._last_motion if seen is None else seen
        covariance = _covariance_of(motion, _SHARE if seen is not None else 1.0)
        if before is None:
            return self._odometry(motion, covariance, 0.0, config, camera_frame)
        self._compose(motion, covariance)
        return self._odometry(motion, covariance, 1e-9 * (view.stamp_ns - before), config, camera_frame)

    def _compose(self, motion: NDArray[np.float64], covariance: NDArray[np.float64]) -> None:
        before = self._odom_from_camera
        self._odom_from_camera = before @ motion
        # An error of the attitude so far turns the step; to first order, d' = d + a x step.
        x, y, z = before[:3, :3] @ motion[:3, 3]
        carry = np.eye(6)
        carry[:3, 3:] = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]
        self._covariance = carry @ self._covariance @ carry.T + covariance

    def _odometry(
        self,
        motion: NDArray[np.float64],
        covariance: NDArray[np.float64],
        seconds: float,
        config: OdometryConfig,
        camera_frame: str,
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
            twist_covariance=rate**2 * covariance,
        )


def make_odometry(
    config: OdometryConfig, pose_network: PoseNetwork | None, canonical_focal_px: float
) -> OdometryEstimator | None:
    """Return the estimator with its configured source; None where that is the pose network and there is none."""
    if config.source == "corners" or (config.source == "auto" and pose_network is None):
        return OdometryEstimator(CornerMotion())
    return None if pose_network is None else OdometryEstimator(NetworkMotion(pose_network, canonical_focal_px))


def _covariance_of(motion: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return (6, 6) of one motion, the same along all axes."""
    length = share * float(np.linalg.norm(motion[:3, 3])) + _STILL_M
    angle = share * float(np.linalg.norm(_axis_angle(motion[:3, :3]))) + _STILL_RAD
    return np.diag([length**2] * 3 + [angle**2] * 3)


def _axis_angle(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return axis times angle (3,) of a rotation below 180 degrees."""
    sine = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    length = float(np.linalg.norm(sine)) / 2
    angle = np.arctan2(length, (np.trace(rotation) - 1) / 2)
    return sine / 2 * (angle / length if length > 0 else 1.0)
