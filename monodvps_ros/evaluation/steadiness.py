# SPDX-License-Identifier: Apache-2.0
"""How steady predictions are from frame to frame, without ground truth.

Optical flow (OpenCV's DIS) connects frames; the camera's motion is found from predicted depth and flow by PnP with
RANSAC. A static point's depth is predicted twice: in this frame, moved with the camera, and in the previous one.
"""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from monodvps_ros.labels import LabelSpace
from monodvps_ros.outputs import Perception

#: Points farther away are left out: they say nothing about the camera's translation.
_FARTHEST_M = 60.0
#: Pixels of a grid of this step are looked at.
_STEP = 4
#: Flow there and back must agree to this many pixels.
_FLOW_AGREES_PX = 1.0
_PNP_ERROR_PX = 2.0
_FEWEST_POINTS = 50
#: An instance is followed from frame to frame where its moved mask and the other one overlap by this IoU.
_LEAST_OVERLAP = 0.3
#: An instance stands if its median flow differs by less from that of a static point, in pixels.
_STANDING_PX = 1.0
_FEWEST_FRAMES = 5


@dataclass
class Chain:
    """One instance followed by overlap: frames, ids it had, and how far it moved beside the camera's motion."""

    ids: set[int] = field(default_factory=set)
    frames: int = 0
    off_px: list[float] = field(default_factory=list)

    @property
    def stands(self) -> bool:
        """Whether it stands still on the ground."""
        return bool(self.off_px) and float(np.median(self.off_px)) < _STANDING_PX


@dataclass(frozen=True, eq=False)
class _Frame:
    gray: NDArray[np.uint8]
    depth_m: NDArray[np.float32]
    ids: NDArray[np.int64]
    chains: dict[int, Chain]


class Steadiness:
    """Measures depth and ids over the frames of one sequence, in time order.

    Attributes:
        flicker: for each pair of frames, the median over static pixels of |log(depth / depth expected from the other)|.
        off_px: likewise, of the distance between flow and the flow that depth and camera motion give, in pixels.
        chains: instances that were followed, whatever ids they had.
        skipped: pairs of frames for which the camera's motion was not found.

    Args:
        labels: of the panoptic maps; things and sky are no static pixels.
    """

    def __init__(self, labels: LabelSpace) -> None:
        self._labels = labels
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: _Frame | None = None
        self.flicker: list[float] = []
        self.off_px: list[float] = []
        self.chains: list[Chain] = []
        self.skipped = 0

    def add(self, image: NDArray[np.uint8], perception: Perception) -> None:
        """Take the next frame.

        Args:
            image: (H, W, 3) uint8, of the size of the maps.
            perception: with depth, panoptic map, segments and K.
        """
        assert perception.depth_m is not None and perception.panoptic is not None
        assert perception.segments is not None and perception.intrinsics is not None
        gray = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
        ids = np.zeros(gray.shape, np.int64)
        for segment in perception.segments:
            if segment.is_thing:
                ids[perception.panoptic == segment.panoptic_id] = segment.track_id
        before, now = self._before, _Frame(gray, perception.depth_m, ids, {})
        self._before = now
        residual = None
        if before is not None:
            flow, agrees = self._connect(gray, before.gray)
            stuff = [number for number in range(len(self._labels)) if not self._labels.is_thing[number]]
            static = np.isin(perception.panoptic // 1000, stuff) & agrees
            residual = self._compare(before, now, flow, static, perception.intrinsics)
            self._follow(before, now, flow, residual)
        for number in np.unique(ids[ids > 0]).tolist():
            if number not in now.chains:
                now.chains[number] = Chain({number}, 1)
                self.chains.append(now.chains[number])

    def _connect(
        self, now: NDArray[np.uint8], before: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return the flow to the previous frame, and where the flow back agrees."""
        there = np.asarray(self._flow.calc(now, before, np.zeros((*now.shape, 2), np.float32)), np.float32)
        back = np.asarray(self._flow.calc(before, now, np.zeros((*now.shape, 2), np.float32)), np.float32)
        return there, np.linalg.norm(there + _sampled(back, there), axis=-1) < _FLOW_AGREES_PX

    def _compare(
        self,
        before: _Frame,
        now: _Frame,
        flow: NDArray[np.float32],
        static: NDArray[np.bool_],
        intrinsics: NDArray[np.float64],
    ) -> NDArray[np.float32] | None:
        """Find the camera's motion and compare; return the distance of flow from that of static points, (H, W)."""
        height, width = now.gray.shape
        v, u = np.mgrid[:height, :width].astype(np.float64)
        rays = np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(intrinsics).T
        points, targets = rays * now.depth_m[..., None], np.stack([u, v], axis=-1) + flow
        inside = (targets >= 0).all(-1) & (targets[..., 0] <= width - 1) & (targets[..., 1] <= height - 1)
        used = static & inside & (now.depth_m < _FARTHEST_M)
        grid = np.zeros_like(used)
        grid[::_STEP, ::_STEP] = used[::_STEP, ::_STEP]
        if grid.sum() < _FEWEST_POINTS:
            self.skipped += 1
            return None
        cv2.setRNGSeed(0)
        found, turn, shift, _ = cv2.solvePnPRansac(
            points[grid], targets[grid], intrinsics, None, reprojectionError=_PNP_ERROR_PX, iterationsCount=200
        )
        if not found:
            self.skipped += 1
            return None
        moved = points @ cv2.Rodrigues(turn)[0].T + shift[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            seen = (moved @ intrinsics.T)[..., :2] / moved[..., 2:]
            off = np.linalg.norm(seen - targets, axis=-1)
            change = np.abs(np.log(_sampled(before.depth_m, flow) / moved[..., 2]))
        self.flicker.append(float(np.nanmedian(change[grid])))
        self.off_px.append(float(np.nanmedian(off[grid])))
        return off.astype(np.float32)

    def _follow(
        self, before: _Frame, now: _Frame, flow: NDArray[np.float32], off_px: NDArray[np.float32] | None
    ) -> None:
        """Continue the chain of each instance of the previous frame by what overlaps it most, moved by flow."""
        moved = _sampled(before.ids.astype(np.float32), flow, cv2.INTER_NEAREST).astype(np.int64)
        shares: dict[int, tuple[float, int]] = {}  # earlier id to the share and id of what overlaps it most
        for number in np.unique(now.ids[now.ids > 0]).tolist():
            mask = now.ids == number
            others, counts = np.unique(moved[mask & (moved > 0)], return_counts=True)
            if not len(others):
                continue
            other = int(others[counts.argmax()])
            union = mask.sum() + (moved == other).sum() - counts.max()
            if counts.max() < _LEAST_OVERLAP * union or other not in before.chains:
                continue
            shares[other] = max(shares.get(other, (0.0, 0)), (float(counts.max() / union), number))
        for other, (_, number) in shares.items():
            mask = now.ids == number
            chain = now.chains[number] = before.chains[other]
            chain.ids.add(number)
            chain.frames += 1
            if off_px is not None and np.isfinite(off_px[mask]).any():
                chain.off_px.append(float(np.nanmedian(off_px[mask])))

    def result(self) -> dict[str, float | int | None]:
        """Return the figures; None where nothing was measured.

        Instances count that were followed for at least five frames; `ids_per_standing_instance` is 1 if all kept
        their ids.
        """
        chains = [chain for chain in self.chains if chain.frames >= _FEWEST_FRAMES]
        standing = [chain for chain in chains if chain.stands]
        return {
            "pairs": len(self.flicker),
            "skipped_pairs": self.skipped,
            "flicker": _median(self.flicker),
            "off_px": _median(self.off_px),
            "instances": len(chains),
            "ids_per_instance": _mean([len(chain.ids) for chain in chains]),
            "standing_instances": len(standing),
            "ids_per_standing_instance": _mean([len(chain.ids) for chain in standing]),
            "frames_per_standing_instance": _mean([chain.frames for chain in standing]),
        }


def _sampled(
    values: NDArray[Any], flow: NDArray[np.float32], interpolation: int = cv2.INTER_LINEAR
) -> NDArray[np.float32]:
    """Return values (H, W, ...) of the previous frame at the places that flow points to; NaN outside of it."""
    height, width = flow.shape[:2]
    v, u = np.mgrid[:height, :width].astype(np.float32)
    outside = 0.0 if interpolation == cv2.INTER_NEAREST else float("nan")
    found = cv2.remap(
        values, u + flow[..., 0], v + flow[..., 1], interpolation,
        borderMode=cv2.BORDER_CONSTANT, borderValue=(outside,) * 4,
    )  # fmt: skip
    return np.asarray(found, np.float32)


def _median(values: list[float]) -> float | None:
    return float(np.median(values)) if values else None


def _mean(values: list[int]) -> float | None:
    return float(np.mean(values)) if values else None
