# SPDX-License-Identifier: Apache-2.0
"""Masks of tracked objects, propagated while an object is occluded, fully or partly.

An object that passes behind another shrinks before it disappears, and reappears on the other side. So its full mask is
kept, from the last frame in which it was not much smaller than before, and moved by the object's own motion.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Masks are remembered at every second pixel in both directions.
STRIDE = 2
#: A mask that is at least this share of the remembered one replaces it: the object is visible in full.
VISIBLE_IN_FULL = 0.9
#: Factor of the remembered area per frame, so that an object may recede.
SHRINK = 0.97
#: Share of the newest displacement in the smoothed one.
NEWEST = 0.5


class _Rows(NamedTuple):
    """What is remembered of each track, a row each."""

    masks: Tensor  # (N, h, w) bool
    area: Tensor
    shift: Tensor  # (dx, dy) since the mask was taken, pixels of the map
    motion: Tensor  # (dx, dy) a frame, smoothed
    center: Tensor  # (x, y) where last seen


class RememberedMasks:
    """One mask, displacement and motion for each track on maps of `size` (h, w), in the tracker's row order."""

    def __init__(self, size: tuple[int, int] | torch.Size, device: torch.device) -> None:
        grid = -(-size[0] // STRIDE), -(-size[1] // STRIDE)
        masks = torch.zeros((0, *grid), dtype=torch.bool, device=device)
        self._rows = _Rows(masks, torch.zeros(0, device=device), *torch.zeros((3, 0, 2), device=device))

    def update(self, tracks: Tensor, count: int, flow_px: Tensor | None) -> None:
        """Update with a frame.

        Args:
            tracks: (h, w) int64, row + 1 of the track seen at each pixel, 0 for none.
            count: number of tracks; new ones are the last rows.
            flow_px: (2, h, w) from this frame to the previous one; None: use the motion of the mask centres.
        """
        self._grow(count)
        if count == 0:
            return
        old = self._rows
        area, center, displacement = self._measure(tracks, count, flow_px)
        seen = area > 0
        known = old.area > 0
        if flow_px is None:
            displacement = torch.where((seen & known)[:, None], center - old.center, 0.0)
        fresh = seen & known & (old.motion == 0).all(1)
        blend = torch.where(fresh, 1.0, NEWEST)[:, None]
        motion = torch.where(
            (seen & (known | (flow_px is not None)))[:, None],
            torch.where(known[:, None], old.motion + blend * (displacement - old.motion), displacement),
            old.motion,
        )
        shrunk = old.area * SHRINK
        in_full = seen & (area >= VISIBLE_IN_FULL * shrunk)
        small = tracks[::STRIDE, ::STRIDE]
        ids = torch.arange(1, count + 1, device=tracks.device)
        masks = old.masks
        if tracks.device.type == "cpu":  # update only the masks that change
            changed = in_full.nonzero()[:, 0]
            masks[changed] = small == ids[changed, None, None]
        else:
            masks = torch.where(in_full[:, None, None], small == ids[:, None, None], masks)
        self._rows = _Rows(
            masks=masks,
            area=torch.where(in_full, area, shrunk),
            shift=torch.where(in_full[:, None], 0.0, old.shift + motion),
            motion=motion,
            center=torch.where(seen[:, None], center, old.center + motion),
        )

    def overlap(self, rows: NDArray[np.int64], instances: Tensor, capacity: int) -> NDArray[np.float64]:
        """Compare masks moved by one more frame of their motion with this frame's instances.

        Returns:
            (R, K) shared area of the (R,) rows and the instances 1..K of the (h, w) map over the smaller of both, 0..1.
        """
        chosen = torch.from_numpy(rows).to(instances.device)
        carried = self._carried(chosen).flatten(1).float()
        small = instances[::STRIDE, ::STRIDE].flatten()
        shared = torch.zeros((len(rows), capacity + 1), device=small.device)
        shared.scatter_add_(1, small.expand(len(rows), -1), carried)
        detected = torch.bincount(small, minlength=capacity + 1).float()
        smaller = torch.minimum(carried.sum(1)[:, None], detected[None])
        return (shared / smaller.clamp(min=1.0))[:, 1:].double().cpu().numpy()

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop all rows that are not true."""
        chosen = torch.from_numpy(np.flatnonzero(rows)).to(self._rows.area.device)
        self._rows = _Rows(*(part[chosen] for part in self._rows))

    def _grow(self, count: int) -> None:
        added = count - self._rows.area.shape[0]
        if added:
            self._rows = _Rows(*(torch.cat((part, part.new_zeros((added, *part.shape[1:])))) for part in self._rows))

    def _carried(self, rows: Tensor) -> Tensor:
        height, width = self._rows.masks.shape[1:]
        shift = ((self._rows.shift[rows] + self._rows.motion[rows]) / STRIDE).round().long()
        y = torch.arange(height, device=rows.device) - shift[:, 1:]
        x = torch.arange(width, device=rows.device) - shift[:, :1]
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        index = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None, :]
        return self._rows.masks[rows].flatten(1).gather(1, index.flatten(1)).view_as(inside) & inside

    def _measure(self, tracks: Tensor, count: int, flow_px: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        flat = tracks.flatten()
        height, width = tracks.shape
        area = torch.bincount(flat, minlength=count + 1)[1:].float()
        y = torch.arange(height, device=flat.device).repeat_interleave(width)
        x = torch.arange(width, device=flat.device).repeat(height)
        parts = [x.float(), y.float()]
        if flow_px is not None:
            parts += [-part.flatten().float().nan_to_num() for part in flow_px]
        sums = [torch.bincount(flat, part, minlength=count + 1)[1:] for part in parts]
        means = torch.stack(sums, 1).float() / area.clamp(min=1.0)[:, None]
        return area, means[:, :2], means[:, 2:]
