# SPDX-License-Identifier: Apache-2.0
"""Errors of odometry: how far two trajectories drift apart along stretches of a length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import ShapeError

#: Lengths of the stretches in KITTI's measure, metres.
KITTI_LENGTHS_M = (100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0)
_EVERY = 10  # frames between the beginnings of stretches, as in KITTI's


@dataclass(frozen=True)
class OdometryErrors:
    """Means over all stretches; NaN where there is none.

    Attributes:
        translation: end of a stretch to its true end, as a share of the stretch's length: times 100, m per 100 m.
        rotation_rad_m: angle between the attitude at its end and the true one, per metre.
        stretches: how many there are.
    """

    translation: float
    rotation_rad_m: float
    stretches: int


def odometry_errors(
    true: NDArray[np.float64], found: NDArray[np.float64], lengths_m: Sequence[float] = KITTI_LENGTHS_M
) -> OdometryErrors:
    """Compare two trajectories of the same frames.

    A stretch begins at every tenth frame and ends at the first one that lies a length further along the true way; the
    two trajectories are laid over each other at its beginning.

    Args:
        true: (N, 4, 4) carries points of the camera into a fixed frame, metres.
        found: (N, 4, 4) likewise; its fixed frame may be another one.
        lengths_m: of the stretches, above 0.

    Raises:
        ShapeError: the shapes differ from that.

    Source: Geiger et al. 2012 (KITTI), section 3.1, and the development kit for odometry.
    """
    if true.shape != found.shape or true.shape[1:] != (4, 4):
        raise ShapeError(f"true is {true.shape} and found is {found.shape}; both must be (N, 4, 4)")
    steps = np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    errors = []
    for first in range(0, len(true), _EVERY):
        for length in lengths_m:
            last = int(np.searchsorted(way, way[first] + length, side="right"))
            if last < len(true):
                errors.append(_drift(true[first], true[last], found[first], found[last]) / length)
    if not errors:
        return OdometryErrors(float("nan"), float("nan"), 0)
    translation, rotation = np.mean(errors, axis=0)
    return OdometryErrors(float(translation), float(rotation), len(errors))


def _drift(
    true_first: NDArray[np.float64],
    true_last: NDArray[np.float64],
    found_first: NDArray[np.float64],
    found_last: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return metres and radians between the ends of a stretch."""
    true, found = np.linalg.inv(true_first) @ true_last, np.linalg.inv(found_first) @ found_last
    difference = np.linalg.inv(found) @ true
    cosine = (np.trace(difference[:3, :3]) - 1) / 2
    return np.array([np.linalg.norm(difference[:3, 3]), np.arccos(np.clip(cosine, -1.0, 1.0))])
