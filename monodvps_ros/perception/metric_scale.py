# SPDX-License-Identifier: Apache-2.0
"""Metric scale from a known camera height: the height above the road plane in the network's depth is compared with it.

Petrovai & Nedevschi, section 3.4, use the median height of road points, which assumes a level camera; here the plane
itself is fitted, so pitch and roll are allowed. A plane n . X = h seen through a pinhole is linear in inverse
depth: 1 / z = (n / h) . ray, so the fit is three unknowns over pixels, and h = 1 / |n / h|.
"""

import math
from collections import deque
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.config import ScaleConfig
from monodvps_ros.geometry.resizing import resize_live
from monodvps_ros.outputs import ScaleEstimate, ScaleState
from monodvps_ros.perception import code_maps
from monodvps_ros.shapes import check_shapes

#: Iterations of reweighting (Tukey's biweight), more than convergence needs.
ROUNDS = 6
#: Every n-th pixel of the network's map in both directions is sampled for the road.
ROAD_STRIDE = 4
#: Tukey's constant: full efficiency of 95 % for normal errors, in standard deviations.
TUKEY = 4.685
#: A road steeper than this against the camera's x-z plane is rejected.
MAX_TILT_DEG = 25.0
#: Relative error at which confidence is halved.
GOOD_ERROR = 0.05
#: Lower bound of a measurement's relative error.
LEAST_ERROR = 0.002
#: Beyond this many standard errors a measurement counts as a change of the network's scale.
JUMP = 3.0
#: Measurements of the road that metric weights are compared with, by their median; fewer raise no doubt.
COMPARED = 51
#: Metric weights are in doubt where their scale and the road's differ by more than this factor.
DOUBTFUL = 1.25


def fit_road_plane(inverse_depth: Tensor, rays: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a plane to road pixels.

    Args:
        inverse_depth: (N,) float, 1 / z in the network's unit.
        rays: (N, 3) float, K^-1 (u, v, 1) of each pixel.
        weight: (N,) float, 1 for road pixels that count, 0 for others.

    Returns:
        All float64: n (3,) with n . X = 1 for points X of the plane in the unit of the depth, 0 where there is none;
        relative spread of the residuals (), robust; share of road pixels that agree with the plane ().

    Source: ours; Tukey's biweight (Beaton & Tukey 1974) with the median absolute deviation as scale.
    """
    check_shapes(inverse_depth=(inverse_depth, "N"), rays=(rays, "N 3"), weight=(weight, "N"))
    if code_maps.follows_data(weight) and weight.any():  # pixels of no weight change nothing
        counted = weight.nonzero()[:, 0]
        inverse_depth, rays, weight = (part.index_select(0, counted) for part in (inverse_depth, rays, weight))
    target, rows = inverse_depth.double(), rays.double()
    road = weight.double() * (target > 0)
    ridge = 1e-12 * torch.eye(3, dtype=torch.float64, device=rows.device)
    # Relative residuals: a network's error grows with the depth, so each pixel counts by its own inverse depth.
    # Near the horizon that would be without bound, so beyond ten times the median depth it no longer grows.
    unit = target.clamp(min=1e-9).maximum(0.1 * _weighted_median(target, road).nan_to_num(1.0))
    relative = road / unit.square()
    influence = torch.ones_like(target)
    plane, spread, residual = rows.new_zeros(3), rows.new_zeros(()), torch.zeros_like(target)
    for _ in range(ROUNDS):
        weighted = rows * (relative * influence)[:, None]
        normal_matrix = weighted.T @ rows
        trace = normal_matrix.diagonal().sum().clamp(min=1e-30)
        # solve_ex, since solve waits to learn whether the matrix is singular, which the ridge prevents
        plane = torch.linalg.solve_ex(normal_matrix / trace + ridge, weighted.T @ target / trace).result
        residual = (rows @ plane - target).abs() / unit
        spread = _weighted_median(residual, road) * 1.4826
        cut = (TUKEY * spread).clamp(min=1e-6)
        influence = (1.0 - (residual / cut).square()).clamp(min=0.0).square()
    agree = (road * (residual <= (3.0 * spread).clamp(min=LEAST_ERROR))).sum() / road.sum().clamp(min=1.0)
    return plane, spread, agree


def fit_road_height(inverse_depth: Tensor, rays: Tensor, weight: Tensor) -> Tensor:
    """Measure the camera's height above the road plane; arguments are those of `fit_road_plane`.

    Returns:
        (4,) float64: height in the network's unit; spread and agreement as `fit_road_plane` returns them; tilt of the
        plane's normal against the camera's y axis in degrees. The height is NaN where there is no plane.
    """
    plane, spread, agree = fit_road_plane(inverse_depth, rays, weight)
    length = plane.norm()
    tilt = torch.rad2deg(torch.acos((plane[1] / length.clamp(min=1e-30)).clamp(-1.0, 1.0)))
    height = torch.where(length > 0, 1.0 / length.clamp(min=1e-30), torch.nan)
    return torch.stack((height, spread, agree, tilt))


def fit_road(inverse_depth: Tensor, is_road: Tensor, rays: Tensor) -> Tensor:
    """Measure the camera's height by the road of an (h, w) map, sampled at every ROAD_STRIDE-th pixel.

    Args:
        inverse_depth: (1, 1, H, W) of any size.
        is_road: (h, w) bool.
        rays: (N, 3) of the sampled pixels, as for `fit_road_plane`.

    Returns:
        (5,) float64: what `fit_road_height` returns, and the number of pixels of road.
    """
    road = is_road[::ROAD_STRIDE, ::ROAD_STRIDE].flatten().float()
    sampled = resize_live(inverse_depth, (is_road.shape[0], is_road.shape[1]))[0, 0, ::ROAD_STRIDE, ::ROAD_STRIDE]
    points = road.sum() * ROAD_STRIDE**2
    return torch.cat((fit_road_height(sampled.flatten(), rays, road), points.double()[None]))


def find_road_plane(depth_m: Tensor, rays: Tensor, is_road: Tensor, min_points: int) -> NDArray[np.float64] | None:
    """Find the road in a depth map, sampled at every ROAD_STRIDE-th pixel.

    Args:
        depth_m: (h, w) float32 metres, NaN where there is none.
        rays: (2, h, w) float32, x / z and y / z.
        is_road: (h, w) bool.
        min_points: pixels of road below which it is not measured.

    Returns:
        (3,) n with n . X = 1 for points X of the road, optical frame, metres; None where there is too little of it, or
        it is steeper than MAX_TILT_DEG.
    """
    depth_m, rays, is_road = (part[..., ::ROAD_STRIDE, ::ROAD_STRIDE] for part in (depth_m, rays, is_road))
    road = (is_road & torch.isfinite(depth_m)).flatten()
    if int(road.sum()) * ROAD_STRIDE**2 < min_points:
        return None
    rows = torch.cat((rays, torch.ones_like(rays[:1]))).flatten(1).T[road]
    plane = fit_road_plane(depth_m.flatten()[road].reciprocal(), rows, torch.ones_like(rows[:, 0]))[0].cpu().numpy()
    length = float(np.linalg.norm(plane))
    return plane if length > 0 and plane[1] / length > math.cos(math.radians(MAX_TILT_DEG)) else None


def why_unknown(config: ScaleConfig, has_intrinsics: bool) -> str:
    """Say why the scale of a frame is unknown, and what to do.

    Args:
        config: of the scale.
        has_intrinsics: whether K of the camera is known.
    """
    if config.mode == "none":
        return "scale.mode is 'none'; set it to auto"
    if not has_intrinsics:
        return "K of the camera is not known; publish or give its camera_info"
    if config.camera_height_m == 0.0 and config.mode == "camera_height":
        return "scale.mode is 'camera_height' but it is 0; set scale.camera_height_m"
    if config.camera_height_m == 0.0:
        return (
            "the weights are not metric, and the camera's height is not given; set scale.camera_height_m, "
            "or use metric weights such as 'street'"
        )
    return "no road has been seen whose distance could be compared with scale.camera_height_m; point the camera at it"


def why_doubtful(camera_height_m: float, road_ratio: float) -> str:
    """Say that metric weights and the camera's height disagree, and what to check.

    Args:
        camera_height_m: of the configuration.
        road_ratio: of `ScaleEstimate`.
    """
    return (
        f"by the depth of the metric weights the camera is {camera_height_m / road_ratio:.2f} m above the road, but "
        f"scale.camera_height_m is {camera_height_m:.2f} m; check scale.camera_height_m; if it is right, depth should "
        f"be {road_ratio:.2f} times as large: set scale.mode to camera_height"
    )


class ScaleEstimator:
    """Filters measured heights into a steady metric scale that follows changes of the network's own scale.

    A Kalman filter on the logarithm of the factor: `drift` is its random walk per frame; the spread of the road's
    residuals gives the variance of a measurement. Where metric weights give the scale, the road is compared with them.
    """

    def __init__(self, config: ScaleConfig) -> None:
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Discard the estimate."""
        self._log_factor = 0.0
        self._variance = math.inf
        self._confidence = 0.0  # of the last measurement
        self._ratios = deque[float](maxlen=COMPARED)

    @property
    def needs_road(self) -> bool:
        """Whether `update` needs a measurement."""
        return self.config.mode in ("auto", "camera_height") and self.config.camera_height_m > 0.0

    def update(
        self,
        measurement: tuple[float, float, float, float] | None,
        road_points: int,
        metric_factor: float | None = None,
    ) -> ScaleEstimate:
        """Update with one frame.

        Args:
            measurement: from `fit_road_height`; None without a road to measure.
            road_points: number of road pixels that it was measured from.
            metric_factor: metres per unit of a metric network's depth for this camera; None where it is not known. In
                mode auto it is what counts, and the road is only compared with it.

        Returns:
            The factor to apply to this frame's depth.
        """
        self._variance += self.config.drift**2
        if measurement is not None and self.needs_road and road_points >= self.config.min_road_points:
            self._measure(*measurement, road_points, metric_factor)
        return self.estimate(metric_factor)

    def estimate(self, metric_factor: float | None = None) -> ScaleEstimate:
        """Return the estimate as it is; `metric_factor` as of `update`."""
        if self.config.mode == "none":
            return ScaleEstimate(1.0, 0.0, ScaleState.UNKNOWN)
        if self.config.mode == "fixed":
            return ScaleEstimate(self.config.fixed_factor, 1.0, ScaleState.FIXED)
        if self.config.mode == "auto" and metric_factor is not None:
            return self._compared(ScaleEstimate(metric_factor, 1.0, ScaleState.METRIC))
        if math.isinf(self._variance):
            return ScaleEstimate(1.0, 0.0, ScaleState.UNKNOWN)
        confidence = self._confidence / (1.0 + self._variance / GOOD_ERROR**2)
        return ScaleEstimate(math.exp(self._log_factor), confidence, ScaleState.ROAD)

    def _compared(self, estimate: ScaleEstimate) -> ScaleEstimate:
        """Return an estimate by metric weights with what the road says of it, if it has been measured."""
        if not self._ratios:
            return estimate
        ratio = median(self._ratios)
        is_doubtful = len(self._ratios) == COMPARED and not 1.0 / DOUBTFUL <= ratio <= DOUBTFUL
        doubt = why_doubtful(self.config.camera_height_m, ratio) if is_doubtful else ""
        return replace(estimate, road_ratio=ratio, doubt=doubt)

    def _measure(
        self,
        height: float,
        spread: float,
        agree: float,
        tilt_deg: float,
        road_points: int,
        metric_factor: float | None,
    ) -> None:
        if not (math.isfinite(height) and height > 0 and math.isfinite(spread)) or tilt_deg > MAX_TILT_DEG:
            return
        confidence = agree / (1.0 + (spread / GOOD_ERROR) ** 2)
        if confidence < 0.1:
            return
        if self.config.mode == "auto" and metric_factor is not None:
            self._ratios.append(self.config.camera_height_m / (height * metric_factor))
            return
        self._confidence = confidence
        # Neighbouring residuals go together: only every min_road_points-th pixel counts as a measurement of its own.
        error = spread**2 * self.config.min_road_points / road_points + LEAST_ERROR**2
        measured = math.log(self.config.camera_height_m / height)
        off = measured - self._log_factor
        if math.isinf(self._variance) or off**2 > JUMP**2 * (self._variance + error):
            self._log_factor, self._variance = measured, error  # the first one, or the network's scale changed
            return
        gain = self._variance / (self._variance + error)
        self._log_factor += gain * off
        self._variance *= 1.0 - gain


def _weighted_median(values: Tensor, weight: Tensor) -> Tensor:
    """Lower median of the values whose weight is not 0; NaN where there is none."""
    count = (weight > 0).sum()
    ordered = torch.where(weight > 0, values, torch.inf).sort().values
    middle = ((count - 1).clamp(min=0) // 2).reshape(1)
    return torch.where(count > 0, ordered.gather(0, middle)[0], torch.nan)
