# SPDX-License-Identifier: Apache-2.0
"""The street plan: one main street of straights and arcs, crossed by side streets, and what lies where.

Along a street s runs forward and d to the left, metres, from the centre line. Traffic keeps to the right.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LANE_M = 3.2
BIKE_M = 1.4
PARKING_M = 2.2
WALK_M = 3.0
CURB_M = 0.12
TRACK_M = 1.75
SIDE_REACH_M = 90.0
CROSSWALK_M = (1.6, 5.0)
STOP_LINE_M = 6.2
_CORNER_M = 5.0
_OWN_M = 13.0
_FAR = 1e4


@dataclass(frozen=True)
class Crossing:
    """A side street that crosses the main street at a right angle.

    Attributes:
        s: where on the main street.
        x: of the crossing's middle, y: likewise, metres.
        heading: of the main street there, radians; the side street's s runs to the left of it.
        half_width: half the width of the side street between its curbs.
        has_lights: traffic lights stand there.
        has_rails: a tram line runs in the side street.
    """

    s: float
    x: float
    y: float
    heading: float
    half_width: float
    has_lights: bool
    has_rails: bool

    def pose(self, s: NDArray[np.float64], d: float) -> NDArray[np.float64]:
        """Return x, y and heading of (N,) places on the side street: (N, 3)."""
        heading = self.heading + np.pi / 2
        cos_h, sin_h = np.cos(heading), np.sin(heading)
        x, y = self.x + s * cos_h - d * sin_h, self.y + s * sin_h + d * cos_h
        return np.column_stack([x, y, np.full(len(s), heading)])


@dataclass(frozen=True, eq=False)
class Street:
    """The main street and its crossings.

    Attributes:
        segments: (K, 6) float64: s at the start, length, x, y, heading at the start, curvature (1/m, left positive).
        crossings: in the order of s.
        lanes: lanes in each direction.
    """

    segments: NDArray[np.float64]
    crossings: tuple[Crossing, ...]
    lanes: int

    @cached_property
    def half_width(self) -> float:
        """Half the width between the curbs: lanes, bicycle lane and parking."""
        return self.lanes * LANE_M + BIKE_M + PARKING_M

    @property
    def length(self) -> float:
        """Length of the main street in metres."""
        return float(self.segments[-1, 0] + self.segments[-1, 1])

    def lane_offset(self, lane: int) -> float:
        """Return d of the middle of a lane; 0 is the rightmost."""
        return -(self.lanes - lane - 0.5) * LANE_M

    @property
    def bike_offset(self) -> float:
        """D of the middle of the right bicycle lane."""
        return -(self.lanes * LANE_M + BIKE_M / 2)

    @property
    def parking_offset(self) -> float:
        """D of the middle of the right parking lane."""
        return -(self.lanes * LANE_M + BIKE_M + PARKING_M / 2)

    def pose(self, s: NDArray[np.float64], d: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Return x, y and heading, (N, 3), of places (N,) s and (N,) or one d on the main street, metres."""
        s = np.asarray(s, np.float64)
        row = self._at(s)
        along, heading0, bend = s - row[:, 0], row[:, 4], row[:, 5]
        heading = heading0 + bend * along
        # sin(half)/half form of the chord: exact on arcs, without a division by zero on straights
        half = 0.5 * bend * along
        chord = along * np.sinc(half / np.pi)
        x = row[:, 2] + chord * np.cos(heading0 + half) - d * np.sin(heading)
        y = row[:, 3] + chord * np.sin(heading0 + half) + d * np.cos(heading)
        return np.stack([x, y, heading], axis=1)

    def curvature(self, s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the curvature at (N,) places, 1/m."""
        return self._at(s)[:, 5]

    def _at(self, s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the segments that hold (N,) places: (N, 6)."""
        return self.segments[np.clip(np.searchsorted(self.segments[:, 0], s, side="right") - 1, 0, None)]


def lay_street(generator: np.random.Generator, length_m: float) -> Street:
    """Draw a street plan of at least some length; its heading stays within 60 degrees, so it never meets itself."""
    lanes = int(generator.choice([1, 1, 2]))
    rows: list[tuple[float, ...]] = []
    crossings: list[Crossing] = []
    s, x, y, heading = -40.0, -40.0, 0.0, 0.0
    first = True
    while s < length_m:
        straight = generator.uniform(115.0, 150.0) if first else generator.uniform(45.0, 95.0)
        rows.append((s, straight, x, y, heading, 0.0))
        at = s + generator.uniform(0.74, 0.82) * straight if first else s + 0.5 * straight
        if first or generator.random() < 0.75:
            middle = x + (at - s) * np.cos(heading), y + (at - s) * np.sin(heading)
            width, lights = generator.uniform(3.6, 5.0), first or generator.random() < 0.8
            crossings.append(Crossing(at, *middle, heading, width, bool(lights), bool(generator.random() < 0.2)))
        s, x, y = s + straight, x + straight * np.cos(heading), y + straight * np.sin(heading)
        radius, angle = generator.uniform(28.0, 110.0), generator.uniform(0.25, 1.0)
        sign = -np.sign(heading) if abs(heading) > 0.5 else generator.choice([-1.0, 1.0])
        angle = min(angle, 1.05 - sign * heading)
        rows.append((s, radius * angle, x, y, heading, sign / radius))
        chord = 2 * radius * np.sin(angle / 2)
        x, y = x + chord * np.cos(heading + sign * angle / 2), y + chord * np.sin(heading + sign * angle / 2)
        s, heading = s + radius * angle, heading + sign * angle
        first = False
    return Street(np.array(rows), tuple(crossings), lanes)


@dataclass(frozen=True, eq=False)
class GroundPlace:
    """Where points of the ground lie; all (N,) float32, metres and radians.

    Attributes:
        s: along the main street.
        d: to the left of the main street's centre line.
        heading: of the main street there.
        along: place along the nearest side street; `_FAR` where there is none.
        across: to the left of that side street's centre line; `_FAR` where there is none.
        curb: signed distance to the curb, negative on the road.
        crossing: index of that side street among those of the plan, -1 for none.
    """

    s: Tensor
    d: Tensor
    heading: Tensor
    along: Tensor
    across: Tensor
    curb: Tensor
    crossing: Tensor

    def take(self, rows: Tensor) -> "GroundPlace":
        """Pick some of the points."""
        return GroundPlace(**{name: value[rows] for name, value in vars(self).items()})


class GroundPlan:
    """The part of a street plan from `s_from` to `s_to`, on a device, to look places up."""

    def __init__(self, street: Street, s_from: float, s_to: float, device: torch.device) -> None:
        rows = street.segments
        self._rows = rows[(rows[:, 0] < s_to) & (rows[:, 0] + rows[:, 1] > s_from)]
        self._crossings = [(i, c) for i, c in enumerate(street.crossings) if s_from - 20.0 < c.s < s_to + 20.0]
        self.crossings, self.half_width, self.lanes = street.crossings, street.half_width, street.lanes
        self._device = device

    def locate(self, x: Tensor, y: Tensor) -> GroundPlace:
        """Find where (N,) points of the ground lie."""
        s, d = torch.full_like(x, -_FAR), torch.full_like(x, _FAR)
        heading = torch.zeros_like(x)
        todo = torch.arange(len(x), device=x.device)
        for number, row in enumerate(self._rows.tolist()):
            if not len(todo):
                break
            left_x, left_y = (x, y) if number == 0 else (x[todo], y[todo])
            ahead, left, turned = _on_segment(left_x, left_y, row)
            low = -1e9 if number == 0 and not row[5] else -1e-3
            here = (ahead >= low) & (ahead <= row[1] + 1e-3) & (left.abs() < d[todo].abs())
            found = here.nonzero()[:, 0]
            at = todo[found]
            s[at], d[at], heading[at] = ahead[found] + row[0], left[found], turned[found]
            # What is this near belongs to no other segment: the street keeps farther than that from itself.
            todo = todo[~here | (left.abs() > _OWN_M)]
        return self._cross(x, y, s, d, heading)

    def _cross(self, x: Tensor, y: Tensor, s: Tensor, d: Tensor, heading: Tensor) -> GroundPlace:
        along, across = torch.full_like(x, _FAR), torch.full_like(x, _FAR)
        which = torch.full_like(x, -1, dtype=torch.int64)
        edge = torch.full_like(x, _FAR)
        for number, crossing in self._crossings:
            cos_h, sin_h = np.cos(crossing.heading), np.sin(crossing.heading)
            left = (y - crossing.y) * cos_h - (x - crossing.x) * sin_h
            ahead = (x - crossing.x) * cos_h + (y - crossing.y) * sin_h
            here = (left.abs() < SIDE_REACH_M) & (ahead.abs() < across.abs())
            along, across = torch.where(here, left, along), torch.where(here, -ahead, across)
            edge = torch.where(here, ahead.abs() - crossing.half_width, edge)
            which = torch.where(here, number, which)
        main = d.abs() - self.half_width
        # Smooth minimum: rounds the corners of the curb (Quilez, polynomial smooth minimum).
        blend = (_CORNER_M - (main - edge).abs()).clamp(min=0.0)
        curb = torch.minimum(main, edge) - blend * blend / (4.0 * _CORNER_M)
        return GroundPlace(s, d, heading, along, across, curb, which)


def _on_segment(x: Tensor, y: Tensor, row: list[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return s within a segment, d and the heading there of (N,) points, as if the segment had no ends."""
    _, _, x0, y0, heading0, bend = row
    cos_h, sin_h = np.cos(heading0), np.sin(heading0)
    ahead, left = (x - x0) * cos_h + (y - y0) * sin_h, (y - y0) * cos_h - (x - x0) * sin_h
    if not bend:
        return ahead, left, torch.full_like(x, heading0)
    sign, radius = np.sign(bend), 1.0 / abs(bend)
    rest = radius - sign * left
    angle = torch.atan2(ahead, rest)
    return angle * radius, sign * (radius - torch.hypot(ahead, rest)), heading0 + sign * angle
