# SPDX-License-Identifier: Apache-2.0
"""Which solid each sample of an image sees, and at what inverse depth: exact, without triangles.

The inverse depth of a plane is linear in the image. A tapered box is therefore seen along an image row between two
columns that can be computed, and there its inverse depth is the least of those of its front planes. Ellipsoids and
cylinders are bounded by their box and by a conic. Rows give spans, spans give fragments, and the nearest fragment of
each sample wins. Legend: P solids, R (solid, row) pairs, F fragments, N samples, B bodies.
"""

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monodvps_ros.scenes.camera import Camera
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
        x, y = _directions(camera, 1, device)
        starts = torch.arange(len(y), device=device)[:, None] * len(x) + torch.arange(len(x) + 1, device=device)
        return cls(x, y, starts, x.repeat(len(y)), y.repeat_interleave(len(x)))

    @classmethod
    def of_edges(cls, camera: Camera, mask: Tensor) -> "tuple[Grid, Tensor]":
        """Make the grid of four samples in each pixel of an (H, W) mask.

        Returns:
            The grid, and (N,) int64 the place of each sample: 4 times which of the mask's pixels, plus which quarter.
        """
        x, y = _directions(camera, 2, mask.device)
        fine = mask.repeat_interleave(2, 0).repeat_interleave(2, 1)
        count = fine.flatten().cumsum(0).view(fine.shape)
        first = torch.cat([count.new_zeros(1), count[:-1, -1]])
        row, column = fine.nonzero().unbind(1)
        pixel = (mask.flatten().cumsum(0) - 1).view(mask.shape)
        grid = cls(x, y, torch.cat([first[:, None], count], 1), x[column], y[row])
        return grid, pixel[row // 2, column // 2] * 4 + row % 2 * 2 + column % 2


def _directions(camera: Camera, factor: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return x/z of the columns and y/z of the rows of a grid with `factor` samples a pixel each way."""
    u, v = camera.center
    at = [(torch.arange(n * factor, dtype=torch.float64) + 0.5) / factor - 0.5 for n in (camera.width, camera.height)]
    return ((at[0] - u) / camera.focal_px).float().to(device), ((at[1] - v) / camera.focal_px).float().to(device)


@dataclass(frozen=True, eq=False)
class View:
    """The solids that may be in the image, in the camera's frame, boxes first.

    Attributes:
        index: (P,) int64, which solids of the drive.
        front: (P, K, 3) inverse depth of each face that the camera is outside of, as a x + b y + c; padded by 1e6.
        back: (P, 7, 3) likewise of the faces that the camera is inside of and of the plane at infinity; padded by -1e6.
        local_from_camera: (P, 3, 4) into the solid's own axes, metres.
        half: (P, 3), shape: (P,), leafy: (P,) bool, inner: (P,).
        bounds: (P, 4) least and greatest x/z and y/z.
    """

    index: Tensor
    front: Tensor
    back: Tensor
    local_from_camera: Tensor
    half: Tensor
    shape: Tensor
    leafy: Tensor
    inner: Tensor
    bounds: Tensor

    @cached_property
    def boxes(self) -> int:
        """Number of boxes; what follows them is round."""
        return int((self.shape == Shape.BOX).sum())

    def take(self, rows: Tensor) -> "View":
        """Keep some solids, by ascending rows."""
        return View(**{entry.name: getattr(self, entry.name)[rows] for entry in fields(self)})


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
    """Carry solids into the camera's frame and drop those that cannot be seen or begin farther than `view_distance_m`.

    `camera_from_body` is (B, 4, 4), NaN for a body that is absent.
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
    index = index[np.argsort(solids.shape[index] != Shape.BOX, kind="stable")]
    pose = pose[index]
    rotation, shift = pose[:, :3, :3], pose[:, :3, 3]
    normals = solids.planes[index, :, :3] @ np.swapaxes(rotation, 1, 2)
    offsets = solids.planes[index, :, 3] + (normals @ shift[..., None])[..., 0]
    corners = solids.corners[index] @ np.swapaxes(rotation, 1, 2) + shift[:, None]
    bounds = _bounds(corners, slope_x, slope_y)
    keep = (bounds[:, 0] < slope_x) & (bounds[:, 1] > -slope_x) & (bounds[:, 2] < slope_y) & (bounds[:, 3] > -slope_y)
    keep &= ~(offsets > -1e-6).all(1)  # the camera is inside
    axes = np.swapaxes(rotation @ solids.turn[index], 1, 2)
    local = np.concatenate([axes, -(axes @ middle[index][..., None])], axis=2)
    front, back = _faces(normals[keep], offsets[keep])

    def tensor(values: NDArray[np.generic], dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.from_numpy(values).to(dtype).to(device)

    return View(
        index=tensor(index[keep], torch.int64),
        front=tensor(front),
        back=tensor(back),
        local_from_camera=tensor(local[keep], torch.float64),
        half=tensor(solids.half[index][keep]),
        shape=tensor(solids.shape[index][keep], torch.int64),
        leafy=tensor(
            ((solids.material[index] == Material.FOLIAGE) & (solids.shape[index] != Shape.BOX))[keep], torch.bool
        ),
        inner=tensor(solids.inner[index][keep]),
        bounds=tensor(bounds[keep]),
    )


def _faces(
    normals: NDArray[np.float64], offsets: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Part (P, 6) faces into those that the camera is outside of, (P, K, 3), and the others, (P, 7, 3)."""
    safe = np.where(np.abs(offsets) < 1e-9, 1e-9, offsets)
    planes, outside = normals / safe[..., None], safe < 0.0
    front = np.where(outside[..., None], planes, np.array([0.0, 0.0, 1e6]))
    order = np.argsort(~outside, axis=1, kind="stable")[:, : outside.sum(1).max(initial=1)]
    back = np.where(outside[..., None], np.array([0.0, 0.0, -1e6]), planes)
    return np.take_along_axis(front, order[..., None], 1), np.concatenate([back, np.zeros((len(back), 1, 3))], axis=1)


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
        boxes = int(torch.searchsorted(solid, view.boxes))
        _conic_span(view, grid, solid[boxes:], row[boxes:], low[boxes:], high[boxes:])
        owner, sample = _fragments(grid, row, low, high)
        x = grid.sample_x[sample]
        part = int(torch.searchsorted(owner, boxes))
        inverse, back = torch.empty_like(x), torch.zeros(len(x), dtype=torch.int64, device=device)
        inverse[:part] = _hit_box(view, solid, grid.y[row], owner[:part], x[:part])
        inverse[part:], back[part:] = _hit_round(view, solid, grid.y[row], owner[part:], x[part:], noise)
        inverse = torch.where(inverse < 1.0 / NEAR_M, inverse, 0.0)
        key = (inverse.view(torch.int32).long() << 32) | (solid[owner] << 1) | back
        nearest.scatter_reduce_(0, sample, key, "amax")
    inverse_depth = (nearest >> 32).int().view(torch.float32)
    seen = inverse_depth > 0.0
    which = torch.where(seen, (nearest & 0xFFFFFFFF) >> 1, NOTHING)
    return Visible(inverse_depth, which, (nearest & 1).bool() & seen)


def _rows(view: View, grid: Grid) -> tuple[Tensor, Tensor]:
    """List the (solid, row) pairs whose row crosses the solid's bounds: two (R,) int64."""
    first = torch.searchsorted(grid.y, view.bounds[:, 2].contiguous())
    count = torch.searchsorted(grid.y, view.bounds[:, 3].contiguous(), right=True) - first
    return expand_ranges(first, count.clamp(min=0))


def expand_ranges(first: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Write out ranges: owner of each item, and first[owner] + 0, 1, ... count[owner] - 1."""
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    start = first - (count.cumsum(0) - count)
    return owner, torch.arange(len(owner), device=count.device) + start[owner]


def _box_span(view: View, grid: Grid, solid: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """Return x/z from and to which each row crosses the solid's box: two (R,); empty where from > to."""
    front, back = view.front[solid], view.back[solid]
    y = grid.y[row, None]
    front_value, back_value = (
        torch.addcmul(front[..., 2], front[..., 1], y),
        torch.addcmul(back[..., 2], back[..., 1], y),
    )
    tilt = (front[:, :, None, 0] - back[:, None, :, 0]).flatten(1)
    gap = (front_value[:, :, None] - back_value[:, None, :]).flatten(1)
    root = -gap / tilt
    low = torch.maximum(view.bounds[solid, 0], torch.where(tilt > 0.0, root, -1e9).amax(1))
    high = torch.minimum(view.bounds[solid, 1], torch.where(tilt < 0.0, root, 1e9).amin(1))
    never = ((tilt == 0.0) & (gap <= 0.0)).any(1)
    return torch.where(never, 1e9, low), high


def _conic_span(view: View, grid: Grid, solid: Tensor, row: Tensor, low: Tensor, high: Tensor) -> None:
    """Narrow the spans of ellipsoids and cylinders, in place, to where their discriminant is positive."""
    weight = torch.ones(len(solid), 3, dtype=torch.float64, device=low.device)
    weight[:, 2] = (view.shape[solid] == Shape.ELLIPSOID).double()
    unit = view.local_from_camera[solid] / view.half[solid].double()[..., None] * weight[..., None]
    base = unit[..., 1] * grid.y[row, None] + unit[..., 2]
    step, origin = unit[..., 0], unit[..., 3]
    beyond = (origin * origin).sum(1) - 1.0
    along0, along1 = (base * origin).sum(1), (step * origin).sum(1)
    a = along1**2 - beyond * (step * step).sum(1)
    b = along0 * along1 - beyond * (base * step).sum(1)
    c = along0**2 - beyond * (base * base).sum(1)
    inside = b * b - a * c
    root = inside.clamp(min=0.0).sqrt()
    ends = torch.stack([(-b - root) / a, (-b + root) / a]).float()
    bounded = (a < 0.0) & (beyond > 0.0)
    low.copy_(torch.where(bounded, torch.maximum(low, ends.amin(0)), low))
    high.copy_(torch.where(bounded, torch.minimum(high, ends.amax(0)), high))
    low.masked_fill_(bounded & (inside <= 0.0), 1e9)


def _fragments(grid: Grid, row: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Write spans out: which (solid, row) pair and which sample each fragment has, two (F,) int64."""
    first = torch.searchsorted(grid.x, low)
    last = torch.maximum(torch.searchsorted(grid.x, high, right=True), first)
    begin, end = grid.starts[row, first], grid.starts[row, last]
    return expand_ranges(begin, end - begin)


def _hit_box(view: View, solid: Tensor, y: Tensor, owner: Tensor, x: Tensor) -> Tensor:
    """Return the inverse depth of fragments of boxes: the least of their front planes'."""
    front = view.front[solid]
    value = torch.addcmul(front[..., 2], front[..., 1], y[:, None])
    inverse = torch.full_like(x, 1.0 / NEAR_M)
    for face in range(front.shape[1]):
        plane = value[:, face].contiguous()[owner].addcmul_(front[:, face, 0].contiguous()[owner], x)
        torch.minimum(inverse, plane, out=inverse)
    return inverse.clamp_(min=0.0)


def _hit_round(
    view: View, solid_of_row: Tensor, y: Tensor, owner: Tensor, x: Tensor, noise: Noise
) -> tuple[Tensor, Tensor]:
    """Return the inverse depth of fragments of round solids, 0 for a miss, and 1 where a shell's inner side is seen."""
    solid = solid_of_row[owner]
    unit = (view.local_from_camera / view.half.double()[..., None]).float()
    line = unit[solid_of_row, :, 1] * y[:, None] + unit[solid_of_row, :, 2]
    ray = unit[..., 0].contiguous()[solid] * x[:, None] + line[owner]
    origin = unit[..., 3].contiguous()[solid]
    cylinder = view.shape[solid] == Shape.CYLINDER
    weight = torch.ones_like(ray)
    weight[:, 2] = (~cylinder).float()
    flat = ray * weight
    square = (flat * flat).sum(1)
    middle = -(flat * origin).sum(1) / square
    # The nearest point to the axis first: the textbook discriminant loses all digits far away.
    closest = (origin + middle[:, None] * ray) * weight
    chord = (1.0 - (closest * closest).sum(1)) / square
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
    return torch.where(hit & (enter > NEAR_M), 1.0 / enter, 0.0), back.long()


def _is_hole(local: Tensor, solid: Tensor, view: View, noise: Noise) -> Tensor:
    """Say which points of leafy shells are holes, from their place on the shell alone: (N,) bool."""
    offset = (view.index[solid] % 97).float()[:, None]
    return noise.space(local / _LEAF_M + offset) < _LEAF_HOLES
