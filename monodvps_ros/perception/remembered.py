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

from monodvps_ros.perception import code_maps
from monodvps_ros.perception.code_maps import look_up, sums
from monodvps_ros.perception.device import to_device, to_host

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
        if code_maps.follows_data(tracks):  # update only the masks that change
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
        chosen = to_device(rows, instances.device)
        small = instances[::STRIDE, ::STRIDE]
        detected = sums(small, capacity + 1).float()
        share = self._share_by_pixel if code_maps.follows_data(small) else self._share_by_mask
        shared = share(chosen, small, capacity + 1).float()
        smaller = torch.minimum(shared.sum(1)[:, None], detected[None])
        (found,) = to_host((shared / smaller.clamp(min=1.0))[:, 1:].double())
        return found

    def _share_by_pixel(self, rows: Tensor, small: Tensor, count: int) -> Tensor:
        """(R, count) pixels of each moved mask by code of `small`; only the pixels of the masks are looked at."""
        row, y, x = self._rows.masks[rows].nonzero(as_tuple=True)
        shift = self._next_shift(rows).index_select(0, row)
        y, x = y + shift[:, 1], x + shift[:, 0]
        inside = (y >= 0) & (y < small.shape[0]) & (x >= 0) & (x < small.shape[1])
        place = (y * small.shape[1] + x)[inside]
        keys = row[inside] * count + look_up(small.flatten(), place)
        return sums(keys[None], len(rows) * count).view(len(rows), count)

    def _share_by_mask(self, rows: Tensor, small: Tensor, count: int) -> Tensor:
        """The same with fixed shapes."""
        height, width = small.shape
        shift = self._next_shift(rows)
        y = torch.arange(height, device=rows.device) - shift[:, 1:]
        x = torch.arange(width, device=rows.device) - shift[:, :1]
        inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None, :]
        index = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None, :]
        carried = self._rows.masks[rows].flatten(1).gather(1, index.flatten(1)) & inside.flatten(1)
        shared = torch.zeros((len(rows), count), device=small.device)
        return shared.scatter_add_(1, small.flatten().expand(len(rows), -1), carried.float())

    def _next_shift(self, rows: Tensor) -> Tensor:
        """(R, 2) dx, dy of masks in this frame, in pixels of the masks."""
        return ((self._rows.shift[rows] + self._rows.motion[rows]) / STRIDE).round().long()

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Drop all rows that are not true."""
        chosen = to_device(np.flatnonzero(rows), self._rows.area.device)
        self._rows = _Rows(*(part[chosen] for part in self._rows))

    def _grow(self, count: int) -> None:
        added = count - self._rows.area.shape[0]
        if added:
            self._rows = _Rows(*(torch.cat((part, part.new_zeros((added, *part.shape[1:])))) for part in self._rows))

    def _measure(self, tracks: Tensor, count: int, flow_px: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        width, ids = tracks.shape[1], tracks.flatten()
        if code_maps.follows_data(ids):  # only the pixels of tracks have to be looked at
            pixels = ids.nonzero()[:, 0]
            ids, shape = ids.index_select(0, pixels), (1, -1)
        else:
            pixels, shape = torch.arange(len(ids), device=ids.device), (-1, width)
        y = pixels.div(width, rounding_mode="floor")
        parts = [torch.ones_like(y), pixels - y * width, y]
        if flow_px is not None:
            parts += [-part.flatten().index_select(0, pixels).nan_to_num() for part in flow_px.float()]
        area, *totals = (sums(ids.view(shape), count + 1, part.view(shape))[1:] for part in parts)
        means = (torch.stack(totals, 1) / area.clamp(min=1.0)[:, None]).float()
        return area.float(), means[:, :2], means[:, 2:]
