# SPDX-License-Identifier: Apache-2.0
"""Models of what stands along a street: lamps, lights, signs, bollards, trees, bushes and hedges."""

import numpy as np

from monodvps_ros.scenes.solids import Color, Material, Model, Part, box, cylinder, ellipsoid, pick

_STEEL: Color = (0.42, 0.44, 0.46)
_MAST: Color = (0.30, 0.31, 0.32)
_LEAVES: tuple[Color, ...] = (
    (0.24, 0.40, 0.15),
    (0.30, 0.44, 0.18),
    (0.19, 0.34, 0.16),
    (0.42, 0.44, 0.18),
    (0.55, 0.40, 0.15),
)
#: Face and ring of the kinds of signs.
_SIGNS: tuple[tuple[Color, Color], ...] = (
    ((0.92, 0.92, 0.90), (0.78, 0.10, 0.10)),
    ((0.12, 0.28, 0.62), (0.92, 0.92, 0.92)),
    ((0.92, 0.80, 0.15), (0.12, 0.12, 0.12)),
)


def street_lamp(generator: np.random.Generator) -> Model:
    """Draw a lamp whose arm reaches along +x."""
    tall, white = generator.uniform(5.5, 8.0), (0.75, 0.75, 0.72)
    return (
        cylinder((0.0, 0.0, tall / 2), (0.085, 0.085, tall / 2), "pole", _STEEL),
        cylinder((0.0, 0.0, 0.5), (0.13, 0.13, 0.5), "pole", (0.35, 0.37, 0.38)),
        box((0.9, 0.0, tall), (0.95, 0.05, 0.05), "pole", _STEEL),
        box((1.9, 0.0, tall - 0.03), (0.38, 0.14, 0.08), "pole", white, top=(-0.8, 0.8, -0.7, 0.7)),
    )


def bollard() -> Model:
    """Draw a bollard."""
    return (
        cylinder((0.0, 0.0, 0.45), (0.09, 0.09, 0.45), "pole", (0.22, 0.22, 0.24)),
        ellipsoid((0.0, 0.0, 0.92), (0.1, 0.1, 0.1), "pole", (0.75, 0.75, 0.72)),
    )


def traffic_light(over_road: float, signal: int) -> Model:
    """Draw traffic lights that look along -x, on a mast whose arm reaches along +y.

    Args:
        over_road: length of the arm, metres; 0 for none.
        signal: which group of lights it belongs to; the shading knows the group's colour in each frame.
    """
    parts = (cylinder((0.0, 0.0, 2.9), (0.10, 0.10, 2.9), "pole", _MAST), *_lantern(0.0, 2.9, signal))
    if not over_road:
        return parts
    arm = box((0.0, over_road / 2, 5.7), (0.06, over_road / 2, 0.07), "pole", _MAST)
    return (*parts, arm, *_lantern(over_road, 5.45, signal))


def _lantern(y: float, z: float, signal: int) -> Model:
    colors, params = ((0.07, 0.08, 0.08), (0.9, 0.7, 0.1)), (float(signal),)
    case = box((-0.20, y, z), (0.13, 0.19, 0.50), "traffic light", *colors, Material.LAMP, params=params)
    return case, box((-0.05, y, z), (0.02, 0.29, 0.62), "traffic light", (0.05, 0.05, 0.06))


def traffic_sign(generator: np.random.Generator) -> Model:
    """Draw a sign on a post; its face looks along -x."""
    kind, tall = int(generator.integers(0, 3)), generator.uniform(2.3, 2.8)
    middle, half, params = (-0.06, 0.0, tall - 0.1), (0.02, 0.36, 0.36), (float(kind), generator.random())
    post = cylinder((0.0, 0.0, tall / 2), (0.04, 0.04, tall / 2), "pole", (0.55, 0.56, 0.58))
    return post, box(middle, half, "traffic sign", *_SIGNS[kind], Material.SIGN, params=params)


def guide_sign(generator: np.random.Generator) -> Model:
    """Draw a large blue or green guide board on two posts; its face looks along -x."""
    color = pick(generator, ((0.08, 0.25, 0.55), (0.05, 0.38, 0.22)))
    posts = (cylinder((0.0, y, 2.0), (0.05, 0.05, 2.0), "pole", _STEEL) for y in (-0.9, 0.9))
    half, ink, params = (0.03, 1.3, 0.75), (0.95, 0.95, 0.95), (3.0, generator.random())
    return (*posts, box((-0.08, 0.0, 3.3), half, "traffic sign", color, ink, Material.SIGN, params=params))


def tree(generator: np.random.Generator, conifers: float = 0.2) -> Model:
    """Draw a broad-leaved tree, or a conifer in a share of cases; trunks are vegetation, as in Cityscapes."""
    leaves = _LEAVES[generator.choice(len(_LEAVES), p=[0.3, 0.28, 0.25, 0.1, 0.07])]
    if generator.random() < conifers:
        return _conifer(generator)
    tall = generator.uniform(5.0, 9.5)
    crown, base = tall * generator.uniform(0.24, 0.32), tall * 0.36
    stem, bark, top = (0.17, 0.17, base * 0.7), (0.32, 0.25, 0.19), (-0.65, 0.65, -0.65, 0.65)
    trunk = box((0.0, 0.0, base * 0.7), stem, "vegetation", bark, (0.5, 0.4, 0.3), top=top, params=(1.0,))
    middle = base + (tall - base) * 0.5
    parts = [trunk, _crown(generator, (0.0, 0.0, middle), (crown, crown, (tall - base) * 0.46), leaves)]
    for number in range(4):
        angle = number * np.pi / 2 + generator.uniform(0.0, 1.2)
        away, size = crown * 0.62, crown * generator.uniform(0.5, 0.72)
        z = middle + generator.uniform(-0.22, 0.25) * (tall - base)
        at = (float(away * np.cos(angle)), float(away * np.sin(angle)), z)
        parts.append(_crown(generator, at, (size, size, size * 0.85), leaves))
    return tuple(parts)


def _crown(
    generator: np.random.Generator, center: tuple[float, float, float], half: tuple[float, float, float], leaves: Color
) -> Part:
    bright = 1.0 + generator.uniform(-0.12, 0.12)
    color = (leaves[0] * bright, leaves[1] * bright, leaves[2] * bright)
    dark = (color[0] * 0.45, color[1] * 0.48, color[2] * 0.45)
    return ellipsoid(center, half, "vegetation", color, dark, Material.FOLIAGE)


def _conifer(generator: np.random.Generator) -> Model:
    tall, colors = generator.uniform(6.0, 11.0), ((0.14, 0.27, 0.16), (0.07, 0.13, 0.08))
    parts = [box((0.0, 0.0, 0.8), (0.16, 0.16, 0.8), "vegetation", (0.28, 0.21, 0.16))]
    for share in (0.0, 0.25, 0.5, 0.75):
        high, wide = tall * 0.155, tall * 0.22 * (1.0 - 0.75 * share)
        middle, half = (0.0, 0.0, 0.9 + share * tall * 0.8 + high), (wide, wide, high)
        taper = (-0.12, 0.12, -0.12, 0.12)
        parts.append(box(middle, half, "vegetation", *colors, Material.FOLIAGE, taper, params=(0.0, share)))
    return tuple(parts)


def bush(generator: np.random.Generator) -> Model:
    """Draw a bush of two or three clumps."""
    leaves = _LEAVES[generator.integers(3)]
    parts = []
    for number in range(int(generator.integers(2, 4))):
        size = generator.uniform(0.45, 0.9)
        at = (generator.uniform(-0.3, 0.3), (number - 1) * 0.8, size * 0.75)
        parts.append(_crown(generator, at, (size, size, size * 0.8), leaves))
    return tuple(parts)


def hedge(generator: np.random.Generator, length: float) -> Model:
    """Draw a clipped hedge along y."""
    tall = generator.uniform(0.8, 1.5)
    leaves = _LEAVES[generator.integers(3)]
    dark, half = (leaves[0] * 0.5, leaves[1] * 0.5, leaves[2] * 0.5), (0.4, length / 2, tall / 2)
    taper = (-0.85, 0.85, -0.98, 0.98)
    return (box((0.0, 0.0, tall / 2), half, "vegetation", leaves, dark, Material.FOLIAGE, taper),)


def hill(generator: np.random.Generator) -> Model:
    """Draw a wooded hill for the horizon."""
    wide, tall = generator.uniform(50.0, 90.0), generator.uniform(12.0, 28.0)
    colors = (0.24, 0.34, 0.2), (0.16, 0.24, 0.15)
    return (ellipsoid((0.0, 0.0, -2.0), (wide, wide * 1.4, tall), "vegetation", *colors),)
