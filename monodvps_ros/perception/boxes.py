# SPDX-License-Identifier: Apache-2.0
"""Upright boxes around instances, from their depth and the road: what one view shows, completed by the class's size.

The heading is that of the rectangle to whose sides an instance's points, seen from above, lie closest: the closeness
criterion of Zhang et al., "Efficient L-Shape Fitting for Vehicle Detection Using Laser Scanners", IV 2017. The sides
that face the camera are kept where they are seen; the others follow from the size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from monodvps_ros.outputs import Box3D, Segment

Array: TypeAlias = NDArray[np.float64]
Triple: TypeAlias = tuple[float, float, float]
Quaternion: TypeAlias = tuple[float, float, float, float]

#: Usual length, width and height in metres, by class name; of other classes a box has the size that is seen.
USUAL_SIZES_M = {
    "person": (0.6, 0.6, 1.7),
    "rider": (0.8, 0.6, 1.7),
    "bicyclist": (1.8, 0.6, 1.7),
    "motorcyclist": (2.1, 0.8, 1.7),
    "car": (4.4, 1.8, 1.55),
    "other-vehicle": (5.0, 2.0, 2.0),
    "truck": (8.0, 2.5, 3.2),
    "bus": (11.5, 2.55, 3.2),
    "train": (25.0, 2.6, 3.5),
    "motorcycle": (2.1, 0.8, 1.3),
    "bicycle": (1.75, 0.6, 1.1),
}
#: Sizes differ from the usual ones by at most these factors.
LEAST, MOST = 0.8, 1.5
LEAST_POINTS, MOST_POINTS = 20, 200
_HEADINGS = np.deg2rad(np.arange(0.0, 90.0, 3.0))
_TRIM = 0.05  # share of points at either end that may lie on something else
_ROUND = 1.5  # length over width below which a class has no heading of its own
_LEAST_DISTANCE_M, _RELATIVE_DISTANCE = 0.1, 0.01  # to a side: the depth of no point is known better


@dataclass(frozen=True, eq=False)
class Ground:
    """The road below a camera.

    Attributes:
        axes: (3, 3) rows right, down and forward of a level frame, unit vectors in the optical frame.
        camera_height_m: of the camera above the road; NaN where no road is seen.
    """

    axes: Array
    camera_height_m: float


def ground_of(plane: Array | None) -> Ground:
    """Make the level frame of a road.

    Args:
        plane: (3,) n with n . X = 1 for points X of the road, optical frame, metres; None where none is seen: level is
            then what the camera takes for level.
    """
    down = np.array([0.0, 1.0, 0.0]) if plane is None else plane / np.linalg.norm(plane)
    right = np.cross(down, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    height_m = np.nan if plane is None else 1.0 / float(np.linalg.norm(plane))
    return Ground(np.stack((right, down, np.cross(right, down))), height_m)


def instance_points(codes: NDArray[np.int64], points_m: NDArray[np.float32], capacity: int) -> dict[int, Array]:
    """Sort the points of a map by instance.

    Args:
        codes: (h, w); instances are 1..capacity.
        points_m: (h, w, 3) in the optical frame, NaN where there is none.
        capacity: greatest code of an instance.

    Returns:
        (N, 3) float64 points of each instance that has LEAST_POINTS; those at its edges, where depth is a mixture of
        two surfaces, only where it has too few others.
    """
    inside = np.ones(codes.shape, np.bool_)
    across, down = codes[:, :-1] == codes[:, 1:], codes[:-1] == codes[1:]
    inside[:, :-1] &= across
    inside[:, 1:] &= across
    inside[:-1] &= down
    inside[1:] &= down
    usable = np.flatnonzero((codes > 0) & (codes <= capacity) & np.isfinite(points_m[..., 2]))
    usable = usable[np.argsort(codes.reshape(-1)[usable], kind="stable")]
    names, starts = np.unique(codes.reshape(-1)[usable], return_index=True)
    found = {}
    for code, pixels in zip(names.tolist(), np.split(usable, starts[1:]), strict=False):
        inner = pixels[inside.reshape(-1)[pixels]]
        chosen = inner if len(inner) >= LEAST_POINTS else pixels
        if len(chosen) >= LEAST_POINTS:
            found[code] = points_m.reshape(-1, 3)[chosen].astype(np.float64)
    return found


def fit_boxes(
    codes: NDArray[np.int64],
    points_m: NDArray[np.float32],
    things: Mapping[int, Segment],
    colors: NDArray[np.uint8],
    ground: Ground,
    max_range_m: float,
) -> tuple[Box3D, ...]:
    """Fit a box to each instance that has enough points.

    Args:
        codes: (h, w), as `instance_points` says.
        points_m: (h, w, 3) in the optical frame, NaN where there is none.
        things: the instances by their codes.
        colors: (S, 3) red, green, blue by code.
        ground: below the camera.
        max_range_m: instances with a greater median depth have no box.

    Returns:
        The boxes, nearest first.
    """
    boxes = []
    for code, points in instance_points(codes, points_m, max(things, default=0)).items():
        segment = things.get(code)
        if segment is not None and segment.median_depth_m <= max_range_m:
            red, green, blue = colors[code].tolist()
            boxes.append(Box3D(segment, *fit_box(points, segment.class_name, ground), (red, green, blue)))
    return tuple(sorted(boxes, key=lambda box: box.segment.median_depth_m))


def fit_box(points_m: Array, class_name: str, ground: Ground) -> tuple[Triple, Triple, Quaternion]:
    """Fit a box to the visible points of an instance.

    Args:
        points_m: (N, 3) in the optical frame, at least LEAST_POINTS; none is NaN. Some may lie behind the instance.
        class_name: whose usual size completes what is hidden.
        ground: below the camera.

    Returns:
        Middle in the optical frame and (length, width, height) in metres, and the rotation (x, y, z, w), as in
        `outputs.Box3D`.
    """
    points = points_m[np.linspace(0, len(points_m) - 1, min(len(points_m), MOST_POINTS)).astype(int)] @ ground.axes.T
    usual = USUAL_SIZES_M.get(class_name)
    points = _without_background(points, usual)
    flat = points[:, [0, 2]]
    middle = np.median(flat, axis=0)
    distance_m = max(float(np.linalg.norm(middle)), 1e-9)
    sight = middle / distance_m
    has_heading = usual is None or usual[0] > _ROUND * usual[1]
    first = _heading(flat, distance_m) if has_heading else sight
    along, across = _as_length_and_width(flat, (first, np.array([-first[1], first[0]])), sight, usual)
    length, width = (
        _complete(flat @ axis, axis, sight, size)
        for axis, size in zip((along, across), (usual or (0.0, 0.0))[:2], strict=True)
    )
    top, bottom = _upright(points[:, 1], usual, ground.camera_height_m)
    flat_center = along * sum(length) / 2 + across * sum(width) / 2
    center = np.array([flat_center[0], (top + bottom) / 2, flat_center[1]]) @ ground.axes
    forward, up = np.array([along[0], 0.0, along[1]]) @ ground.axes, -ground.axes[1]
    x, y, z, w = Rotation.from_matrix(np.stack((forward, np.cross(up, forward), up), axis=1)).as_quat().tolist()
    return (*center.tolist(),), (length[1] - length[0], width[1] - width[0], bottom - top), (x, y, z, w)


def _without_background(points: Array, usual: Triple | None) -> Array:
    """Drop points farther behind the nearest than the class is long: masks and depth bleed at the edges."""
    if usual is None:
        return points
    distance = np.hypot(points[:, 0], points[:, 2])
    return np.asarray(points[distance < _quantile(distance, _TRIM) + 1.1 * np.hypot(usual[0], usual[1])])


def _ends(values: Array) -> Array:
    """Both ends (2, ...) of values (N, ...) that are spread evenly, whatever the outermost tenth of them is."""
    low, high = _quantile(values, _TRIM), _quantile(values, 1.0 - _TRIM)
    beyond = (high - low) * _TRIM / (1.0 - 2.0 * _TRIM)
    return np.stack((low - beyond, high + beyond))


def _quantile(values: Array, share: float) -> Array:
    """The value (...) that a share of values (N, ...) lies below, to the nearest of them: np.quantile is slower."""
    place = round(share * (len(values) - 1))
    return np.asarray(np.partition(values, place, axis=0)[place])


def _heading(flat: Array, distance_m: float) -> Array:
    """Direction (2,) of one side of the rectangle whose sides the points lie closest to; the others follow."""
    axes = np.stack((np.cos(_HEADINGS), np.sin(_HEADINGS)))
    closest = np.full((len(flat), len(_HEADINGS)), np.inf)
    for along in (flat @ axes, flat @ np.stack((-axes[1], axes[0]))):
        low, high = _ends(along)
        closest = np.minimum(closest, np.minimum(np.abs(along - low), np.abs(high - along)))
    least = max(_LEAST_DISTANCE_M, _RELATIVE_DISTANCE * distance_m)
    best = int((1.0 / np.maximum(closest, least)).sum(0).argmax())
    return np.asarray(axes[:, best])


def _as_length_and_width(
    flat: Array, sides: tuple[Array, Array], sight: Array, usual: Triple | None
) -> tuple[Array, Array]:
    """Tell which of two directions (2,) is the length's; both turned away from the camera.

    What is seen of a side counts the more the more squarely it is seen; no side is longer than what is seen of it.
    """
    extent = [float(np.ptp(_ends(flat @ side))) for side in sides]
    swap = extent[1] > extent[0]
    if usual is not None:
        costs = []
        for length, width in ((0, 1), (1, 0)):
            cost = 0.0
            for side, size in ((length, usual[0]), (width, usual[1])):
                off = np.log(max(extent[side], 0.05) / size)
                cost += off**2 * (1.0 if off > 0 else 1.0 - float(sides[side] @ sight) ** 2)
            costs.append(cost)
        swap = costs[1] < costs[0]
    along, across = (sides[1], sides[0]) if swap else sides
    return along * _sign(float(along @ sight)), across * _sign(float(across @ sight))


def _complete(values: Array, axis: Array, sight: Array, usual: float) -> tuple[float, float]:
    """Ends of a box along an axis that points away from the camera: the near one as seen, the far one by the size.

    Seen squarely, both ends are seen, and what is missing or too much is shared between them. Seen end-on, the near end
    is a face, where many points lie, and the far one is hidden.
    """
    low, high = _ends(values)
    if not usual:
        return float(low), float(high)
    hidden = float(axis @ sight) ** 2
    low += hidden * (_quantile(values, _TRIM) - low)
    least, most = (usual * (factor + (1.0 - factor) * hidden) for factor in (LEAST, MOST))
    size = float(np.clip(high - low, least, most))
    low -= (size - (high - low)) * 0.5 * (1.0 - hidden)
    return float(low), float(low + size)


def _upright(down: Array, usual: Triple | None, camera_height_m: float) -> tuple[float, float]:
    """Top and bottom of a box, metres below the camera: on the road, where that is near the lowest point seen."""
    top, bottom = float(_quantile(down, 0.01)), float(_quantile(down, 0.99))
    usual_height = usual[2] if usual is not None else bottom - top
    if -0.5 <= camera_height_m - bottom <= usual_height:
        bottom = camera_height_m
    if usual is not None:
        top = bottom - float(np.clip(bottom - top, 0.5 * usual_height, MOST * usual_height))
    return top, bottom


def _sign(value: float) -> float:
    return -1.0 if value < 0 else 1.0
