# SPDX-License-Identifier: Apache-2.0
"""Soft shadows on the ground: beneath what stands on it, and towards where the sun does not come from."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.scenes.actors import Caster
from monodvps_ros.scenes.raster import expand_ranges
from monodvps_ros.scenes.weather import Weather

_CONTACT = 0.62
_CELL_M = 4.0
_LONGEST_M = 14.0


def shadow_on_ground(
    casters: Sequence[Caster], world_from_body: NDArray[np.float64], weather: Weather, x: Tensor, y: Tensor
) -> Tensor:
    """Return how much light, (N,) 0..1, casters take from points of the ground at (N,) x and y in metres.

    Each caster takes light beneath its footprint and along the strip over which the sun drags that footprint. One whose
    body is absent (NaN in `world_from_body`, (B, 4, 4)) is passed over. Ours: a box with soft edges, not a simulation.
    """
    shade = torch.ones_like(x)
    if not len(x) or not casters:
        return shade - 1.0
    table = _in_world(casters, world_from_body, weather)
    low = np.array([float(x.min()), float(y.min())])
    high = np.array([float(x.max()), float(y.max())])
    reach = table[:, 4:5] + table[:, 7:8]
    table = table[((table[:, :2] + reach > low) & (table[:, :2] - reach < high)).all(1)]
    if not len(table):
        return shade - 1.0
    point, which = _pairs(table, x, y)
    rows = torch.from_numpy(table).float().to(x.device)[which]
    dx, dy = x[point] - rows[:, 0], y[point] - rows[:, 1]
    along, left = dx * rows[:, 2] + dy * rows[:, 3], dy * rows[:, 2] - dx * rows[:, 3]
    contact = _CONTACT * _soft_box(along, left, rows[:, 5], rows[:, 6], 0.35)
    # Along the sun's drag a point is dark if the footprint, moved back by the nearest share of the drag, holds it.
    drag_x = rows[:, 8] * rows[:, 2] + rows[:, 9] * rows[:, 3]
    drag_y = rows[:, 9] * rows[:, 2] - rows[:, 8] * rows[:, 3]
    share = ((along * drag_x + left * drag_y) / (rows[:, 7] ** 2).clamp(min=1e-6)).clamp(0.0, 1.0)
    cast = weather.shadow * _soft_box(along - share * drag_x, left - share * drag_y, rows[:, 5], rows[:, 6], 0.30)
    keep = (1.0 - contact) * (1.0 - cast * (1.0 - 0.35 * share))
    shade.scatter_reduce_(0, point, keep, "amin")
    return 1.0 - shade


def _in_world(casters: Sequence[Caster], world_from_body: NDArray[np.float64], weather: Weather) -> NDArray[np.float64]:
    """Return (C, 10): x, y, cos, sin, radius, half x, half y, drag length, drag x, drag y."""
    rows = np.array([(c.body, c.x, c.y, c.half_x, c.half_y, c.height, c.heading) for c in casters])
    pose = world_from_body[rows[:, 0].astype(np.int64)]
    place = pose[:, :2, 0] * rows[:, 1:2] + pose[:, :2, 1] * rows[:, 2:3] + pose[:, :2, 3]
    heading = np.arctan2(pose[:, 1, 0], pose[:, 0, 0]) + rows[:, 6]
    sun = np.array(weather.sun)
    length = np.minimum(rows[:, 5] * np.hypot(sun[0], sun[1]) / sun[2], _LONGEST_M)
    away = -sun[:2] / np.hypot(sun[0], sun[1])
    table = np.column_stack(
        [
            place,
            np.cos(heading),
            np.sin(heading),
            np.hypot(rows[:, 3], rows[:, 4]) + 0.8,
            rows[:, 3],
            rows[:, 4],
            length,
            length[:, None] * away,
        ]
    )
    kept: NDArray[np.float64] = table[np.isfinite(table).all(1)]
    return kept


def _pairs(table: NDArray[np.float64], x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """List the (point, caster) pairs that may be near: points are sorted into square cells of the ground first."""
    reach = table[:, 4] + table[:, 7]
    low = np.floor((table[:, :2] - reach[:, None]) / _CELL_M).astype(np.int64)
    high = np.floor((table[:, :2] + reach[:, None]) / _CELL_M).astype(np.int64)
    origin = low.min(0)
    size = high.max(0) - origin + 1
    cells: list[NDArray[np.int64]] = []
    owners: list[NDArray[np.int64]] = []
    for number, (a, b) in enumerate(zip(low - origin, high - origin, strict=True)):
        grid = (np.arange(a[0], b[0] + 1)[:, None] * size[1] + np.arange(a[1], b[1] + 1)).ravel()
        cells.append(grid)
        owners.append(np.full(len(grid), number))
    cell, owner = np.concatenate(cells), np.concatenate(owners)
    order = np.argsort(cell, kind="stable")
    count = torch.from_numpy(np.bincount(cell, minlength=int(size.prod()))).to(x.device)
    listed = torch.from_numpy(owner[order]).to(x.device)
    column, row = (x / _CELL_M).floor().long() - int(origin[0]), (y / _CELL_M).floor().long() - int(origin[1])
    inside = ((column >= 0) & (column < int(size[0])) & (row >= 0) & (row < int(size[1]))).nonzero()[:, 0]
    home = column[inside] * int(size[1]) + row[inside]
    number_here, first = count[home], (count.cumsum(0) - count)[home]
    owner_point, place = expand_ranges(first, number_here)
    return inside[owner_point], listed[place]


def _soft_box(along: Tensor, left: Tensor, half_x: Tensor, half_y: Tensor, soft: float) -> Tensor:
    """Return 1 inside a box, 0 outside, with a smooth edge `soft` metres wide to either side."""
    qx, qy = along.abs() - half_x, left.abs() - half_y
    distance = torch.hypot(qx.clamp(min=0.0), qy.clamp(min=0.0)) + torch.maximum(qx, qy).clamp(max=0.0)
    share = (0.5 - 0.5 * distance / soft).clamp(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
