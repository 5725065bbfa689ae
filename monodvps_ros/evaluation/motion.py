# SPDX-License-Identifier: Apache-2.0
"""Which pixels move over the ground, from the truth of a frame: its flow, its depth, and where the camera was."""

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.types import Sample

#: A pixel moves where its true flow is off the flow of a standing point by more; true flow and poses are exact.
LEAST_MOTION_PX = 0.1


class MotionFinder:
    """Compares the flow of each pixel with that which the camera's own motion would give it."""

    def __init__(self) -> None:
        self._before: tuple[str, int] | None = None
        self._world_from_camera: NDArray[np.float64] | None = None

    def find(self, sample: Sample) -> NDArray[np.int8] | None:
        """Find the moving pixels of the next frame; frames of a sequence come in time order.

        Returns:
            (H, W) int8: 1 moves over the ground, 0 stands, -1 is not known; None where truth or K do not tell, or
            where the previous frame was left out, to which the flow points.
        """
        truth, intrinsics = sample.truth, sample.frame.intrinsics
        follows = self._before == (sample.sequence, sample.index - 1)
        before = self._world_from_camera if follows else None
        self._before, self._world_from_camera = (sample.sequence, sample.index), truth.world_from_camera
        if before is None or truth.world_from_camera is None or intrinsics is None:
            return None
        if truth.flow_px is None or truth.depth_m is None:
            return None
        before_from_now = np.linalg.inv(before) @ truth.world_from_camera
        return moving_pixels(truth.depth_m, truth.flow_px, intrinsics, before_from_now)


def moving_pixels(
    depth_m: NDArray[np.float32],
    flow_px: NDArray[np.float32],
    intrinsics: NDArray[np.float64],
    before_from_now: NDArray[np.float64],
) -> NDArray[np.int8]:
    """Say which pixels move over the ground.

    Args:
        depth_m: (H, W) metres, NaN where there is none.
        flow_px: (H, W, 2) (dx, dy) from this frame to the previous one, NaN where there is none.
        intrinsics: (3, 3) K of both frames.
        before_from_now: (4, 4) carries points of this frame's camera into the previous one's.

    Returns:
        (H, W) int8: 1 moves, 0 stands, -1 is not known. What moves along its own line of sight looks as if it stood
        where the camera moves along that line too.
    """
    height, width = depth_m.shape
    v, u = np.mgrid[:height, :width].astype(np.float64)
    rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T
    points = (rays * depth_m[..., None]) @ before_from_now[:3, :3].T + before_from_now[:3, 3]
    ahead = points[..., 2] > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = (points @ intrinsics.T)[..., :2] / points[..., 2:]
        off = np.linalg.norm(pixels - np.stack([u, v], axis=-1) - flow_px, axis=-1)
    return np.where(np.isfinite(off) & ahead, off > LEAST_MOTION_PX, -1).astype(np.int8)
