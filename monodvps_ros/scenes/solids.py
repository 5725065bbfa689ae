# SPDX-License-Identifier: Apache-2.0
"""What a scene is made of: tapered boxes, ellipsoids and cylinders, each fixed to a body that may move."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.labels import CITYSCAPES, encode_panoptic

Color = tuple[float, float, float]


class Shape(IntEnum):
    """Kinds of solids."""

    BOX = 0
    ELLIPSOID = 1
    CYLINDER = 2


class Material(IntEnum):
    """How a solid's surface is painted; `shading` has one function for each."""

    PLAIN = 0
    FACADE = 1
    FOLIAGE = 2
    PAINT = 3
    GLASS = 4
    COACH = 5
    SLATS = 6
    BRICK = 7
    LAMP = 8
    SIGN = 9
    WHEEL = 10
    ROOF = 11


@dataclass(frozen=True)
class Part:
    """One solid of a model, in the model's frame (x forward, y left, z up, origin on the ground, metres).

    Attributes:
        shape: what it is.
        center: its middle.
        half: half its extents along its own axes.
        class_name: Cityscapes class.
        color: main colour, 0..1.
        color2: second colour of the material, 0..1.
        material: its paint.
        top: for boxes: x from and to, y from and to of the upper face, as multiples of the half extents.
        turn: (3, 3) rotation of its axes.
        inner: for cylinders: share of the radius that is open, as in a bicycle's wheel.
        params: up to four numbers whose meaning the material gives, 0 where left out.
    """

    shape: Shape
    center: tuple[float, float, float]
    half: tuple[float, float, float]
    class_name: str
    color: Color
    color2: Color = (0.0, 0.0, 0.0)
    material: Material = Material.PLAIN
    top: tuple[float, float, float, float] = (-1.0, 1.0, -1.0, 1.0)
    turn: NDArray[np.float64] = field(default_factory=lambda: np.eye(3))
    inner: float = 0.0
    params: tuple[float, ...] = ()


Model = tuple[Part, ...]
box, ellipsoid, cylinder = (partial(Part, shape) for shape in (Shape.BOX, Shape.ELLIPSOID, Shape.CYLINDER))


def pick(generator: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    """Choose a colour, each alike."""
    return colors[generator.integers(len(colors))]


def moved(model: Iterable[Part], x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Model:
    """Shift a model within its frame by metres."""
    return tuple(replace(p, center=(p.center[0] + x, p.center[1] + y, p.center[2] + z)) for p in model)


def turn_about(axis: str, angle: float) -> NDArray[np.float64]:
    """Return the (3, 3) rotation about one axis, 'x', 'y' or 'z', by radians."""
    cos_a, sin_a = np.cos(angle), np.sin(angle)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    turn = np.eye(3)
    turn[i, i], turn[i, j], turn[j, i], turn[j, j] = cos_a, -sin_a, sin_a, cos_a
    return turn


@dataclass(frozen=True, eq=False)
class Solids:
    """All solids of a drive as arrays; P solids, in the frames of their bodies (body 0 is the world).

    Attributes:
        body: (P,) int64.
        shape: (P,) int64, `Shape`.
        material: (P,) int64, `Material`.
        panoptic: (P,) int64 panoptic ids.
        turn: (P, 3, 3) axes of the solid, in columns.
        center: (P, 3).
        half: (P, 3).
        planes: (P, 6, 4) outward unit normal n and w; inside is n.x <= w; faces +x, -x, +y, -y, +z, -z.
        corners: (P, 8, 3).
        color: (P, 3), color2: (P, 3), params: (P, 4), inner: (P,).
    """

    body: NDArray[np.int64]
    shape: NDArray[np.int64]
    material: NDArray[np.int64]
    panoptic: NDArray[np.int64]
    turn: NDArray[np.float64]
    center: NDArray[np.float64]
    half: NDArray[np.float64]
    planes: NDArray[np.float64]
    corners: NDArray[np.float64]
    color: NDArray[np.float64]
    color2: NDArray[np.float64]
    params: NDArray[np.float64]
    inner: NDArray[np.float64]


class SolidsBuilder:
    """Collects models and turns them into arrays."""

    def __init__(self) -> None:
        self._rows: list[tuple[Part, int, int, NDArray[np.float64]]] = []
        self.bodies = 1

    def new_body(self) -> int:
        """Reserve the number of one more body."""
        self.bodies += 1
        return self.bodies - 1

    def add(
        self, model: Model, instances: dict[str, int], body: int = 0, pose: NDArray[np.float64] | None = None
    ) -> None:
        """Add a model, with the instance id of each thing class among its parts, to a body; 0 is the world.

        `pose` is (4, 4) from the model's frame to the body's; None where they are one.
        """
        pose = np.eye(4) if pose is None else pose
        for part in model:
            self._rows.append((part, body, instances.get(part.class_name, 0), pose))

    def build(self) -> Solids:
        """Make the arrays."""
        parts = [row[0] for row in self._rows]
        poses = np.stack([row[3] for row in self._rows])
        classes = np.array([CITYSCAPES.class_id(part.class_name) for part in parts])
        turn = poses[:, :3, :3] @ np.stack([part.turn for part in parts])
        center = (poses[:, :3, :3] @ np.array([part.center for part in parts])[..., None])[..., 0] + poses[:, :3, 3]
        half = np.array([part.half for part in parts])
        tops = np.array([part.top for part in parts])
        return Solids(
            body=np.array([row[1] for row in self._rows]),
            shape=np.array([int(part.shape) for part in parts]),
            material=np.array([int(part.material) for part in parts]),
            panoptic=encode_panoptic(classes, np.array([row[2] for row in self._rows])).astype(np.int64),
            turn=turn,
            center=center,
            half=half,
            planes=_planes(turn, center, half, tops),
            corners=_corners(turn, center, half, tops),
            color=np.array([part.color for part in parts]),
            color2=np.array([part.color2 for part in parts]),
            params=np.array([(*part.params, 0.0, 0.0, 0.0, 0.0)[:4] for part in parts]),
            inner=np.array([part.inner for part in parts]),
        )


def _planes(
    turn: NDArray[np.float64], center: NDArray[np.float64], half: NDArray[np.float64], tops: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (P, 6, 4) planes of tapered boxes: each side leans from the bottom edge to the top edge."""
    normals, offsets = np.zeros((len(half), 6, 3)), np.zeros((len(half), 6))
    for face, (axis, sign) in enumerate([(0, 1), (0, -1), (1, 1), (1, -1)]):
        reach = half[:, axis]
        upper = sign * tops[:, 2 * axis + (1 if sign > 0 else 0)] * reach
        normals[:, face, axis] = sign
        normals[:, face, 2] = -(upper - reach) / (2.0 * half[:, 2])
        offsets[:, face] = (upper + reach) / 2.0
    normals[:, 4, 2], normals[:, 5, 2] = 1.0, -1.0
    offsets[:, 4] = offsets[:, 5] = half[:, 2]
    length = np.linalg.norm(normals, axis=2)
    normals, offsets = normals / length[..., None], offsets / length
    turned = normals @ np.swapaxes(turn, 1, 2)
    return np.concatenate([turned, (offsets + (turned @ center[..., None])[..., 0])[..., None]], axis=2)


def _corners(
    turn: NDArray[np.float64], center: NDArray[np.float64], half: NDArray[np.float64], tops: NDArray[np.float64]
) -> NDArray[np.float64]:
    local = np.zeros((len(half), 8, 3))
    for corner in range(8):
        right, left, up = corner & 1, corner >> 1 & 1, corner >> 2
        local[:, corner, 0] = half[:, 0] * (tops[:, right] if up else 2 * right - 1)
        local[:, corner, 1] = half[:, 1] * (tops[:, 2 + left] if up else 2 * left - 1)
        local[:, corner, 2] = half[:, 2] * (2 * up - 1)
    return local @ np.swapaxes(turn, 1, 2) + center[:, None]
