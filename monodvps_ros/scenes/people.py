# SPDX-License-Identifier: Apache-2.0
"""Models of people: a trunk, and legs that swing as bodies of their own."""

from dataclasses import dataclass

import numpy as np

from monodvps_ros.scenes.solids import Color, Model, Part, box, ellipsoid, pick, turn_about

_SKIN: tuple[Color, ...] = ((0.85, 0.66, 0.54), (0.72, 0.52, 0.40), (0.45, 0.30, 0.22), (0.90, 0.74, 0.62))
_HAIR: tuple[Color, ...] = ((0.12, 0.09, 0.07), (0.30, 0.20, 0.12), (0.65, 0.50, 0.28), (0.55, 0.55, 0.55))
_TOPS: tuple[Color, ...] = (
    (0.75, 0.15, 0.15),
    (0.15, 0.30, 0.60),
    (0.85, 0.80, 0.70),
    (0.15, 0.15, 0.17),
    (0.25, 0.45, 0.30),
    (0.80, 0.55, 0.15),
    (0.50, 0.25, 0.50),
    (0.85, 0.40, 0.50),
    (0.45, 0.60, 0.75),
)
_TROUSERS: tuple[Color, ...] = ((0.12, 0.14, 0.25), (0.10, 0.10, 0.10), (0.40, 0.36, 0.30), (0.25, 0.30, 0.42))


@dataclass(frozen=True)
class Person:
    """A person in parts that move against each other; all in the frame of the person.

    Attributes:
        trunk: head, torso.
        left: left leg and right arm, which swing together, about (0, 0, `hip_m`).
        right: right leg and left arm.
        hip_m: height of the axis of the swing.
    """

    trunk: Model
    left: Model
    right: Model
    hip_m: float


def _head(name: str, at: tuple[float, float, float], skin: Color, hair: Color) -> Model:
    x, y, z = at
    return (
        ellipsoid(at, (0.10, 0.085, 0.125), name, skin),
        ellipsoid((x - 0.025, y, z + 0.035), (0.105, 0.095, 0.115), name, hair),
    )


def pedestrian(generator: np.random.Generator) -> Person:
    """Draw a person on foot, a child now and then."""
    tall = generator.uniform(1.10, 1.35) if generator.random() < 0.12 else generator.uniform(1.58, 1.92)
    k, name = tall / 1.75, "person"
    skin, hair = pick(generator, _SKIN), pick(generator, _HAIR)
    top, trousers = pick(generator, _TOPS), pick(generator, _TROUSERS)
    wide = generator.uniform(0.19, 0.25) * k
    torso = box((0.0, 0.0, 1.15 * k), (0.12 * k, wide, 0.30 * k), name, top, top=(-0.9, 0.9, -1.0, 1.0))
    shoulder = ellipsoid((0.0, 0.0, 1.43 * k), (0.12 * k, wide * 1.02, 0.08 * k), name, top)
    hips = ellipsoid((0.0, 0.0, 0.86 * k), (0.13 * k, wide * 0.92, 0.13 * k), name, trousers)
    trunk: Model = (torso, shoulder, hips, *_head(name, (0.02, 0.0, 1.62 * k), skin, hair))
    if generator.random() < 0.35:
        trunk = (*trunk, box((-0.19 * k, 0.0, 1.20 * k), (0.09, 0.15, 0.22), name, pick(generator, _TOPS)))
    sides = []
    for sign in (1.0, -1.0):
        y, taper = sign * 0.10 * k, (-1.25, 1.25, -1.15, 1.15)
        leg = box((0.0, y, 0.46 * k), (0.075 * k, 0.075 * k, 0.42 * k), name, trousers, top=taper)
        shoe = box((0.05 * k, y, 0.045), (0.13 * k, 0.05, 0.045), name, (0.12, 0.1, 0.1))
        arm = box((0.0, -sign * (wide + 0.05), 1.10 * k), (0.05, 0.05, 0.30 * k), name, top)
        hand = ellipsoid((0.0, -sign * (wide + 0.05), 0.78 * k), (0.05, 0.045, 0.07), name, skin)
        sides.append((leg, shoe, arm, hand))
    return Person(trunk, sides[0], sides[1], 0.9 * k)


def rider(generator: np.random.Generator, upright: bool) -> Model:
    """Draw who sits on a bicycle (upright) or on a motorcycle (with a helmet)."""
    name, lean = "rider", turn_about("y", 0.35 if upright else 0.2)
    seat, top = 0.93 if upright else 0.90, pick(generator, _TOPS)
    trousers, skin = pick(generator, _TROUSERS), pick(generator, _SKIN)
    x = -0.22 if upright else -0.32
    torso = box((x + 0.13, 0.0, seat + 0.32), (0.13, 0.20, 0.31), name, top, turn=lean)
    shoulder = ellipsoid((x + 0.24, 0.0, seat + 0.58), (0.13, 0.23, 0.10), name, top)
    helmet = pick(generator, _TOPS) if not upright or generator.random() < 0.5 else pick(generator, _HAIR)
    head = _head(name, (x + 0.32, 0.0, seat + 0.80), skin, helmet)
    if not upright:
        head = (*head, ellipsoid((x + 0.31, 0.0, seat + 0.81), (0.14, 0.13, 0.15), name, helmet))
    thigh, shin, arm = (0.24, 0.075, 0.085), (0.065, 0.06, 0.25), (0.27, 0.05, 0.05)
    limbs: list[Part] = []
    for side in (-1.0, 1.0):
        y = side * (0.10 if upright else 0.17)
        down = 0.14 * side if upright else 0.0
        limbs += [
            box((x + 0.22, y, seat - 0.12 + down / 2), thigh, name, trousers, turn=turn_about("y", 0.45 - down)),
            box((x + 0.32, y, seat - 0.45 + down), shin, name, trousers, turn=turn_about("y", 0.15)),
            box((x + 0.33, y, seat - 0.70 + down), (0.13, 0.05, 0.04), name, (0.1, 0.1, 0.1)),
            box((x + 0.44, side * 0.24, seat + 0.32), arm, name, top, turn=turn_about("y", 0.95)),
        ]
    return (torso, shoulder, *head, *limbs)
