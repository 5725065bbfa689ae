# SPDX-License-Identifier: Apache-2.0
"""Models of what stands along a street: lamps, lights, signs, bollards, trees, bushes and hedges."""

import numpy as np

from monodvps_ros.scenes.solids import Color, Material, Model, Part, Shape

_STEEL: Color = (0.42, 0.44, 0.46)
_LEAVES: tuple[Color, ...] = (
    (0.24, 0.40, 0.15),
    (0.30, 0.44, 0.18),
    (0.19, 0.34, 0.16),
    (0.42, 0.44, 0.18),
    (0.55, 0.40, 0.15),
)


def street_lamp(generator: np.random.Generator) -> Model:
    """Draw a lamp whose arm reaches along +x."""
    tall = float(generator.uniform(5.5, 8.0))
    shaft = Part(Shape.CYLINDER, (0.0, 0.0, tall / 2), (0.085, 0.085, tall / 2), "pole", _STEEL)
    foot = Part(Shape.CYLINDER, (0.0, 0.0, 0.5), (0.13, 0.13, 0.5), "pole", (0.35, 0.37, 0.38))
    arm = Part(Shape.BOX, (0.9, 0.0, tall), (0.95, 0.05, 0.05), "pole", _STEEL)
    head = Part(
        Shape.BOX, (1.9, 0.0, tall - 0.03), (0.38, 0.14, 0.08), "pole", (0.75, 0.75, 0.72), top=(-0.8, 0.8, -0.7, 0.7)
    )
    return shaft, foot, arm, head


def bollard() -> Model:
    """Draw a bollard."""
    return (
        Part(Shape.CYLINDER, (0.0, 0.0, 0.45), (0.09, 0.09, 0.45), "pole", (0.22, 0.22, 0.24)),
        Part(Shape.ELLIPSOID, (0.0, 0.0, 0.92), (0.1, 0.1, 0.1), "pole", (0.75, 0.75, 0.72)),
    )


def traffic_light(over_road: float, signal: int) -> Model:
    """Draw traffic lights that look along -x, on a mast whose arm reaches along +y.

    Args:
        over_road: length of the arm, metres; 0 for none.
        signal: which group of lights it belongs to; the shading knows the group's colour in each frame.
    """
    mast = Part(Shape.CYLINDER, (0.0, 0.0, 2.9), (0.10, 0.10, 2.9), "pole", (0.30, 0.31, 0.32))
    parts = [mast, *_lantern(0.0, 2.9, signal)]
    if over_road:
        parts.append(
            Part(Shape.BOX, (0.0, over_road / 2, 5.7), (0.06, over_road / 2, 0.07), "pole", (0.30, 0.31, 0.32))
        )
        parts += _lantern(over_road, 5.45, signal)
    return tuple(parts)


def _lantern(y: float, z: float, signal: int) -> Model:
    case = Part(
        Shape.BOX,
        (-0.20, y, z),
        (0.13, 0.19, 0.50),
        "traffic light",
        (0.07, 0.08, 0.08),
        (0.9, 0.7, 0.1),
        Material.LAMP,
        params=(float(signal), 0.0, 0.0, 0.0),
    )
    back = Part(Shape.BOX, (-0.05, y, z), (0.02, 0.29, 0.62), "traffic light", (0.05, 0.05, 0.06))
    return case, back


def traffic_sign(generator: np.random.Generator) -> Model:
    """Draw a sign on a post; its face looks along -x."""
    kind = int(generator.integers(0, 3))
    tall = float(generator.uniform(2.3, 2.8))
    color, ring = (
        ((0.92, 0.92, 0.90), (0.78, 0.10, 0.10)),
        ((0.12, 0.28, 0.62), (0.92, 0.92, 0.92)),
        ((0.92, 0.80, 0.15), (0.12, 0.12, 0.12)),
    )[kind]
    post = Part(Shape.CYLINDER, (0.0, 0.0, tall / 2), (0.04, 0.04, tall / 2), "pole", (0.55, 0.56, 0.58))
    plate = Part(
        Shape.BOX,
        (-0.06, 0.0, tall - 0.1),
        (0.02, 0.36, 0.36),
        "traffic sign",
        color,
        ring,
        Material.SIGN,
        params=(float(kind), float(generator.random()), 0.0, 0.0),
    )
    return post, plate


def guide_sign(generator: np.random.Generator) -> Model:
    """Draw a large blue or green guide board on two posts; its face looks along -x."""
    color: Color = ((0.08, 0.25, 0.55), (0.05, 0.38, 0.22))[generator.integers(2)]
    posts = tuple(Part(Shape.CYLINDER, (0.0, y, 2.0), (0.05, 0.05, 2.0), "pole", _STEEL) for y in (-0.9, 0.9))
    plate = Part(
        Shape.BOX,
        (-0.08, 0.0, 3.3),
        (0.03, 1.3, 0.75),
        "traffic sign",
        color,
        (0.95, 0.95, 0.95),
        Material.SIGN,
        params=(3.0, float(generator.random()), 0.0, 0.0),
    )
    return (*posts, plate)


def tree(generator: np.random.Generator, conifers: float = 0.2) -> Model:
    """Draw a broad-leaved tree, or a conifer in a share of cases; trunks are vegetation, as in Cityscapes."""
    leaves = _LEAVES[generator.choice(len(_LEAVES), p=[0.3, 0.28, 0.25, 0.1, 0.07])]
    if generator.random() < conifers:
        return _conifer(generator)
    tall = float(generator.uniform(5.0, 9.5))
    crown, base = tall * float(generator.uniform(0.24, 0.32)), tall * 0.36
    bark: Color = (0.32, 0.25, 0.19)
    trunk = Part(
        Shape.BOX,
        (0.0, 0.0, base * 0.7),
        (0.17, 0.17, base * 0.7),
        "vegetation",
        bark,
        (0.5, 0.4, 0.3),
        top=(-0.65, 0.65, -0.65, 0.65),
        params=(1.0, 0.0, 0.0, 0.0),
    )
    middle = base + (tall - base) * 0.5
    parts = [trunk, _crown(generator, (0.0, 0.0, middle), (crown, crown, (tall - base) * 0.46), leaves)]
    for number in range(4):
        angle = number * np.pi / 2 + generator.uniform(0.0, 1.2)
        away, size = crown * 0.62, crown * float(generator.uniform(0.5, 0.72))
        at = (
            float(away * np.cos(angle)),
            float(away * np.sin(angle)),
            float(middle + generator.uniform(-0.22, 0.25) * (tall - base)),
        )
        parts.append(_crown(generator, at, (size, size, size * 0.85), leaves))
    return tuple(parts)


def _crown(
    generator: np.random.Generator, center: tuple[float, float, float], half: tuple[float, float, float], leaves: Color
) -> Part:
    bright = 1.0 + generator.uniform(-0.12, 0.12)
    color = (leaves[0] * bright, leaves[1] * bright, leaves[2] * bright)
    dark = (color[0] * 0.45, color[1] * 0.48, color[2] * 0.45)
    return Part(Shape.ELLIPSOID, center, half, "vegetation", color, dark, Material.FOLIAGE)


def _conifer(generator: np.random.Generator) -> Model:
    tall, leaves = float(generator.uniform(6.0, 11.0)), (0.14, 0.27, 0.16)
    trunk = Part(Shape.BOX, (0.0, 0.0, 0.8), (0.16, 0.16, 0.8), "vegetation", (0.28, 0.21, 0.16))
    tiers = []
    for number in range(4):
        share = number / 4
        half = tall * 0.155
        wide = tall * 0.22 * (1.0 - 0.75 * share)
        tiers.append(
            Part(
                Shape.BOX,
                (0.0, 0.0, 0.9 + share * tall * 0.8 + half),
                (wide, wide, half),
                "vegetation",
                leaves,
                (0.07, 0.13, 0.08),
                Material.FOLIAGE,
                top=(-0.12, 0.12, -0.12, 0.12),
                params=(0.0, share, 0.0, 0.0),
            )
        )
    return (trunk, *tiers)


def bush(generator: np.random.Generator) -> Model:
    """Draw a bush of two or three clumps."""
    leaves = _LEAVES[generator.integers(3)]
    parts = []
    for number in range(int(generator.integers(2, 4))):
        size = float(generator.uniform(0.45, 0.9))
        at = (float(generator.uniform(-0.3, 0.3)), (number - 1) * 0.8, size * 0.75)
        parts.append(_crown(generator, at, (size, size, size * 0.8), leaves))
    return tuple(parts)


def hedge(generator: np.random.Generator, length: float) -> Model:
    """Draw a clipped hedge along y."""
    tall = float(generator.uniform(0.8, 1.5))
    leaves = _LEAVES[generator.integers(3)]
    dark = (leaves[0] * 0.5, leaves[1] * 0.5, leaves[2] * 0.5)
    return (
        Part(
            Shape.BOX,
            (0.0, 0.0, tall / 2),
            (0.4, length / 2, tall / 2),
            "vegetation",
            leaves,
            dark,
            Material.FOLIAGE,
            top=(-0.85, 0.85, -0.98, 0.98),
        ),
    )


def hill(generator: np.random.Generator) -> Model:
    """Draw a wooded hill for the horizon."""
    wide, tall = float(generator.uniform(50.0, 90.0)), float(generator.uniform(12.0, 28.0))
    return (
        Part(
            Shape.ELLIPSOID,
            (0.0, 0.0, -2.0),
            (wide, wide * 1.4, tall),
            "vegetation",
            (0.24, 0.34, 0.2),
            (0.16, 0.24, 0.15),
        ),
    )
