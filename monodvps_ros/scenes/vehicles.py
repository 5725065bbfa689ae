# SPDX-License-Identifier: Apache-2.0
"""Models of cars, trucks, buses, trams, motorcycles and bicycles."""

from dataclasses import dataclass

import numpy as np

from monodvps_ros.scenes.solids import Color, Material, Model, Part, box, cylinder, ellipsoid, pick, turn_about

_DARK: Color = (0.07, 0.07, 0.08)
_GLASS: Color = (0.20, 0.26, 0.31)
_RIM: Color = (0.62, 0.63, 0.65)
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


def _wheel(at: tuple[float, float], y: float, radius: float, half_width: float, name: str, rim: Color = _RIM) -> Part:
    """Make a wheel about (x, z)."""
    half = (radius, radius, half_width)
    return cylinder((at[0], y, at[1]), half, name, _DARK, rim, Material.WHEEL, turn=_ON_SIDE)


def _wheels(at_x: tuple[float, ...], half_track: float, radius: float, width: float, name: str) -> Model:
    return tuple(_wheel((x, radius), side * half_track, radius, width / 2, name) for x in at_x for side in (-1.0, 1.0))


def car(generator: np.random.Generator) -> tuple[Model, tuple[float, float]]:
    """Draw a car; returns it with half its length and half its width, metres."""
    body = CAR_BODIES[generator.choice(len(CAR_BODIES), p=[0.3, 0.25, 0.2, 0.15, 0.1])]
    color, name = pick(generator, CAR_COLORS), "car"
    half_l, half_w, belt = body.length / 2, body.width / 2, body.belt
    middle, half, top = (0.0, 0.0, (0.20 + 0.58) / 2), (half_l, half_w, 0.19), (-1.0, 1.0, -0.98, 0.98)
    low = box(middle, half, name, color, _DARK, Material.PAINT, top)
    rise = (belt - 0.58) / 2
    middle, half, top = (0.0, 0.0, 0.58 + rise), (half_l, half_w * 0.98, rise), (-0.975, 0.92, -0.95, 0.95)
    upper = box(middle, half, name, color, (0.95, 0.95, 0.9), Material.PAINT, top, params=(1.0,))
    back, front, roof_back, roof_front = (share * body.length for share in (*body.cabin, *body.roof))
    mid, reach, tall = (back + front) / 2, (front - back) / 2, (body.height - belt) / 2
    middle, half = (mid, 0.0, belt + tall), (reach, half_w * 0.92, tall)
    top = ((roof_back - mid) / reach, (roof_front - mid) / reach, -0.80, 0.80)
    cabin = box(middle, half, name, _GLASS, color, Material.GLASS, top)
    middle, half = ((roof_back + roof_front) / 2, 0.0, body.height), ((roof_front - roof_back) / 2, half_w * 0.75, 0.03)
    roof = box(middle, half, name, color, top=(-0.95, 0.95, -0.9, 0.9))
    mirrors = tuple(
        box((front - 0.30, side * (half_w + 0.06), belt + 0.06), (0.06, 0.09, 0.07), name, color)
        for side in (-1.0, 1.0)
    )
    wheels = _wheels((-0.29 * body.length, 0.31 * body.length), half_w - 0.08, 0.32, 0.22, name)
    return (low, upper, cabin, roof, *mirrors, *wheels), (half_l, half_w)


def truck(generator: np.random.Generator) -> tuple[Model, tuple[float, float]]:
    """Draw a lorry with a box; returns it with half its length and half its width, metres."""
    color, name = pick(generator, CAR_COLORS), "truck"
    paint = pick(generator, ((0.86, 0.86, 0.84), (0.70, 0.72, 0.74), (0.75, 0.55, 0.20), (0.25, 0.40, 0.60)))
    half_l, half_w, tall = generator.uniform(3.4, 4.4), 1.2, generator.uniform(1.1, 1.35)
    middle, half, params = (-0.95, 0.0, 0.95 + tall), (half_l - 0.95, half_w, tall), (1.0, generator.random())
    cargo = box(middle, half, name, paint, color, Material.COACH, params=params)
    frame = box((0.0, 0.0, 0.75), (half_l - 0.05, 0.9, 0.2), name, (0.15, 0.15, 0.16))
    middle, half = (half_l - 0.85, 0.0, 0.95), (0.85, half_w * 0.96, 0.55)
    low = box(middle, half, name, color, _DARK, Material.PAINT, params=(2.0,))
    middle, half, top = (half_l - 0.9, 0.0, 2.0), (0.80, half_w * 0.94, 0.5), (-1.0, 0.72, -0.93, 0.93)
    cab = box(middle, half, name, _GLASS, color, Material.GLASS, top)
    lid = box((half_l - 1.0, 0.0, 2.54), (0.68, half_w * 0.86, 0.05), name, color)
    wheels = _wheels((half_l - 0.9, -half_l + 1.1, -half_l + 2.2), half_w - 0.16, 0.48, 0.3, name)
    return (cargo, frame, low, cab, lid, *wheels), (half_l, half_w)


def bus(generator: np.random.Generator) -> tuple[Model, tuple[float, float]]:
    """Draw a city bus; returns it with half its length and half its width, metres."""
    color = pick(generator, ((0.80, 0.15, 0.12), (0.85, 0.70, 0.15), (0.20, 0.45, 0.65), (0.85, 0.86, 0.85)))
    half_l, half_w = 5.6, 1.25
    half, top, params = (half_l, half_w, 1.32), (-0.995, 0.985, -0.96, 0.96), (0.0, generator.random())
    body = box((0.0, 0.0, 1.70), half, "bus", color, _GLASS, Material.COACH, top, params=params)
    roof = box((-1.0, 0.0, 3.12), (3.2, 0.8, 0.12), "bus", (0.75, 0.75, 0.75))
    return (body, roof, *_wheels((-3.0, 3.2), half_w - 0.16, 0.48, 0.3, "bus")), (half_l, half_w)


def tram(generator: np.random.Generator) -> tuple[Model, tuple[float, float]]:
    """Draw a tram of three cars, class train; returns it with half its length and half its width, metres."""
    color = pick(generator, ((0.78, 0.20, 0.15), (0.90, 0.85, 0.60), (0.20, 0.50, 0.40)))
    params, name, parts = (0.0, generator.random()), "train", []
    for x in (-9.8, 0.0, 9.8):
        top = (-0.98 if x < 0 else -1.0, 0.98 if x > 0 else 1.0, -0.95, 0.95)
        parts.append(box((x, 0.0, 1.85), (4.7, 1.2, 1.5), name, color, _GLASS, Material.COACH, top, params=params))
    parts += [box((x, 0.0, 1.8), (0.25, 1.05, 1.4), name, _DARK) for x in (-4.9, 4.9)]  # joints
    parts += [box((x, 0.0, 0.25), (1.2, 0.9, 0.2), name, _DARK) for x in (-10.0, 0.0, 10.0)]  # bogies
    return tuple(parts), (14.5, 1.2)


def _tube(name: str, start: tuple[float, float], end: tuple[float, float], color: Color, thick: float = 0.022) -> Part:
    """Make a thin bar in the plane y = 0 between two (x, z) places."""
    dx, dz = end[0] - start[0], end[1] - start[1]
    turn = turn_about("y", -float(np.arctan2(dz, dx)))
    middle = ((start[0] + end[0]) / 2, 0.0, (start[1] + end[1]) / 2)
    return box(middle, (float(np.hypot(dx, dz)) / 2, thick, thick), name, color, turn=turn)


def bicycle(generator: np.random.Generator) -> Model:
    """Draw a bicycle of 1.7 m."""
    color, name = CAR_COLORS[generator.integers(3, len(CAR_COLORS))], "bicycle"
    wheels = tuple(
        cylinder((x, 0.0, 0.34), (0.34, 0.34, 0.025), name, _DARK, turn=_ON_SIDE, inner=0.84) for x in (-0.52, 0.52)
    )
    bars = (
        ((-0.52, 0.34), (-0.12, 0.30)),
        ((-0.12, 0.30), (0.40, 0.72)),
        ((-0.12, 0.30), (-0.22, 0.84)),
        ((-0.22, 0.78), (0.38, 0.80)),
        ((0.52, 0.34), (0.36, 0.92)),
        ((-0.52, 0.34), (-0.20, 0.74)),
    )
    handle = box((0.38, 0.0, 0.95), (0.03, 0.26, 0.02), name, _DARK)
    saddle = box((-0.24, 0.0, 0.87), (0.12, 0.06, 0.03), name, _DARK)
    return (*wheels, *(_tube(name, start, end, color) for start, end in bars), handle, saddle)


def motorcycle(generator: np.random.Generator) -> Model:
    """Draw a motorcycle of 2.1 m."""
    color, steel, name = pick(generator, CAR_COLORS), (0.5, 0.5, 0.52), "motorcycle"
    return (
        *(_wheel((x, 0.31), 0.0, 0.31, 0.07, name, steel) for x in (-0.70, 0.72)),
        ellipsoid((0.10, 0.0, 0.80), (0.36, 0.17, 0.17), name, color),  # tank
        box((0.05, 0.0, 0.48), (0.32, 0.15, 0.20), name, (0.25, 0.25, 0.27)),  # engine
        box((-0.50, 0.0, 0.80), (0.38, 0.14, 0.06), name, _DARK, top=(-0.9, 1.0, -0.8, 0.8)),  # seat
        box((-0.80, 0.0, 0.70), (0.16, 0.10, 0.08), name, color),  # tail
        _tube(name, (0.72, 0.31), (0.45, 1.02), steel, 0.035),  # fork
        ellipsoid((0.60, 0.0, 0.92), (0.10, 0.13, 0.13), name, (0.9, 0.9, 0.8)),  # lamp
        box((0.42, 0.0, 1.04), (0.03, 0.36, 0.02), name, _DARK),  # handlebar
    )
