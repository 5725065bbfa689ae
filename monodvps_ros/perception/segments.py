# SPDX-License-Identifier: Apache-2.0
"""Area, bounding box, score, depth and centroid of each segment of a panoptic map, without loops over segments."""

from dataclasses import dataclass

import torch
from torch import Tensor

from monodvps_ros.shapes import check_shapes


@dataclass(frozen=True, eq=False)
class SegmentStatistics:
    """One row for each code 0..S-1 of a code map, on the CPU.

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
    """

    rows: Tensor
    columns: Tensor

    def spans(self, size: tuple[int, int]) -> tuple[tuple[Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Count, first and last published index of each network row, and of each network column."""
        spans = []
        for index, length in ((self.rows, size[0]), (self.columns, size[1])):
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
        Statistics on the CPU; depth and centroid are taken over the network's pixels.

    Raises:
        ShapeError: the maps differ in size.
    """
    check_shapes(codes=(codes, "h w"), probability=(probability, "h w"), depth_m=(depth_m, "h w"), rays=(rays, "2 h w"))
    flat, size = codes.flatten(), (codes.shape[0], codes.shape[1])
    row_span, column_span = grid.spans(size)
    weight = (row_span[0][:, None] * column_span[0]).flatten()
    area = torch.bincount(flat, weight.double(), minlength=count)
    score = torch.bincount(flat, weight * probability.flatten().double(), minlength=count) / area.clamp(min=1.0)
    box = _boxes(flat, weight > 0, size, count, row_span, column_span)
    nan = torch.full((count,), torch.nan, dtype=torch.float64, device=flat.device)
    median, centroid = nan, nan[:, None].expand(-1, 3)
    if depth_m is not None:
        median = _medians(flat, depth_m.flatten(), count)
        if rays is not None:
            centroid = _centroids(flat, depth_m, rays, count)
    return SegmentStatistics(area.long().cpu(), box.cpu(), score.cpu(), median.cpu(), centroid.cpu())


def _boxes(
    flat: Tensor,
    present: Tensor,
    size: tuple[int, int],
    count: int,
    row_span: tuple[Tensor, Tensor, Tensor],
    column_span: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    height, width = size
    pixels = torch.arange(height * width, device=flat.device)
    kept = torch.where(present, flat, count)  # rows and columns that are not published go to a row of their own
    edges = []
    for index, span in ((pixels % width, column_span), (pixels // width, row_span)):
        for first, reduce in ((span[1], "amin"), (span[2], "amax")):
            start = torch.zeros(count + 1, dtype=torch.int64, device=flat.device)
            edges.append(start.scatter_reduce(0, kept, first[index], reduce, include_self=False)[:count])
    return torch.stack((edges[0], edges[2], edges[1], edges[3]), 1)


def _medians(flat: Tensor, depth_m: Tensor, count: int) -> Tensor:
    """Medians by segment: the bits of positive floats sort as integers do, so one sort of segment and depth serves."""
    valid = torch.isfinite(depth_m) & (depth_m > 0)
    bits = torch.where(valid, depth_m, 0.0).view(torch.int32).long()
    keys = (torch.where(valid, flat, count) << 32 | bits).sort().values
    number = torch.bincount(torch.where(valid, flat, count), minlength=count + 1)
    start = (number.cumsum(0) - number)[:count]
    number = number[:count]
    last = max(keys.numel() - 1, 0)
    middle = [
        keys[(start + offset.clamp(min=0)).clamp(max=last)] & 0xFFFFFFFF for offset in ((number - 1) // 2, number // 2)
    ]
    values = [part.int().view(torch.float32).double() for part in middle]
    return torch.where(number > 0, (values[0] + values[1]) / 2, torch.nan)


def _centroids(flat: Tensor, depth_m: Tensor, rays: Tensor, count: int) -> Tensor:
    valid = torch.isfinite(depth_m)
    depth = torch.where(valid, depth_m, 0.0)
    number = torch.bincount(flat, valid.flatten().double(), minlength=count)
    sums = [
        torch.bincount(flat, part.flatten().double(), minlength=count)
        for part in (rays[0] * depth, rays[1] * depth, depth)
    ]
    return torch.where(number[:, None] > 0, torch.stack(sums, 1) / number.clamp(min=1.0)[:, None], torch.nan)
