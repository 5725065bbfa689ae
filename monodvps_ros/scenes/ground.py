# SPDX-License-Identifier: Apache-2.0
"""The ground: a flat road at z = 0, raised sidewalk and terrain, the curb between them, and how they are painted."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.scenes.noise import Noise, band, pulses
from monodvps_ros.scenes.raster import Grid
from monodvps_ros.scenes.street import (
    BIKE_M,
    CROSSWALK_M,
    CURB_M,
    LANE_M,
    PARKING_M,
    STOP_LINE_M,
    TRACK_M,
    WALK_M,
    GroundPlace,
    GroundPlan,
)

#: Pixels over which the edges of markings run, so that warping a picture finds them again.
_SOFT = 1.4


class Zone(IntEnum):
    """Parts of the ground; the value is the Cityscapes class id, but for the curb's face, which is sidewalk."""

    ROAD = 0
    SIDEWALK = 1
    TERRAIN = 9
    CURB = 20


@dataclass(frozen=True, eq=False)
class GroundHit:
    """Where N samples meet the ground.

    Attributes:
        depth: (N,) along the optical axis; infinite where the ground is not met.
        zone: (N,) int64, `Zone`; -1 where the ground is not met.
        place: of the points that are met and those that are not.
        x: (N,) world, metres; y: likewise.
    """

    depth: Tensor
    zone: Tensor
    place: GroundPlace
    x: Tensor
    y: Tensor

    def take(self, rows: Tensor) -> "GroundHit":
        """Pick some of the samples."""
        return GroundHit(self.depth[rows], self.zone[rows], self.place.take(rows), self.x[rows], self.y[rows])


def ground_bound(grid: Grid, world_from_camera: NDArray[np.float64], view_distance_m: float) -> Tensor:
    """Return (N,) the greatest inverse depth that the ground can have along each ray; 0 for none."""
    down = world_from_camera[2, 0] * grid.sample_x + world_from_camera[2, 1] * grid.sample_y + world_from_camera[2, 2]
    inverse = -down / (world_from_camera[2, 3] - CURB_M)
    return torch.where(inverse > 1.0 / view_distance_m, inverse, 0.0)


def meet_ground(
    x: Tensor, y: Tensor, world_from_camera: NDArray[np.float64], plan: GroundPlan, view_distance_m: float
) -> GroundHit:
    """Intersect viewing rays, (N,) x/z and (N,) y/z, with the ground that is nearer than `view_distance_m`."""
    pose = world_from_camera.tolist()
    ray = [pose[i][0] * x + pose[i][1] * y + pose[i][2] for i in range(3)]
    origin = [pose[i][3] for i in range(3)]
    depth = -origin[2] / ray[2].clamp(max=-1e-6)
    step = CURB_M / origin[2] * depth
    px, py = origin[0] + depth * ray[0], origin[1] + depth * ray[1]
    place = plan.locate(px, py)
    zone = torch.full_like(depth, int(Zone.ROAD), dtype=torch.int64)
    # The ray passes the curb's height before it reaches the road; the distance to the curb changes by no more
    # than the way between, so most of the road needs no second look.
    open_ = (place.curb > -step * torch.hypot(ray[0], ray[1])).nonzero()[:, 0]
    if len(open_):
        upper = depth[open_] - step[open_]
        rays = ray[0][open_], ray[1][open_]
        above = plan.locate(origin[0] + upper * rays[0], origin[1] + upper * rays[1])
        raised = above.curb >= 0.0
        new_zone = torch.where(raised, torch.where(above.curb < WALK_M, int(Zone.SIDEWALK), int(Zone.TERRAIN)), 0)
        new_depth = torch.where(raised, upper, depth[open_])
        face = (~raised & (place.curb[open_] >= 0.0)).nonzero()[:, 0]
        if len(face):
            new_zone[face] = int(Zone.CURB)
            new_depth[face] = _curb_depth(
                upper[face], new_depth[face], (rays[0][face], rays[1][face]), (origin[0], origin[1]), plan
            )
        depth, zone = depth.index_copy(0, open_, new_depth), zone.index_copy(0, open_, new_zone)
        px, py = origin[0] + depth * ray[0], origin[1] + depth * ray[1]
        # On the curb's face the place on the road behind it serves: only its s is looked at.
        place = GroundPlace(
            **{
                name: value.index_copy(0, open_, torch.where(raised, getattr(above, name), value[open_]))
                for name, value in vars(place).items()
            }
        )
    far = (depth > view_distance_m) | (ray[2] >= 0.0)
    return GroundHit(torch.where(far, torch.inf, depth), torch.where(far, -1, zone), place, px, py)


def _curb_depth(
    low: Tensor, high: Tensor, ray: tuple[Tensor, Tensor], origin: tuple[float, float], plan: GroundPlan
) -> Tensor:
    """Find the depth at which the ray passes above the curb's line, by false position; the face is vertical.

    Source: the Illinois variant of the false position method, Dowell and Jarratt 1971.
    """
    shape = low.shape
    ends = torch.cat([low, high])
    value_low, value_high = plan.locate(
        origin[0] + ends * ray[0].repeat(2), origin[1] + ends * ray[1].repeat(2)
    ).curb.view(2, *shape)
    for _ in range(2):
        middle = low + (high - low) * (value_low / (value_low - value_high)).clamp(0.0, 1.0)
        value = plan.locate(origin[0] + middle * ray[0], origin[1] + middle * ray[1]).curb
        inside = value < 0.0
        value_high = torch.where(inside, value_high * 0.5, value)
        value_low = torch.where(inside, value, value_low * 0.5)
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low + (high - low) * (value_low / (value_low - value_high)).clamp(0.0, 1.0)


def paint_ground(hit: GroundHit, depth: Tensor, focal_px: float, height_m: float, noise: Noise, wear: float) -> Tensor:
    """Return the albedo, (N, 3) in 0..1, of points at (N,) finite depth; `wear` is 0 (new road) to 1 (old, patched)."""
    across = depth / focal_px
    along = (depth * depth / (focal_px * height_m)).clamp(min=1e-4)
    # Noise seen at a grazing angle is filtered by a mean of both footprints that leans to the long one.
    grain = (across * along * along).pow(1.0 / 3.0)
    colors = torch.empty(len(depth), 3, device=depth.device)
    painters = {Zone.ROAD: _road, Zone.SIDEWALK: _sidewalk, Zone.TERRAIN: _terrain, Zone.CURB: _curb}
    for zone, painter in painters.items():
        rows = (hit.zone == int(zone)).nonzero()[:, 0]
        if len(rows):
            spot = _Spot(hit.place.take(rows), hit.x[rows], hit.y[rows], across[rows], along[rows], grain[rows], wear)
            colors[rows] = painter(spot, noise)
    return colors


@dataclass(frozen=True, eq=False)
class _Spot:
    place: GroundPlace
    x: Tensor
    y: Tensor
    across: Tensor
    along: Tensor
    grain: Tensor
    wear: float


def _tint(value: Tensor, color: tuple[float, float, float]) -> Tensor:
    return value[:, None] * value.new_tensor(color)


def _road(spot: _Spot, noise: Noise) -> Tensor:
    rough = 0.023 * noise.cloth(spot.x, spot.y, spot.grain) + 0.030 * (noise.plane(spot.x / 7.3, spot.y / 7.3) - 0.5)
    gray = 0.33 - 0.05 * spot.wear + rough * (0.8 + 0.7 * spot.wear)
    warp = noise.plane(spot.x / 2.3, spot.y / 2.3)
    patch = noise.cells(spot.place.s / 5.0 + 0.3 * warp, spot.place.d / 1.9)
    clear = ((2.2 - spot.along) / 1.5).clamp(0.0, 1.0)
    gray = gray - spot.wear * clear * (0.06 * (patch > 0.8).float() - 0.03 * (patch < 0.08).float())
    crack = (noise.plane(spot.x / 3.1 + 0.4 * warp, spot.y / 3.1) - 0.5).abs()
    gray = gray - 0.07 * spot.wear * (1.0 - crack / 0.012).clamp(min=0.0) * (spot.grain < 0.08).float()
    return _tint(gray, (1.0, 1.0, 1.02))


def _sidewalk(spot: _Spot, noise: Noise) -> Tensor:
    s, d = spot.place.s, spot.place.curb
    shade = 0.56 + 0.032 * noise.cloth(spot.x, spot.y, spot.grain)
    shade = shade + 0.07 * (noise.cells(s / 0.6, d / 0.6) - 0.5) * ((1.1 - spot.grain / 0.6) / 0.75).clamp(0, 1)
    joint = torch.maximum(pulses(s, 0.6, 0.04, spot.along), pulses(d, 0.6, 0.04, spot.across))
    edge = band(d, 0.0, 0.16, spot.across)
    return _tint(shade - 0.14 * joint + 0.08 * edge, (1.0, 0.96, 0.9))


def _terrain(spot: _Spot, noise: Noise) -> Tensor:
    grass = 0.075 * noise.cloth(spot.x, spot.y, spot.grain)
    dry = (noise.plane(spot.x / 4.0, spot.y / 4.0) + noise.plane(spot.y / 13.0, spot.x / 13.0) - 1.0).clamp(min=0.0)[
        :, None
    ]
    green = torch.stack([0.30 + 0.9 * grass, 0.42 + grass, 0.19 + 0.6 * grass], dim=1)
    earth = torch.stack([0.47 + grass, 0.42 + 0.9 * grass, 0.29 + 0.7 * grass], dim=1)
    return torch.lerp(green, earth, 0.8 * dry)


def _curb(spot: _Spot, noise: Noise) -> Tensor:
    stone = 0.50 + 0.06 * (noise.cells(spot.place.s, torch.zeros_like(spot.x)) - 0.5)
    return _tint(stone - 0.1 * pulses(spot.place.s, 1.0, 0.03, spot.along), (1.0, 0.99, 0.96))


def paint_markings(hit: GroundHit, depth: Tensor, focal_px: float, height_m: float, plan: GroundPlan) -> Tensor:
    """Return how much white paint lies on points of the road: (N,) in 0..1, 0 off the road.

    Lane and edge lines end at crossings; zebra stripes and a stop line lie before each.
    """
    place, road = hit.place, hit.zone == int(Zone.ROAD)
    wide = _SOFT * depth / focal_px
    long = _SOFT * depth * depth / (focal_px * height_m)
    edges = torch.tensor([c.half_width for c in plan.crossings] or [0.0], device=depth.device)
    half = torch.where(place.crossing >= 0, edges[place.crossing.clamp(min=0)], 0.0)
    beyond = place.across.abs() - half
    free = (beyond > STOP_LINE_M + 0.2).float()
    reach = plan.lanes * LANE_M
    lines = band(place.d.abs(), 0.05, 0.17, wide)
    for lane in range(1, plan.lanes):
        dashes = pulses(place.s, 9.0, 0.38, long)
        lines = torch.maximum(lines, band(place.d.abs(), lane * LANE_M - 0.06, lane * LANE_M + 0.06, wide) * dashes)
    lines = torch.maximum(lines, band(place.d.abs(), reach - 0.06, reach + 0.06, wide))
    bay = band(place.d.abs(), reach + BIKE_M, reach + BIKE_M + PARKING_M, wide) * pulses(place.s, 6.0, 0.02, long)
    lines = torch.maximum(
        lines, band(place.d.abs(), reach + BIKE_M - 0.05, reach + BIKE_M + 0.05, wide) * pulses(place.s, 2.0, 0.5, long)
    )
    lines = torch.maximum(lines, bay) * free
    walk = band(beyond, CROSSWALK_M[0], CROSSWALK_M[1], long) * pulses(place.d, 1.0, 0.5, wide)
    coming = torch.where(place.across > 0.0, place.d < 0.0, place.d > 0.0) & (place.d.abs() < reach + BIKE_M)
    stop = band(beyond, STOP_LINE_M - 0.5, STOP_LINE_M - 0.1, long) * coming.float()
    near = (place.d.abs() < plan.half_width).float()
    side = band(place.across.abs(), 0.05, 0.16, long) * (place.along.abs() > plan.half_width + 6.0).float()
    side = side * pulses(place.along, 6.0, 0.5, wide)
    return torch.where(road, torch.maximum(torch.maximum(lines, walk * near), torch.maximum(stop, side)), 0.0)


def rails_on_road(hit: GroundHit, depth: Tensor, focal_px: float, height_m: float, plan: GroundPlan) -> Tensor:
    """Return how much of a tram's rails, two tracks of 1.44 m gauge, lies on points of the road: (N,) in 0..1."""
    tracks = torch.tensor([float(c.has_rails) for c in plan.crossings] or [0.0], device=depth.device)
    there = torch.where(hit.place.crossing >= 0, tracks[hit.place.crossing.clamp(min=0)], 0.0)
    from_rail = ((hit.place.across.abs() - TRACK_M).abs() - 0.72).abs()
    return (
        there
        * (hit.zone == int(Zone.ROAD))
        * band(from_rail, -1.0, 0.06, _SOFT * depth * depth / (focal_px * height_m))
    )
