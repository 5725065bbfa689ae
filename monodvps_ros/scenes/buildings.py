# SPDX-License-Identifier: Apache-2.0
"""Models of town houses, detached houses, towers, walls and fences. The front looks along +x, at x = 0."""

import numpy as np

from monodvps_ros.scenes.solids import Color, Material, Model, Part, box, cylinder, pick

_WALLS: tuple[Color, ...] = (
    (0.72, 0.66, 0.56),
    (0.62, 0.42, 0.34),
    (0.78, 0.74, 0.68),
    (0.58, 0.58, 0.60),
    (0.74, 0.60, 0.42),
    (0.66, 0.70, 0.66),
    (0.80, 0.70, 0.55),
    (0.50, 0.36, 0.30),
    (0.70, 0.55, 0.52),
    (0.60, 0.64, 0.70),
)
_TRIMS: tuple[Color, ...] = ((0.88, 0.87, 0.84), (0.40, 0.30, 0.24), (0.30, 0.36, 0.36), (0.80, 0.78, 0.70))
_ROOFS: tuple[Color, ...] = ((0.48, 0.25, 0.19), (0.32, 0.30, 0.31), (0.40, 0.28, 0.24), (0.28, 0.32, 0.36))
_SHOPS: tuple[Color, ...] = ((0.55, 0.14, 0.14), (0.14, 0.30, 0.24), (0.16, 0.22, 0.38), (0.75, 0.60, 0.25))


def _vary(generator: np.random.Generator, color: Color, by: float = 0.06) -> Color:
    shift = generator.uniform(-by, by, 3) * 0.4 + generator.uniform(-by, by)
    red, green, blue = (float(np.clip(c + s, 0.03, 0.95)) for c, s in zip(color, shift, strict=True))
    return red, green, blue


def _walls(
    width: float,
    depth: float,
    tall: float,
    wall: Color,
    trim: Color,
    bay: float,
    floor: float,
    share: float,
    style: int,
) -> Part:
    """Make walls with a window of `share` of the width in each bay of each floor."""
    middle, half = (-depth / 2, 0.0, tall / 2), (depth / 2, width / 2, tall / 2)
    params = (bay, floor, share, float(style))
    return box(middle, half, "building", wall, trim, Material.FACADE, params=params)


def _roof(
    generator: np.random.Generator,
    middle: tuple[float, float, float],
    half: tuple[float, float, float],
    top: tuple[float, float, float, float],
) -> Part:
    return box(middle, half, "building", _vary(generator, pick(generator, _ROOFS)), material=Material.ROOF, top=top)


def town_house(generator: np.random.Generator, width: float, depth: float) -> Model:
    """Draw a terraced house of three to six floors, with a shop, a cornice and a roof."""
    floor = generator.uniform(2.9, 3.5)
    tall = floor * int(generator.integers(3, 7)) + 0.8
    wall, trim = _vary(generator, pick(generator, _WALLS)), pick(generator, _TRIMS)
    bay, share, style = generator.uniform(2.0, 3.2), generator.uniform(0.36, 0.6), int(generator.integers(4))
    cornice = (-depth / 2 + 0.05, 0.0, tall - 0.15), (depth / 2 + 0.25, width / 2, 0.22)
    parts = [_walls(width, depth, tall, wall, trim, bay, floor, share, style), box(*cornice, "building", trim)]
    if generator.random() < 0.6:
        rise = generator.uniform(1.2, 2.8)
        middle, half = (-depth / 2, 0.0, tall + rise), (depth / 2, width / 2, rise)
        parts.append(_roof(generator, middle, half, (-0.12, 0.12, -1.0, 1.0)))
        chimney = (-depth * 0.35, width * 0.28, tall + rise * 1.6), (0.35, 0.5, rise * 0.8)
        parts.append(box(*chimney, "building", (0.45, 0.28, 0.22), material=Material.BRICK))
    if generator.random() < 0.55:
        parts += _shop_front(generator, width, floor)
    if generator.random() < 0.35:
        parts += [_balcony(width, level * floor + 1.0, trim) for level in range(1, int(tall / floor) - 1)]
    return tuple(parts)


def _shop_front(generator: np.random.Generator, width: float, floor: float) -> list[Part]:
    color, paper = pick(generator, _SHOPS), _vary(generator, (0.9, 0.88, 0.8))
    half, params = (0.35, width / 2 - 0.2, 0.28), (3.0, generator.random())
    parts = [box((0.0, 0.0, floor + 0.15), half, "building", color, paper, Material.SIGN, params=params)]
    if generator.random() < 0.6:
        half, params, top = (0.65, width / 2 - 0.6, 0.14), (0.8, 0.5), (-1.0, -0.5, -1.0, 1.0)
        awning = (0.65, 0.0, floor - 0.25), half, "building", color, (0.88, 0.86, 0.8), Material.SLATS, top
        parts.append(box(*awning, params=params))
    return parts


def _balcony(width: float, z: float, trim: Color) -> Part:
    middle, half = (0.5, width * 0.22, z), (0.5, width * 0.15, 0.5)
    return box(middle, half, "building", trim, (0.3, 0.3, 0.3), Material.SLATS, params=(0.16, 0.6))


def detached_house(generator: np.random.Generator, width: float, depth: float) -> Model:
    """Draw a house of one or two floors under a gabled roof, with a porch."""
    tall = generator.uniform(3.2, 6.2)
    wall, trim = _vary(generator, pick(generator, _WALLS)), pick(generator, _TRIMS)
    walls = _walls(width, depth, tall, wall, trim, generator.uniform(2.2, 3.4), min(2.9, tall), 0.42, 4)
    rise, eaves = generator.uniform(1.2, 2.0), 0.45
    along = (-0.02, 0.02, -1.0, 1.0) if generator.random() < 0.5 else (-1.0, 1.0, -0.02, 0.02)
    roof = _roof(generator, (-depth / 2, 0.0, tall + rise), (depth / 2 + eaves, width / 2 + eaves, rise), along)
    middle, half = (-depth * 0.4, width * 0.2, tall + rise * 1.7), (0.3, 0.35, rise * 0.7)
    chimney = box(middle, half, "building", (0.5, 0.3, 0.25), material=Material.BRICK)
    porch = box((0.8, -width * 0.2, 2.5), (0.8, 1.1, 0.15), "building", trim, top=(-1.0, 0.9, -0.9, 0.9))
    posts = (cylinder((1.45, -width * 0.2 + y, 1.2), (0.07, 0.07, 1.2), "building", trim) for y in (-0.95, 0.95))
    return (walls, roof, chimney, porch, *posts)


def tower(generator: np.random.Generator, width: float, depth: float) -> Model:
    """Draw a tall block for the second row."""
    tall = generator.uniform(16.0, 38.0)
    wall = _vary(generator, pick(generator, _WALLS))
    bay, share, style = generator.uniform(2.4, 4.0), generator.uniform(0.45, 0.75), int(generator.integers(4))
    walls = _walls(width, depth, tall, wall, pick(generator, _TRIMS), bay, 3.2, share, style)
    return walls, box((-depth / 2, 0.0, tall + 1.3), (depth / 4, width / 4, 1.4), "building", (0.5, 0.5, 0.52))


def wall(generator: np.random.Generator, length: float) -> Model:
    """Draw a free-standing wall with a coping along y."""
    tall = generator.uniform(1.0, 2.2)
    color = _vary(generator, pick(generator, ((0.56, 0.34, 0.27), (0.62, 0.60, 0.56), (0.72, 0.68, 0.6))))
    half = (0.14, length / 2, tall / 2)
    body = box((0.0, 0.0, tall / 2), half, "wall", color, (0.72, 0.70, 0.66), Material.BRICK)
    return body, box((0.0, 0.0, tall + 0.05), (0.2, length / 2, 0.06), "wall", (0.66, 0.64, 0.6))


def fence(generator: np.random.Generator, length: float) -> Model:
    """Draw a wooden fence, or a guard rail on posts, along y."""
    if generator.random() < 0.35:
        places = np.arange(-length / 2 + 0.3, length / 2, 2.0).tolist()
        rails = [box((0.0, 0.0, z), (0.05, length / 2, 0.13), "fence", (0.66, 0.68, 0.70)) for z in (0.45, 0.85)]
        return (*rails, *(box((-0.08, y, 0.48), (0.05, 0.06, 0.48), "fence", (0.5, 0.52, 0.54)) for y in places))
    tall = generator.uniform(0.9, 1.7)
    color = _vary(generator, pick(generator, ((0.55, 0.40, 0.26), (0.85, 0.84, 0.80), (0.30, 0.36, 0.28))))
    middle, half, dark = (0.0, 0.0, tall / 2 + 0.05), (0.03, length / 2, tall / 2), (0.25, 0.2, 0.15)
    boards = box(middle, half, "fence", color, dark, Material.SLATS, params=(0.16, 0.88))
    places = np.arange(-length / 2, length / 2 + 0.1, max(length / 3, 1.0)).tolist()
    return (boards, *(box((0.0, y, tall / 2 + 0.1), (0.06, 0.06, tall / 2 + 0.1), "fence", color) for y in places))
