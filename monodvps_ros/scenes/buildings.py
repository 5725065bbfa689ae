# SPDX-License-Identifier: Apache-2.0
"""Models of town houses, detached houses, towers, walls and fences. The front looks along +x, at x = 0."""

import numpy as np

from monodvps_ros.scenes.solids import Color, Material, Model, Part, Shape

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


def _pick(generator: np.random.Generator, colors: tuple[Color, ...]) -> Color:
    return colors[generator.integers(len(colors))]


def _vary(generator: np.random.Generator, color: Color, by: float = 0.06) -> Color:
    shift = generator.uniform(-by, by, 3) * 0.4 + generator.uniform(-by, by)
    red, green, blue = (float(np.clip(c + s, 0.03, 0.95)) for c, s in zip(color, shift, strict=True))
    return red, green, blue


def town_house(generator: np.random.Generator, width: float, depth: float) -> Model:
    """Draw a terraced house of three to six floors, with a shop, a cornice and a roof."""
    floor = float(generator.uniform(2.9, 3.5))
    tall = floor * int(generator.integers(3, 7)) + 0.8
    wall, trim = _vary(generator, _pick(generator, _WALLS)), _pick(generator, _TRIMS)
    params = (
        float(generator.uniform(2.0, 3.2)),
        floor,
        float(generator.uniform(0.36, 0.6)),
        float(generator.integers(4)),
    )
    box = Part(
        Shape.BOX,
        (-depth / 2, 0.0, tall / 2),
        (depth / 2, width / 2, tall / 2),
        "building",
        wall,
        trim,
        Material.FACADE,
        params=params,
    )
    cornice = Part(
        Shape.BOX, (-depth / 2 + 0.05, 0.0, tall - 0.15), (depth / 2 + 0.25, width / 2, 0.22), "building", trim
    )
    parts = [box, cornice]
    if generator.random() < 0.6:
        rise = float(generator.uniform(1.2, 2.8))
        parts.append(
            Part(
                Shape.BOX,
                (-depth / 2, 0.0, tall + rise),
                (depth / 2, width / 2, rise),
                "building",
                _vary(generator, _pick(generator, _ROOFS)),
                material=Material.ROOF,
                top=(-0.12, 0.12, -1.0, 1.0),
            )
        )
        parts.append(
            Part(
                Shape.BOX,
                (-depth * 0.35, width * 0.28, tall + rise * 1.6),
                (0.35, 0.5, rise * 0.8),
                "building",
                (0.45, 0.28, 0.22),
                material=Material.BRICK,
            )
        )
    if generator.random() < 0.55:
        parts += _shop_front(generator, width, floor)
    if generator.random() < 0.35:
        parts += [_balcony(width, level * floor + 1.0, trim) for level in range(1, int(tall / floor) - 1)]
    return tuple(parts)


def _shop_front(generator: np.random.Generator, width: float, floor: float) -> list[Part]:
    color, paper = _pick(generator, _SHOPS), _vary(generator, (0.9, 0.88, 0.8))
    half, params = (0.35, width / 2 - 0.2, 0.28), (3.0, float(generator.random()), 0.0, 0.0)
    parts = [Part(Shape.BOX, (0.0, 0.0, floor + 0.15), half, "building", color, paper, Material.SIGN, params=params)]
    if generator.random() < 0.6:
        half, params, top = (0.65, width / 2 - 0.6, 0.14), (0.8, 0.5, 0.0, 0.0), (-1.0, -0.5, -1.0, 1.0)
        awning = (0.65, 0.0, floor - 0.25), half, "building", color, (0.88, 0.86, 0.8), Material.SLATS, top
        parts.append(Part(Shape.BOX, *awning, params=params))
    return parts


def _balcony(width: float, z: float, trim: Color) -> Part:
    half = (0.5, width * 0.15, 0.5)
    params = (0.16, 0.6, 0.0, 0.0)
    return Part(
        Shape.BOX, (0.5, width * 0.22, z), half, "building", trim, (0.3, 0.3, 0.3), Material.SLATS, params=params
    )


def detached_house(generator: np.random.Generator, width: float, depth: float) -> Model:
    """Draw a house of one or two floors under a gabled roof, with a porch."""
    tall = float(generator.uniform(3.2, 6.2))
    wall, trim = _vary(generator, _pick(generator, _WALLS)), _pick(generator, _TRIMS)
    params = (float(generator.uniform(2.2, 3.4)), min(2.9, tall), 0.42, 4.0)
    box = Part(
        Shape.BOX,
        (-depth / 2, 0.0, tall / 2),
        (depth / 2, width / 2, tall / 2),
        "building",
        wall,
        trim,
        Material.FACADE,
        params=params,
    )
    rise, eaves = float(generator.uniform(1.2, 2.0)), 0.45
    along = (-0.02, 0.02, -1.0, 1.0) if generator.random() < 0.5 else (-1.0, 1.0, -0.02, 0.02)
    roof = Part(
        Shape.BOX,
        (-depth / 2, 0.0, tall + rise),
        (depth / 2 + eaves, width / 2 + eaves, rise),
        "building",
        _vary(generator, _pick(generator, _ROOFS)),
        material=Material.ROOF,
        top=along,
    )
    chimney = Part(
        Shape.BOX,
        (-depth * 0.4, width * 0.2, tall + rise * 1.7),
        (0.3, 0.35, rise * 0.7),
        "building",
        (0.5, 0.3, 0.25),
        material=Material.BRICK,
    )
    porch = Part(Shape.BOX, (0.8, -width * 0.2, 2.5), (0.8, 1.1, 0.15), "building", trim, top=(-1.0, 0.9, -0.9, 0.9))
    posts = tuple(
        Part(Shape.CYLINDER, (1.45, -width * 0.2 + y, 1.2), (0.07, 0.07, 1.2), "building", trim) for y in (-0.95, 0.95)
    )
    return (box, roof, chimney, porch, *posts)


def tower(generator: np.random.Generator, width: float, depth: float) -> Model:
    """Draw a tall block for the second row."""
    tall = float(generator.uniform(16.0, 38.0))
    wall = _vary(generator, _pick(generator, _WALLS))
    params = (
        float(generator.uniform(2.4, 4.0)),
        3.2,
        float(generator.uniform(0.45, 0.75)),
        float(generator.integers(4)),
    )
    box = Part(
        Shape.BOX,
        (-depth / 2, 0.0, tall / 2),
        (depth / 2, width / 2, tall / 2),
        "building",
        wall,
        _pick(generator, _TRIMS),
        Material.FACADE,
        params=params,
    )
    shed = Part(Shape.BOX, (-depth / 2, 0.0, tall + 1.3), (depth / 4, width / 4, 1.4), "building", (0.5, 0.5, 0.52))
    return box, shed


def wall(generator: np.random.Generator, length: float) -> Model:
    """Draw a free-standing wall with a coping along y."""
    tall = float(generator.uniform(1.0, 2.2))
    color = _vary(generator, ((0.56, 0.34, 0.27), (0.62, 0.60, 0.56), (0.72, 0.68, 0.6))[generator.integers(3)])
    body = Part(
        Shape.BOX, (0.0, 0.0, tall / 2), (0.14, length / 2, tall / 2), "wall", color, (0.72, 0.70, 0.66), Material.BRICK
    )
    return body, Part(Shape.BOX, (0.0, 0.0, tall + 0.05), (0.2, length / 2, 0.06), "wall", (0.66, 0.64, 0.6))


def fence(generator: np.random.Generator, length: float) -> Model:
    """Draw a wooden fence, or a guard rail on posts, along y."""
    if generator.random() < 0.35:
        steel: Color = (0.66, 0.68, 0.70)
        rails = tuple(Part(Shape.BOX, (0.0, 0.0, z), (0.05, length / 2, 0.13), "fence", steel) for z in (0.45, 0.85))
        posts = tuple(
            Part(Shape.BOX, (-0.08, float(y), 0.48), (0.05, 0.06, 0.48), "fence", (0.5, 0.52, 0.54))
            for y in np.arange(-length / 2 + 0.3, length / 2, 2.0)
        )
        return (*rails, *posts)
    tall = float(generator.uniform(0.9, 1.7))
    color = _vary(generator, ((0.55, 0.40, 0.26), (0.85, 0.84, 0.80), (0.30, 0.36, 0.28))[generator.integers(3)])
    boards = Part(
        Shape.BOX,
        (0.0, 0.0, tall / 2 + 0.05),
        (0.03, length / 2, tall / 2),
        "fence",
        color,
        (0.25, 0.2, 0.15),
        Material.SLATS,
        params=(0.16, 0.88, 0.0, 0.0),
    )
    posts = tuple(
        Part(Shape.BOX, (0.0, float(y), tall / 2 + 0.1), (0.06, 0.06, tall / 2 + 0.1), "fence", color)
        for y in np.arange(-length / 2, length / 2 + 0.1, max(length / 3, 1.0))
    )
    return (boards, *posts)
