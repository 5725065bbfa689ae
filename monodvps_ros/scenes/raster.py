# SPDX-License-Identifier: Apache-2.0
"""Which solid each sample of an image sees, and at what inverse depth: exact, without triangles.

The inverse depth of a plane is linear in the image. A tapered box is therefore seen along an image row between two
columns that can be computed, and there its inverse depth is the least of those of its front planes. Ellipsoids and
cylinders are bounded by their box and by a conic. Rows give spans, spans give fragments, and the nearest fragment of
each sample wins. Legend: P solids, R (solid, row) pairs, F fragments, N samples, B bodies.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.scenes.camera import Camera, rigid_inverse
from monodvps_ros.scenes.noise import Noise
from monodvps_ros.scenes.solids import Material, Shape, Solids

NEAR_M = 0.15
NOTHING = -1
_LEAF_M = 0.42
_LEAF_HOLES = 0.40


@dataclass(frozen=True, eq=False)
class Grid:
    """Samples of an image, row by row; all of its pixels, or those of a finer grid that a mask keeps.

    Attributes:
        x: (C,) viewing direction x/z of each column.
        y: (R,) viewing direction y/z of each row.
        starts: (R, C + 1) int64, number of samples before each place of the grid.
        sample_x: (N,) x/z of each sample.
        sample_y: (N,) y/z of each sample.
    """

    x: Tensor
    y: Tensor
    starts: Tensor
    sample_x: Tensor
    sample_y: Tensor

    @classmethod
    def of_pixels(cls, camera: Camera, device: torch.device) -> "Grid":
        """Make the grid of the pixels' centres."""
        return cls._of(camera, 1, None, device)

    @classmethod
    def of_edges(cls, camera: Camera, mask: Tensor) -> "Grid":
        """Make the grid of four samples in each pixel of an (H, W) mask."""
        return cls._of(camera, 2, mask, mask.device)

    @classmethod
    def _of(cls, camera: Camera, factor: int, mask: Tensor | None, device: torch.device) -> "Grid":
        (u, v), rows, columns = camera.center, camera.height * factor, camera.width * factor
        at = [(torch.arange(n, dtype=torch.float64) + 0.5) / factor - 0.5 for n in (columns, rows)]
        x = ((at[0] - u) / camera.focal_px).float().to(device)
        y = ((at[1] - v) / camera.focal_px).float().to(device)
        if mask is None:
            starts = torch.arange(rows, device=device)[:, None] * columns + torch.arange(columns + 1, device=device)
            return cls(x, y, starts, x.repeat(rows), y.repeat_interleave(columns))
        fine = mask.repeat_interleave(factor, 0).repeat_interleave(factor, 1)
        count = fine.flatten().cumsum(0).view(rows, columns)
        first = torch.cat([count.new_zeros(1), count[:-1, -1]])
        row, column = fine.nonzero().unbind(1)
        return cls(x, y, torch.cat([first[:, None], count], 1), x[column], y[row])


@dataclass(frozen=True, eq=False)
class View:
    """The solids that may be in the image, in the camera's frame.

    Attributes:
        index: (P,) int64, which solids of the drive.
        planes: (P, 6, 3) inverse depth of each face as a x + b y + c.
        outside: (P, 6) bool, the camera is outside of that face.
        local_from_camera: (P, 3, 4) into the solid's own axes, metres.
        half: (P, 3), shape: (P,), leafy: (P,) bool, inner: (P,).
        bounds: (P, 4) least and greatest x/z and y/z.
    """

    index: Tensor
    planes: Tensor
    outside: Tensor
    local_from_camera: Tensor
    half: Tensor
    shape: Tensor
    leafy: Tensor
    inner: Tensor
    bounds: Tensor


@dataclass(frozen=True, eq=False)
class Visible:
    """What each of N samples sees.

    Attributes:
        inverse_depth: (N,) 1/m; 0 where nothing is seen.
        solid: (N,) int64 row of the `View`; `NOTHING` where none is seen.
        back: (N,) bool, the inner side of a leafy shell is seen.
    """

    inverse_depth: Tensor
    solid: Tensor
    back: Tensor


def make_view(
    solids: Solids, camera_from_body: NDArray[np.float64], camera: Camera, view_distance_m: float, device: torch.device
) -> View:
    """Carry solids into the camera's frame and drop those that cannot be seen.

    Args:
        solids: of the whole drive.
        camera_from_body: (B, 4, 4); NaN for a body that is absent.
        camera: whose image it is.
        view_distance_m: solids that begin farther away along the axis are dropped.
        device: where the view is to lie.
    """
    pose = camera_from_body[solids.body]
    middle = (pose[:, :3, :3] @ solids.center[..., None])[..., 0] + pose[:, :3, 3]
    radius = np.linalg.norm(solids.half, axis=1) * 1.05
    slope_x, slope_y = (camera.width + 2) / 2 / camera.focal_px, (camera.height + 2) / 2 / camera.focal_px
    with np.errstate(invalid="ignore"):
        keep = (middle[:, 2] + radius > NEAR_M) & (middle[:, 2] - radius < view_distance_m)
        for axis, slope in ((0, slope_x), (1, slope_y)):
            keep &= np.abs(middle[:, axis]) - slope * middle[:, 2] < radius * np.sqrt(1 + slope * slope)
        keep &= radius * camera.focal_px > 0.35 * middle[:, 2]
    index = np.flatnonzero(keep)
    pose = pose[index]
    rotation, shift = pose[:, :3, :3], pose[:, :3, 3]
    normals = solids.planes[index, :, :3] @ np.swapaxes(rotation, 1, 2)
    offsets = solids.planes[index, :, 3] + (normals @ shift[..., None])[..., 0]
    corners = solids.corners[index] @ np.swapaxes(rotation, 1, 2) + shift[:, None]
    bounds = _bounds(corners, slope_x, slope_y)
    keep = (bounds[:, 0] < slope_x) & (bounds[:, 1] > -slope_x) & (bounds[:, 2] < slope_y) & (bounds[:, 3] > -slope_y)
    keep &= ~(offsets > -1e-6).all(1)  # the camera is inside
    axes = np.swapaxes(rotation @ solids.turn[index], 1, 2)
    middle = middle[index]
    local = np.concatenate([axes, -(axes @ middle[..., None])], axis=2)
    safe = np.where(np.abs(offsets) < 1e-9, 1e-9, offsets)

    def tensor(values: NDArray[np.generic], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(values[keep]).to(dtype).to(device)

    return View(
        index=tensor(index, torch.int64),
        planes=tensor(normals / safe[..., None], torch.float64),
        outside=tensor(offsets < 0.0, torch.bool),
        local_from_camera=tensor(local, torch.float64),
        half=tensor(solids.half[index]),
        shape=tensor(solids.shape[index], torch.int64),
        leafy=tensor((solids.material[index] == Material.FOLIAGE) & (solids.shape[index] != Shape.BOX), torch.bool),
        inner=tensor(solids.inner[index]),
        bounds=tensor(bounds),
    )


def _bounds(corners: NDArray[np.float64], slope_x: float, slope_y: float) -> NDArray[np.float64]:
    """Return (P, 4) bounds of the corners' projections; the whole image where a corner is not in front."""
    depth = corners[..., 2]
    behind = (depth < NEAR_M).any(1)
    x, y = (corners[..., i] / np.maximum(depth, NEAR_M) for i in (0, 1))
    bounds = np.stack([x.min(1), x.max(1), y.min(1), y.max(1)], axis=1)
    bounds[behind] = -slope_x, slope_x, -slope_y, slope_y
    return bounds


def cast(view: View, grid: Grid, noise: Noise) -> Visible:
    """Find the nearest solid for each sample of a grid.

    Source: ours; the interval of a convex body along a ray is that of Kay and Kajiya 1986 (slabs), solved by rows.
    """
    samples, device = grid.sample_x.shape[0], grid.x.device
    nearest = torch.zeros(samples, dtype=torch.int64, device=device)
    if len(view.index) and samples:
        solid, row = _rows(view, grid)
        low, high = _box_span(view, grid, solid, row)
        low, high = _conic_span(view, grid, solid, row, low, high)
        solid, sample = _fragments(grid, solid, row, low, high)
        inverse, back = _hit(view, grid, solid, sample, noise)
        key = (inverse.view(torch.int32).long() << 32) | (solid << 1) | back
        nearest.scatter_reduce_(0, sample, key, "amax")
    inverse_depth = (nearest >> 32).int().view(torch.float32)
    seen = inverse_depth > 0.0
    which = torch.where(seen, (nearest & 0xFFFFFFFF) >> 1, NOTHING)
    return Visible(inverse_depth, which, (nearest & 1).bool() & seen)


def _rows(view: View, grid: Grid) -> tuple[Tensor, Tensor]:
    """List the (solid, row) pairs whose row crosses the solid's bounds: two (R,) int64."""
    first = torch.searchsorted(grid.y, view.bounds[:, 2].contiguous())
    count = torch.searchsorted(grid.y, view.bounds[:, 3].contiguous(), right=True) - first
    return _expand(first, count.clamp(min=0))


def _expand(first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Write out ranges: owner of each item, and first[owner] + 0, 1, ... count[owner] - 1."""
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    start = first - (count.cumsum(0) - count)
    return owner, torch.arange(len(owner), device=count.device) + start[owner]


def _box_span(view: View, grid: Grid, solid: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Return x/z from and to which each row crosses the solid's box: two (R,); empty where from > to."""
    planes, outside = view.planes[solid], view.outside[solid]
    slope = planes[..., 0]
    value = planes[..., 1] * grid.y[row, None] + planes[..., 2]
    low, high = view.bounds[solid, 0].double(), view.bounds[solid, 1].double()
    front_slope, front = torch.where(outside, slope, 0.0), torch.where(outside, value, 1e6)
    back_slope, back = torch.where(outside, 0.0, slope), torch.where(outside, -1e6, value)
    back_slope, back = torch.nn.functional.pad(back_slope, (0, 1)), torch.nn.functional.pad(back, (0, 1))
    tilt = (front_slope[:, :, None] - back_slope[:, None, :]).flatten(1)
    gap = (front[:, :, None] - back[:, None, :]).flatten(1)
    root = -gap / tilt
    low = torch.maximum(low, torch.where(tilt > 0.0, root, -1e9).amax(1))
    high = torch.minimum(high, torch.where(tilt < 0.0, root, 1e9).amin(1))
    never = ((tilt == 0.0) & (gap <= 0.0)).any(1)
    return torch.where(never, 1e9, low), high


def _conic_span(view: View, grid: Grid, solid: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Narrow the spans of ellipsoids and cylinders to where their discriminant is positive."""
    chosen = (view.shape[solid] != Shape.BOX).nonzero()[:, 0]
    which = solid[chosen]
    weight = torch.ones(len(chosen), 3, dtype=torch.float64, device=low.device)
    weight[:, 2] = (view.shape[which] == Shape.ELLIPSOID).double()
    unit = view.local_from_camera[which] / view.half[which].double()[..., None] * weight[..., None]
    base = unit[..., 1] * grid.y[row[chosen], None] + unit[..., 2]
    step, origin = unit[..., 0], unit[..., 3]
    beyond = (origin * origin).sum(1) - 1.0
    along0, along1 = (base * origin).sum(1), (step * origin).sum(1)
    a = along1**2 - beyond * (step * step).sum(1)
    b = along0 * along1 - beyond * (base * step).sum(1)
    c = along0**2 - beyond * (base * base).sum(1)
    root = (b * b - a * c).clamp(min=0.0).sqrt()
    ends = torch.stack([(-b - root) / a, (-b + root) / a])
    bounded = (a < 0.0) & (beyond > 0.0)
    miss = bounded & (b * b - a * c <= 0.0)
    new_low = torch.where(bounded, torch.maximum(low[chosen], ends.amin(0)), low[chosen])
    new_high = torch.where(bounded, torch.minimum(high[chosen], ends.amax(0)), high[chosen])
    low, high = low.clone(), high.clone()
    low[chosen], high[chosen] = torch.where(miss, 1e9, new_low), new_high
    return low, high


def _fragments(grid: Grid, solid: Tensor, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Write spans out into (solid, sample) pairs: two (F,) int64."""
    columns = grid.x.double()
    first = torch.searchsorted(columns, low)
    last = torch.maximum(torch.searchsorted(columns, high, right=True), first)
    begin, end = grid.starts[row, first], grid.starts[row, last]
    owner, sample = _expand(begin, end - begin)
    return solid[owner], sample


def _hit(view: View, grid: Grid, solid: Tensor, sample: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    """Return the inverse depth of each fragment, 0 for a miss, and whether it lies on a shell's inner side: two (F,)."""
    x, y = grid.sample_x[sample], grid.sample_y[sample]
    count = int(view.outside.sum(1).max())
    order = torch.sort(view.outside.int(), stable=True, dim=1, descending=True).indices[:, :count]
    planes = torch.where(view.outside[..., None], view.planes, view.planes.new_tensor([0.0, 0.0, 1e6]))
    planes = planes.gather(1, order[..., None].expand(-1, -1, 3)).float()
    inverse = torch.full_like(x, 1.0 / NEAR_M)
    for face in range(count):
        a, b, c = (planes[:, face, i].contiguous()[solid] for i in range(3))
        torch.minimum(inverse, a.mul_(x).addcmul_(b, y).add_(c), out=inverse)
    inverse.clamp_(min=0.0)
    back = torch.zeros_like(solid, dtype=torch.bool)
    round_ = (view.shape[solid] != Shape.BOX).nonzero()[:, 0]
    if len(round_):
        inverse[round_], back[round_] = _hit_round(view, solid[round_], x[round_], y[round_], noise)
    inverse[inverse >= 1.0 / NEAR_M] = 0.0
    return inverse, back


def _hit_round(view: View, solid: Tensor, x: Tensor, y: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
    unit = (view.local_from_camera / view.half.double()[..., None]).float()[solid]
    ray = unit[..., 0] * x[:, None] + unit[..., 1] * y[:, None] + unit[..., 2]
    origin = unit[..., 3]
    cylinder = view.shape[solid] == Shape.CYLINDER
    weight = torch.ones_like(ray)
    weight[:, 2] = (~cylinder).float()
    flat = ray * weight
    square = (flat * flat).sum(1)
    middle = -(flat * origin).sum(1) / square
    # The nearest point to the axis first: the textbook discriminant loses all digits far away.
    closest = (origin + middle[:, None] * ray) * weight
    chord = ((1.0 - (closest * closest).sum(1)) / square)
    hit = chord > 0.0
    chord = chord.clamp(min=0.0).sqrt()
    enter, leave = middle - chord, middle + chord
    caps = torch.stack([(-1.0 - origin[:, 2]) / ray[:, 2], (1.0 - origin[:, 2]) / ray[:, 2]])
    cap_enter = torch.where(cylinder, caps.amin(0), -1e9)
    hit &= ~cylinder | (torch.minimum(leave, caps.amax(0)) > torch.maximum(enter, cap_enter))
    enter = torch.maximum(enter, cap_enter)
    at = origin + enter[:, None] * ray
    hit &= (at[:, 0] ** 2 + at[:, 1] ** 2).sqrt() >= view.inner[solid]
    back = torch.zeros_like(hit)
    leafy = (view.leafy[solid] & hit).nonzero()[:, 0]
    if len(leafy):
        half = view.half[solid[leafy]]
        open_front = _is_hole(at[leafy] * half, solid[leafy], view, noise)
        through = leafy[open_front]
        far = (origin[through] + leave[through, None] * ray[through]) * half[open_front]
        enter[through], back[through] = leave[through], True
        hit[through] = ~_is_hole(far, solid[through], view, noise)
    return torch.where(hit & (enter > NEAR_M), 1.0 / enter, 0.0), back


def _is_hole(local: Tensor, solid: Tensor, view: View, noise: Noise) -> Tensor:
    """Say which points of leafy shells are holes, from their place on the shell alone: (N,) bool."""
    offset = (view.index[solid] % 97).float()[:, None]
    return noise.space(local / _LEAF_M + offset) < _LEAF_HOLES


def camera_from_bodies(world_from_camera: NDArray[np.float64], world_from_body: NDArray[np.float64]) -> NDArray[np.float64]:
    """Join poses: (4, 4) and (B, 4, 4) to (B, 4, 4) camera_from_body."""
    joined: NDArray[np.float64] = rigid_inverse(world_from_camera) @ world_from_body
    return joined
