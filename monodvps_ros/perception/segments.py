# SPDX-License-Identifier: Apache-2.0
"""Area, bounding box, score, depth and centroid of each segment of a panoptic map, without loops over segments."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.perception import code_maps
from monodvps_ros.perception.code_maps import sums, sums_by_row
from monodvps_ros.shapes import check_shapes


@dataclass(frozen=True, eq=False)
class SegmentStatistics:
    """One row for each code 0..S-1 of a code map, on its device.

    Attributes:
        area_px: (S,) int64 pixels of the published map.
        box_px: (S, 4) int64 x_min, y_min, x_max, y_max in the published map, ends included; void where the area is 0.
        score: (S,) float64 mean probability of the pixels' classes.
        median_depth_m: (S,) float64; NaN where no pixel has depth.
        centroid_m: (S, 3) float64; NaN where no pixel has depth, or no rays were given.
    """

    area_px: Tensor
    box_px: Tensor
    score: Tensor
    median_depth_m: Tensor
    centroid_m: Tensor


@dataclass(frozen=True, eq=False)
class PublishedGrid:
    """How the pixels of the network's map stand in the published map, which repeats or leaves out rows and columns.

    Attributes:
        rows: (H,) int64, network row of each published row, ascending.
        columns: (W,) int64, network column of each published column, ascending.
        size: (h, w) of the network's map.
    """

    rows: Tensor
    columns: Tensor
    size: tuple[int, int]

    @cached_property
    def spans(self) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Count, first and last published index of each network row, and of each network column."""
        spans = []
        for index, length in ((self.rows, self.size[0]), (self.columns, self.size[1])):
            count = torch.bincount(index, minlength=length)
            end = count.cumsum(0)
            spans.append((count, end - count, end - 1))
        return spans[0], spans[1]


def measure_segments(
    codes: Tensor, count: int, grid: PublishedGrid, probability: Tensor, depth_m: Tensor | None, rays: Tensor | None
) -> SegmentStatistics:
    """Measure all segments of a map.

    Args:
        codes: (h, w) int64 in 0..count-1, at the network's size.
        count: S.
        grid: where the map's pixels stand in the published map; areas and boxes are of that one, exactly.
        probability: (h, w) float of each pixel's class.
        depth_m: (h, w) float32 at the network's size, NaN where there is none; None where there is no depth.
        rays: (2, h, w) float32 x / z and y / z at the network's size; None where K is not known.

    Returns:
        Statistics; depth and centroid are taken over the network's pixels.

    Raises:
        ShapeError: the maps differ in size.
    """
    check_shapes(codes=(codes, "h w"), probability=(probability, "h w"), depth_m=(depth_m, "h w"), rays=(rays, "2 h w"))
    measure = _measure_sorted if code_maps.follows_data(codes) else _measure_scattered
    return SegmentStatistics(*measure(codes, count, grid, probability, depth_m, rays))


def _measure_sorted(
    codes: Tensor, count: int, grid: PublishedGrid, probability: Tensor, depth_m: Tensor | None, rays: Tensor | None
) -> tuple[Tensor, ...]:
    """Measure on a CPU: pixels are brought into the order of their codes, then each segment is one slice to reduce."""
    size = (codes.shape[0], codes.shape[1])
    spans = [tuple(part.numpy() for part in span) for span in grid.spans]
    ids = codes.numpy().astype(np.uint16 if count <= 1 << 16 else np.int64).ravel()
    order = np.argsort(ids, kind="stable")  # by counting, for 16 bits
    number = np.bincount(ids, minlength=count)
    present = np.flatnonzero(number)
    end = np.cumsum(number)
    start = (end - number)[present]

    def reduce(by: np.ufunc, values: NDArray[Any], empty: float) -> NDArray[Any]:
        found = np.full(count, empty, values.dtype)
        found[present] = by.reduceat(np.broadcast_to(values, size).ravel().take(order), start)
        return found

    def total(values: NDArray[Any]) -> NDArray[np.float64]:
        return reduce(np.add, values.astype(np.float64), 0.0)

    repeats = np.multiply.outer(spans[0][0].astype(np.float64), spans[1][0].astype(np.float64))
    hidden = repeats == 0
    edges = []
    for span, axis in ((spans[1], (1, -1)), (spans[0], (-1, 1))):
        for by, side, beyond in ((np.minimum, span[1], 1 << 30), (np.maximum, span[2], -1)):
            place = np.broadcast_to(side.astype(np.int32).reshape(axis), size)
            edges.append(reduce(by, np.where(hidden, beyond, place) if hidden.any() else place, 0))
    area = total(repeats)
    score = total(repeats * probability.numpy()) / np.maximum(area, 1.0)
    box = np.stack((edges[0], edges[2], edges[1], edges[3]), 1).astype(np.int64)
    median, centroid = np.full(count, np.nan), np.full((count, 3), np.nan)
    if depth_m is not None:
        depth = depth_m.numpy()
        valid = (depth > 0) & (depth < np.inf)
        known = total(valid)
        median = _medians(
            codes, depth_m.masked_fill(torch.from_numpy(~valid), torch.nan), torch.from_numpy(known)
        ).numpy()
        if rays is not None:
            depth = np.where(valid, depth, 0.0)
            sums_m = np.stack([total(part * depth) for part in (*rays.numpy(), np.float32(1.0))], 1)
            centroid = np.where(known[:, None] > 0, sums_m / np.maximum(known, 1.0)[:, None], np.nan)
    return tuple(torch.from_numpy(part) for part in (area.astype(np.int64), box, score, median, centroid))


def _measure_scattered(
    codes: Tensor, count: int, grid: PublishedGrid, probability: Tensor, depth_m: Tensor | None, rays: Tensor | None
) -> tuple[Tensor, ...]:
    """Measure on another device, without waiting for it: by scattered sums."""
    row_span, column_span = grid.spans
    by_row = sums_by_row(codes, count, column_span[0])
    by_column = sums_by_row(codes.T, count, row_span[0])
    area = row_span[0].double() @ by_row
    score = sums(codes, count, row_span[0][:, None] * column_span[0] * probability) / area.clamp(min=1.0)
    (top, bottom), (left, right) = _ends(by_row, row_span), _ends(by_column, column_span)
    nan = torch.full((count,), torch.nan, dtype=torch.float64, device=codes.device)
    median, centroid = nan, nan[:, None].expand(-1, 3)
    if depth_m is not None:
        valid = (depth_m > 0) & (depth_m < torch.inf)
        number = sums(codes, count, valid)
        median = _medians(codes, depth_m.masked_fill(~valid, torch.nan), number)
        if rays is not None:
            depth = depth_m.masked_fill(~valid, 0.0)
            added = torch.stack([sums(codes, count, part) for part in (rays[0] * depth, rays[1] * depth, depth)], 1)
            centroid = torch.where(number[:, None] > 0, added / number.clamp(min=1.0)[:, None], torch.nan)
    return area.long(), torch.stack((left, top, right, bottom), 1), score, median, centroid


def _ends(by_line: Tensor, span: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """First and last published row of each segment from its pixels (h, S) in each row; the same for columns."""
    count, first, last = span
    present = ((by_line > 0) & (count > 0)[:, None]).to(torch.uint8)
    lowest, highest = present.argmax(0), len(present) - 1 - present.flip(0).argmax(0)
    return first.index_select(0, lowest), last.index_select(0, highest)


def _medians(codes: Tensor, depth_m: Tensor, number: Tensor) -> Tensor:
    """Medians by segment of depth that is positive or NaN, of which `number` (S,) are not NaN.

    The bits of positive floats sort as integers do, NaN last, so one sort of segment and depth serves.
    """
    keys = (codes << 32 | depth_m.view(torch.int32)).flatten()
    # numpy's sort has kernels for wide registers, torch's has not
    keys = torch.from_numpy(np.sort(keys.numpy())) if code_maps.follows_data(keys) else keys.sort().values
    area = sums(codes, len(number))
    start, number = area.cumsum(0) - area, number.long()
    middle = [
        keys.index_select(0, (start + place.clamp(min=0)).clamp(max=keys.numel() - 1)) & 0xFFFFFFFF
        for place in ((number - 1) // 2, number // 2)
    ]
    values = [part.int().view(torch.float32).double() for part in middle]
    return torch.where(number > 0, (values[0] + values[1]) / 2, torch.nan)
