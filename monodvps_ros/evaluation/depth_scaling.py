# SPDX-License-Identifier: Apache-2.0
"""The factor that brings a frame's predicted depth to metres before it is measured."""

from collections.abc import Mapping
from enum import Enum

import numpy as np
import torch
from numpy.typing import NDArray

from monodvps_ros.config import ScaleConfig
from monodvps_ros.errors import ConfigError
from monodvps_ros.metrics import DepthProtocol, median_scale
from monodvps_ros.perception.metric_scale import ScaleEstimator, fit_road_height

#: Every n-th pixel in both directions is enough to fit the road.
ROAD_STRIDE = 4


class DepthScaling(str, Enum):
    """Where the factor comes from."""

    NONE = "none"
    MEDIAN = "median"
    CAMERA_HEIGHT = "camera-height"
    LIVE = "live"


class DepthScaler:
    """Finds the factor of each frame and keeps count.

    Args:
        scaling: none takes depth as it is; median fits each frame's median to the truth; camera-height fits a plane
            to the predicted road and compares its distance with the camera's true height, as the live node does; live
            takes the factor with which the node would publish it.
        protocol: pixels that the median is of.
        camera_height_m: true height of the camera above the road; needed for camera-height.

    Raises:
        ConfigError: the camera's height is needed and missing.
    """

    def __init__(self, scaling: DepthScaling, protocol: DepthProtocol, camera_height_m: float | None = None) -> None:
        if scaling is DepthScaling.CAMERA_HEIGHT and camera_height_m is None:
            raise ConfigError(
                "depth scaling 'camera-height' needs the camera's height above the road: --camera-height METRES"
            )
        self.scaling = scaling
        self.protocol = protocol
        self.camera_height_m = camera_height_m
        self.frames = 0
        self.unscaled_frames = 0
        self._log_sum = 0.0
        self._smallest, self._largest = np.inf, 0.0
        self._estimator = ScaleEstimator(ScaleConfig(camera_height_m=camera_height_m or 0.0))

    def start_sequence(self) -> None:
        """Forget the factor measured so far; the next frame does not follow the last one."""
        self._estimator.reset()

    def scale(
        self,
        depth_m: NDArray[np.float32],
        truth_m: NDArray[np.float32],
        road: NDArray[np.bool_] | None,
        intrinsics: NDArray[np.float64] | None,
        metres_per_unit: float | None = None,
    ) -> NDArray[np.float32]:
        """Scale one frame's predicted depth.

        Args:
            depth_m: (H, W) predicted depth, NaN where there is none.
            truth_m: (H, W) true depth in metres, NaN where there is none.
            road: (H, W) true where the prediction says road; needed for camera-height.
            intrinsics: (3, 3) K of the H x W image; needed for camera-height.
            metres_per_unit: with which the node would publish it, None without metres; for live.

        Returns:
            (H, W) metres; all NaN where no factor could be found, which `unscaled_frames` counts.

        Raises:
            ConfigError: camera-height is asked for, and K or the road is not known.
        """
        factor: float | None = 1.0
        if self.scaling is DepthScaling.MEDIAN:
            factor = median_scale(truth_m, depth_m, self.protocol)
        elif self.scaling is DepthScaling.CAMERA_HEIGHT:
            factor = self._from_road(depth_m, road, intrinsics)
        elif self.scaling is DepthScaling.LIVE:
            factor = metres_per_unit
        if factor is None:
            self.unscaled_frames += 1
            return np.full_like(depth_m, np.nan)
        self.frames += 1
        self._log_sum += float(np.log(factor))
        self._smallest, self._largest = min(self._smallest, factor), max(self._largest, factor)
        return depth_m if factor == 1.0 else depth_m * np.float32(factor)

    def state(self) -> dict[str, float]:
        """Return what `summary` is made from, for `add_state`."""
        return {
            "frames": self.frames,
            "unscaled_frames": self.unscaled_frames,
            "log_sum": self._log_sum,
            "smallest": self._smallest if self.frames else 0.0,
            "largest": self._largest,
        }

    def add_state(self, state: Mapping[str, float]) -> None:
        """Add the factors of other frames."""
        self.unscaled_frames += int(state["unscaled_frames"])
        if state["frames"]:
            self.frames += int(state["frames"])
            self._log_sum += state["log_sum"]
            self._smallest = min(self._smallest, state["smallest"])
            self._largest = max(self._largest, state["largest"])

    def summary(self) -> dict[str, float | int | None]:
        """Say in numbers what was done: the factor's geometric mean, least and greatest."""
        known = self.frames > 0
        return {
            "camera_height_m": self.camera_height_m if self.scaling is DepthScaling.CAMERA_HEIGHT else None,
            "frames": self.frames,
            "unscaled_frames": self.unscaled_frames,
            "factor_mean": float(np.exp(self._log_sum / self.frames)) if known else None,
            "factor_min": float(self._smallest) if known else None,
            "factor_max": float(self._largest) if known else None,
        }

    def _from_road(
        self, depth_m: NDArray[np.float32], road: NDArray[np.bool_] | None, intrinsics: NDArray[np.float64] | None
    ) -> float | None:
        if road is None or intrinsics is None:
            missing = "a class named road in the predictions" if road is None else "the camera's intrinsics"
            raise ConfigError(f"depth scaling 'camera-height' needs {missing}; take --depth-scaling median or none")
        known = (np.isfinite(depth_m) & (depth_m > 0) & road)[::ROAD_STRIDE, ::ROAD_STRIDE]
        v, u = np.nonzero(known)
        pixels = np.stack([u * ROAD_STRIDE, v * ROAD_STRIDE, np.ones_like(u)], axis=1)
        rays = torch.from_numpy(pixels @ np.linalg.inv(intrinsics).T)
        inverse_depth = torch.from_numpy(1.0 / depth_m[::ROAD_STRIDE, ::ROAD_STRIDE][known].astype(np.float64))
        measured = None
        if len(u):
            fit = fit_road_height(inverse_depth, rays, torch.ones(len(u), dtype=torch.float64)).tolist()
            measured = (fit[0], fit[1], fit[2], fit[3])
        estimate = self._estimator.update(measured, len(u) * ROAD_STRIDE**2)
        return estimate.factor if estimate.is_known else None
