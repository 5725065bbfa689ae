# SPDX-License-Identifier: Apache-2.0
"""Models of cars, trucks, buses, trams, motorcycles and bicycles."""

from dataclasses import dataclass

import numpy as np

from monodvps_ros.scenes.solids import Color, Material, Model, Part, Shape, turn_about

_DARK: Color = (0.07, 0.07, 0.08)
_GLASS: Color = (0.20, 0.26, 0.31)
_ON_SIDE = turn_about("x", np.pi / 2)

CAR_COLORS: tuple[Color, ...] = (
    (0.82, 0.83, 0.84),
    (0.62, 0.64, 0.66),
    (0.16, 0.17, 0.19),
    (0.10, 0.10, 0.11),
    (0.55, 0.08, 0.08),
    (0.10, 0.20, 0.45),
    (0.20, 0.36, 0.55),
    (0.72, 0.66, 0.50),
    (0.13, 0.30, 0.20),
    (0.85, 0.62, 0.12),
    (0.45, 0.30, 0.22),
    (0.90, 0.90, 0.88),
)


@dataclass(frozen=True)
class CarBody:
    """Proportions of a car, metres: length, width, height, belt line, and x of the cabin as shares of the length."""

    length: float
    width: float
    height: float
    belt: float
    cabin: tuple[float, float]
    roof: tuple[float, float]


CAR_BODIES = (
    CarBody(4.15, 1.76, 1.46, 0.88, (-0.47, 0.24), (-0.38, 0.06)),  # hatchback
    CarBody(4.65, 1.82, 1.44, 0.87, (-0.36, 0.22), (-0.22, 0.05)),  # saloon
    CarBody(4.60, 1.90, 1.72, 1.02, (-0.47, 0.25), (-0.42, 0.08)),  # SUV
    CarBody(4.75, 1.80, 1.50, 0.88, (-0.48, 0.22), (-0.44, 0.05)),  # estate
    CarBody(5.00, 1.95, 2.05, 1.15, (-0.49, 0.40), (-0.485, 0.24)),  # van
)


def _wheels(at_x: tuple[float, ...], half_track: float, radius: float, width: float, name: str) -> Model:
    return tuple(
        Part(
            Shape.CYLINDER,
            (x, side * half_track, radius),
            (radius, radius, width / 2),
            name,
            _DARK,
            (0.62, 0.63, 0.65),
            Material.WHEEL,
            turn=_ON_SIDE,
        )
        for x in at_x
        for side in (-1.0, 1.0)
    )


def car(generator: np.random.Generator) -> tuple[Model, tuple[float, float]]:
    """Draw a car; returns it with half its length and half its width, metres."""
    body = CAR_BODIES[generator.choice(len(CAR_BODIES), p=[0.3, 0.25, 0.2, 0.15, 0.1])]
    color: Color = CAR_COLORS[generator.integers(len(CAR_COLORS))]
    half_l, half_w, belt = body.length / 2, body.width / 2, body.belt
    low = Part(
        Shape.BOX,
        (0.0, 0.0, (0.20 + 0.58) / 2),
        (half_l, half_w, 0.19),
        "car",
        color,
        _DARK,
        Material.PAINT,
        params=(0.0, 0.0, 0.0, 0.0),
        top=(-1.0, 1.0, -0.98, 0.98),
    )
    upper_half = (belt - 0.58) / 2
    upper = Part(
        Shape.BOX,
        (0.0, 0.0, 0.58 + upper_half),
        (half_l, half_w * 0.98, upper_half),
        "car",
        color,
        (0.95, 0.95, 0.9),
        Material.PAINT,
        top=(-0.975, 0.92, -0.95, 0.95),
        params=(1.0, 0.0, 0.0, 0.0),
    )
    back, front = body.cabin[0] * body.length, body.cabin[1] * body.length
    roof_back, roof_front = body.roof[0] * body.length, body.roof[1] * body.length
    mid, reach, tall = (back + front) / 2, (front - back) / 2, (body.height - belt) / 2
    top = ((roof_back - mid) / reach, (roof_front - mid) / reach)
    cabin = Part(
        Shape.BOX,
        (mid, 0.0, belt + tall),
        (reach, half_w * 0.92, tall),
        "car",
        _GLASS,
        color,
        Material.GLASS,
        top=(*top, -0.80, 0.80),
    )
    roof = Part(
        Shape.BOX,
        ((roof_back + roof_front) / 2, 0.0, body.height),
        ((roof_front - roof_back) / 2, half_w * 0.75, 0.03),
        "car",
        color,
        top=(-0.95, 0.95, -0.9, 0.9),
    )
    mirrors = tuple(
        Part(Shape.BOX, (front - 0.30, side * (half_w + 0.06), belt + 0.06), (0.06, 0.09, 0.07), "car", color)
        for side in (-1.0, 1.0)
    )
    wheels = _wheels((-0.29 * body.length, 0.31 * body.length), half_w - 0.08, 0.32, 0.22, "car")
    return (low, upper, cabin, roof, *mirrors, *wheels), (half_l, half_w)


def truck(generator: np.random.Generator) -> tuple[Model, tuple[float, float]]:
    """Draw a lorry with a box; returns it with half its length and half its width, metres."""
    color: Color = CAR_COLORS[generator.integers(len(CAR_COLORS))]
    cargo: Color = ((0.86, 0.86, 0.84), (0.70, 0.72, 0.74), (0.75, 0.55, 0.20), (0.25, 0.40, 0.60))[
        generator.integers(4)
    ]
    half_l, half_w = float(generator.uniform(3.4, 4.4)), 1.2
    tall = float(generator.uniform(1.1, 1.35))
    box = Part(
        Shape.BOX,
        (-0.95, 0.0, 0.95 + tall),
        (half_l - 0.95, half_w, tall),
        "truck",
        cargo,
        color,
        Material.COACH,
        params=(1.0, float(generator.random()), 0.0, 0.0),
    )
    frame = Part(Shape.BOX, (0.0, 0.0, 0.75), (half_l - 0.05, 0.9, 0.2), "truck", (0.15, 0.15, 0.16))
    low = Part(
        Shape.BOX,
        (half_l - 0.85, 0.0, 0.95),
        (0.85, half_w * 0.96, 0.55),
        "truck",
        color,
        _DARK,
        Material.PAINT,
        params=(2.0, 0.0, 0.0, 0.0),
    )
    cab = Part(
        Shape.BOX,
        (half_l - 0.9, 0.0, 2.0),
        (0.80, half_w * 0.94, 0.5),
        "truck",
        _GLASS,
        color,
        Material.GLASS,
        top=(-1.0, 0.72, -0.93, 0.93),
    )
    lid = Part(Shape.BOX, (half_l - 1.0, 0.0, 2.54), (0.68, half_w * 0.86, 0.05), "truck", color)
    return (
        box,
        frame,
        low,
        cab,
        lid,
        *_wheels((half_l - 0.9, -half_l + 1.1, -half_l + 2.2), half_w - 0.16, 0.48, 0.3, "truck"),
    ), (half_l, half_w)


def bus(generator: np.random.Generator) -> tuple[Model, tuple[float, float]]:
    """Draw a city bus; returns it with half its length and half its width, metres."""
    color: Color = ((0.80, 0.15, 0.12), (0.85, 0.70, 0.15), (0.20, 0.45, 0.65), (0.85, 0.86, 0.85))[
        generator.integers(4)
    ]
    half_l, half_w = 5.6, 1.25
    body = Part(
        Shape.BOX,
        (0.0, 0.0, 1.70),
        (half_l, half_w, 1.32),
        "bus",
        color,
        _GLASS,
        Material.COACH,
        top=(-0.995, 0.985, -0.96, 0.96),
        params=(0.0, float(generator.random()), 0.0, 0.0),
    )
    roof = Part(Shape.BOX, (-1.0, 0.0, 3.12), (3.2, 0.8, 0.12), "bus", (0.75, 0.75, 0.75))
    return (body, roof, *_wheels((-3.0, 3.2), half_w - 0.16, 0.48, 0.3, "bus")), (half_l, half_w)


def tram(generator: np.random.Generator) -> tuple[Model, tuple[float, float]]:
    """Draw a tram of three cars, class train; returns it with half its length and half its width, metres."""
    color: Color = ((0.78, 0.20, 0.15), (0.90, 0.85, 0.60), (0.20, 0.50, 0.40))[generator.integers(3)]
    shade = float(generator.random())
    cars = tuple(
        Part(
            Shape.BOX,
            (x, 0.0, 1.85),
            (4.7, 1.2, 1.5),
            "train",
            color,
            _GLASS,
            Material.COACH,
            top=(-0.98 if x < 0 else -1.0, 0.98 if x > 0 else 1.0, -0.95, 0.95),
            params=(0.0, shade, 0.0, 0.0),
        )
        for x in (-9.8, 0.0, 9.8)
    )
    joints = tuple(Part(Shape.BOX, (x, 0.0, 1.8), (0.25, 1.05, 1.4), "train", _DARK) for x in (-4.9, 4.9))
    bogies = tuple(Part(Shape.BOX, (x, 0.0, 0.25), (1.2, 0.9, 0.2), "train", _DARK) for x in (-10.0, 0.0, 10.0))
    return (*cars, *joints, *bogies), (14.5, 1.2)


def _tube(name: str, start: tuple[float, float], end: tuple[float, float], color: Color, thick: float = 0.022) -> Part:
    """Make a thin bar in the plane y = 0 between two (x, z) places."""
    dx, dz = end[0] - start[0], end[1] - start[1]
    turn = turn_about("y", -float(np.arctan2(dz, dx)))
    middle = ((start[0] + end[0]) / 2, 0.0, (start[1] + end[1]) / 2)
    return Part(Shape.BOX, middle, (float(np.hypot(dx, dz)) / 2, thick, thick), name, color, turn=turn)


def bicycle(generator: np.random.Generator) -> Model:
    """Draw a bicycle of 1.7 m."""
    color: Color = CAR_COLORS[generator.integers(3, len(CAR_COLORS))]
    name = "bicycle"
    wheels = tuple(
        Part(Shape.CYLINDER, (x, 0.0, 0.34), (0.34, 0.34, 0.025), name, _DARK, turn=_ON_SIDE, inner=0.84)
        for x in (-0.52, 0.52)
    )
    bars = (
        ((-0.52, 0.34), (-0.12, 0.30)),
        ((-0.12, 0.30), (0.40, 0.72)),
        ((-0.12, 0.30), (-0.22, 0.84)),
        ((-0.22, 0.78), (0.38, 0.80)),
        ((0.52, 0.34), (0.36, 0.92)),
        ((-0.52, 0.34), (-0.20, 0.74)),
    )
    tubes = tuple(_tube(name, start, end, color) for start, end in bars)
    handle = Part(Shape.BOX, (0.38, 0.0, 0.95), (0.03, 0.26, 0.02), name, _DARK)
    saddle = Part(Shape.BOX, (-0.24, 0.0, 0.87), (0.12, 0.06, 0.03), name, _DARK)
    return (*wheels, *tubes, handle, saddle)


def motorcycle(generator: np.random.Generator) -> Model:
    """Draw a motorcycle of 2.1 m."""
    color: Color = CAR_COLORS[generator.integers(len(CAR_COLORS))]
    name = "motorcycle"
    wheels = tuple(
        Part(
            Shape.CYLINDER,
            (x, 0.0, 0.31),
            (0.31, 0.31, 0.07),
            name,
            _DARK,
            (0.5, 0.5, 0.52),
            Material.WHEEL,
            turn=_ON_SIDE,
        )
        for x in (-0.70, 0.72)
    )
    tank = Part(Shape.ELLIPSOID, (0.10, 0.0, 0.80), (0.36, 0.17, 0.17), name, color)
    engine = Part(Shape.BOX, (0.05, 0.0, 0.48), (0.32, 0.15, 0.20), name, (0.25, 0.25, 0.27))
    seat = Part(Shape.BOX, (-0.50, 0.0, 0.80), (0.38, 0.14, 0.06), name, _DARK, top=(-0.9, 1.0, -0.8, 0.8))
    tail = Part(Shape.BOX, (-0.80, 0.0, 0.70), (0.16, 0.10, 0.08), name, color)
    fork = _tube(name, (0.72, 0.31), (0.45, 1.02), (0.5, 0.5, 0.52), 0.035)
    lamp = Part(Shape.ELLIPSOID, (0.60, 0.0, 0.92), (0.10, 0.13, 0.13), name, (0.9, 0.9, 0.8))
    bar = Part(Shape.BOX, (0.42, 0.0, 1.04), (0.03, 0.36, 0.02), name, _DARK)
    return (*wheels, tank, engine, seat, tail, fork, lamp, bar)
