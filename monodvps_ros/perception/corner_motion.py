# SPDX-License-Identifier: Apache-2.0
"""Motion of the camera from corners that are tracked between two frames.

The essential matrix of the corners gives the rotation and the direction of the step. Its length comes from the corners
of the road where the camera's height above it is known, taking the camera as level, and from the network's depth
otherwise: each corner says one, and the median counts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.outputs import ScaleEstimate
from monodvps_ros.perception.flow import to_gray
from monodvps_ros.perception.views import View

#: Corners that are looked for, how far apart and how much weaker than the best, by OpenCV's measure.
_CORNERS, _APART_PX, _QUALITY = 1200, 6.0, 0.005
_WINDOW, _LEVELS = (21, 21), 3
#: Fewer corners say nothing; corners that moved less on average stand still.
_FEWEST, _STILL_PX = 20, 0.1
#: Corners that do not come back to where they are do not count.
_RETURN_PX = 0.5
_RANSAC_PX, _CONFIDENCE = 0.3, 0.999
#: Corners farther from their epipolar line do not count for the length of the step.
_OFF_LINE_PX = 0.5
#: Depths beyond say little of a step, those of the road less than others; nearer points are not carried.
_FARTHEST_M, _FARTHEST_ROAD_M, _NEAREST_M = 80.0, 20.0, 0.5

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Tracks:
    """Corners that were found in both images.

    Attributes:
        here: (N, 2) x, y in this image.
        there: (N, 2) x, y in the one before.
        depth_m: (N,) along the optical axis of this camera.
    """

    here: Points
    there: Points
    depth_m: NDArray[np.float64]


@dataclass(frozen=True, eq=False, slots=True)
class Direction:
    """A motion but for the length of its step.

    Attributes:
        rotation: (3, 3) from this camera to the one before.
        step: (3,) of length 1, in the axes of the camera before; 0 at standstill.
    """

    rotation: NDArray[np.float64]
    step: NDArray[np.float64]

    def motion(self, length_m: float) -> NDArray[np.float64]:
        """Return (4, 4), which carries points of this camera into the one before."""
        motion = np.eye(4)
        motion[:3, :3], motion[:3, 3] = self.rotation, length_m * self.step
        return motion


class CornerMotion:
    """Motion from tracked corners of what stands still."""

    needs_intrinsics, problem = True, ""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin with the next view."""
        self._before: NDArray[np.uint8] | None = None
        self._last: NDArray[np.float64] | None = None

    def since_last(self, view: View, scale: ScaleEstimate) -> NDArray[np.float64] | None:
        """Return the motion since the view before.

        Args:
            view: with K.
            scale: metres per unit of depth.

        Returns:
            (4, 4): carries points of this camera into the one before, metres; None at first, without K, and where too
            few corners agree.
        """
        gray = to_gray(view.image * 255.0)
        before, self._before = self._before, gray
        last, self._last = self._last, None
        matrix = view.intrinsics
        if before is None or matrix is None or before.shape != gray.shape:
            return None

        def tracked(allowed: Tensor, depth_at: Callable[[Points], NDArray[np.float64]]) -> Tracks:
            here = find_corners(gray, allowed.cpu().numpy())
            depth_m = depth_at(here)
            guess = here if last is None else carried(here, depth_m, last, matrix)
            there, found = track_corners(before, gray, here, guess)
            return Tracks(here[found], there[found], depth_m[found])

        tracks = tracked(view.is_static, lambda here: _network_depth(here, view, scale))
        turned = direction_of(tracks, matrix)
        if turned is None:
            return None
        if not turned.step.any():
            return turned.motion(0.0)
        step_m = None
        if view.camera_height_m > 0.0:
            road = tracked(view.is_road, lambda here: _road_depth(here, view.camera_height_m, matrix))
            step_m = step_length(road, matrix, turned)
        if step_m is None:
            step_m = step_length(tracks, matrix, turned)
        if step_m is None:
            return None
        self._last = turned.motion(step_m)
        return self._last


def find_corners(gray: NDArray[np.uint8], allowed: NDArray[np.bool_]) -> Points:
    """Return the corners of an image.

    Args:
        gray: (H, W) uint8.
        allowed: (H, W) where corners may lie.

    Returns:
        (N, 2) x, y.
    """
    found = cv2.goodFeaturesToTrack(gray, _CORNERS, _QUALITY, _APART_PX, mask=allowed.astype(np.uint8))
    return np.zeros((0, 2)) if found is None else found[:, 0].astype(np.float64)


def track_corners(
    before: NDArray[np.uint8], gray: NDArray[np.uint8], here: Points, guess: Points
) -> tuple[Points, NDArray[np.bool_]]:
    """Find corners of an image in the one before.

    Args:
        before: (H, W) uint8.
        gray: (H, W) uint8.
        here: (N, 2) x, y in `gray`.
        guess: (N, 2) x, y in `before`, about where they were.

    Returns:
        (N, 2) x, y in `before`; (N,) whether they are found, and found again from there.

    Source: Lucas and Kanade 1981, in pyramids, by OpenCV.
    """
    if not len(here):
        return here, np.zeros(0, np.bool_)
    start = np.ascontiguousarray(here[:, None], np.float32)
    there, found = _tracked(gray, before, start, np.ascontiguousarray(guess[:, None], np.float32))
    again, found_again = _tracked(before, gray, there.copy(), start.copy())
    returned = np.linalg.norm(again - start, axis=2)[:, 0] < _RETURN_PX
    return there[:, 0].astype(np.float64), found & found_again & returned


def _tracked(
    image: NDArray[np.uint8], other: NDArray[np.uint8], start: NDArray[np.float32], guess: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    there, found, _ = cv2.calcOpticalFlowPyrLK(
        image, other, start, guess, winSize=_WINDOW, maxLevel=_LEVELS, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
    )
    return np.asarray(there, np.float32), found[:, 0] == 1


def carried(
    here: Points, depth_m: NDArray[np.float64], motion: NDArray[np.float64], intrinsics: NDArray[np.float64]
) -> Points:
    """Return where points (N, 2) with depths (N,) are seen after a motion (4, 4); unmoved where that is behind it."""
    moved = _in_camera(here, depth_m, intrinsics) @ motion[:3, :3].T + motion[:3, 3]
    in_front = moved[:, 2:] > _NEAREST_M
    seen = moved[:, :2] / np.where(in_front, moved[:, 2:], 1.0) * _focal(intrinsics) + intrinsics[:2, 2]
    return np.where(in_front, seen, here)


def direction_of(tracks: Tracks, intrinsics: NDArray[np.float64]) -> Direction | None:
    """Find rotation and direction of the step of a motion.

    Args:
        tracks: corners of what stands still; others are outvoted. Their depth is not looked at.
        intrinsics: (3, 3) K of both images.

    Returns:
        None where too few corners agree on one.

    Source: Nistér 2004 (five points) and RANSAC for the essential matrix, by OpenCV.
    """
    here, there = tracks.here, tracks.there
    if len(here) < _FEWEST:
        return None
    if np.median(np.linalg.norm(here - there, axis=1)) < _STILL_PX:
        return Direction(np.eye(3), np.zeros(3))
    essential, agrees = cv2.findEssentialMat(here, there, intrinsics, cv2.RANSAC, _CONFIDENCE, _RANSAC_PX)
    if essential is None or essential.shape != (3, 3) or agrees.sum() < _FEWEST:
        return None
    _, rotation, step, _ = cv2.recoverPose(essential, here, there, intrinsics, mask=agrees)
    return Direction(rotation.astype(np.float64), step[:, 0].astype(np.float64))


def step_length(tracks: Tracks, intrinsics: NDArray[np.float64], direction: Direction) -> float | None:
    """Return the length of a step, by corners with depth.

    Each corner near its epipolar line says a length; they are weighted by how far a metre moves them.

    Args:
        tracks: with depth; not finite or 0 where it is not known.
        intrinsics: (3, 3) K of both images.
        direction: of the motion.

    Returns:
        Metres, 0 or more; None where too few corners say one.
    """
    turned = _in_camera(tracks.here, tracks.depth_m, intrinsics) @ direction.rotation.T
    seen = (tracks.there - intrinsics[:2, 2]) / _focal(intrinsics)
    step = direction.step
    per_metre = step[:2] - seen * step[2]
    missing = seen * turned[:, 2:] - turned[:, :2]
    strength = np.linalg.norm(per_metre, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        lengths = (per_metre * missing).sum(1) / strength**2
        off_line = np.linalg.norm(missing - lengths[:, None] * per_metre, axis=1) / turned[:, 2]
        used = np.isfinite(lengths) & (tracks.depth_m > 0) & (tracks.depth_m < _FARTHEST_M)
        used &= off_line * intrinsics[0, 0] < _OFF_LINE_PX
    if used.sum() < _FEWEST:
        return None
    order = np.argsort(lengths[used])
    weights = np.cumsum(strength[used][order])
    return max(0.0, float(lengths[used][order][np.searchsorted(weights, weights[-1] / 2)]))


def _network_depth(corners: Points, view: View, scale: ScaleEstimate) -> NDArray[np.float64]:
    """Return the depth (N,) in metres that the network says."""
    inverse_depth, (height, width) = view.inverse_depth[0, 0].cpu().numpy(), view.image.shape[-2:]
    rows = (corners[:, 1] * (inverse_depth.shape[0] / height)).astype(np.intp)
    columns = (corners[:, 0] * (inverse_depth.shape[1] / width)).astype(np.intp)
    depth_m: NDArray[np.float64] = scale.factor / np.maximum(inverse_depth[rows, columns].astype(np.float64), 1e-9)
    return depth_m


def _road_depth(corners: Points, camera_height_m: float, intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the depth (N,) in metres of a level road under a level camera; 0 where it says little."""
    down = (corners[:, 1] - intrinsics[1, 2]) / intrinsics[1, 1]
    depth_m = camera_height_m / np.maximum(down, 1e-9)
    return np.where(depth_m < _FARTHEST_ROAD_M, depth_m, 0.0)


def _in_camera(points: Points, depth_m: NDArray[np.float64], intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (N, 3) of points (N, 2) with depths (N,)."""
    rays = np.column_stack(((points - intrinsics[:2, 2]) / _focal(intrinsics), np.ones(len(points))))
    return rays * depth_m[:, None]


def _focal(intrinsics: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([intrinsics[0, 0], intrinsics[1, 1]], np.float64)
