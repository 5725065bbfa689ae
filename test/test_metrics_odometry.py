# SPDX-License-Identifier: Apache-2.0
"""Errors of odometry against trajectories worked by hand."""

import math

import numpy as np
import pytest

from monodvps_ros.errors import ShapeError
from monodvps_ros.metrics.odometry_errors import odometry_errors


def straight(count, step_m=1.0, turn=0.0):
    """A way ahead (z) of equal steps; each turns by an angle about y after it."""
    step, pose = np.eye(4), np.eye(4)
    step[:3, :3] = [[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]]
    step[2, 3] = step_m
    poses = [pose]
    for _ in range(count - 1):
        poses.append(poses[-1] @ step)
    return np.array(poses)


def test_a_tenth_too_short_is_a_tenth_of_the_way():
    """Stretches of 10 m end after 11 steps, the first frame beyond 10 m: 1.1 m short of 10 m."""
    errors = odometry_errors(straight(31), straight(31, 0.9), (10.0,))
    assert errors.stretches == 2  # from frame 0 and 10; from 20 the way ends first
    assert errors.translation == pytest.approx(0.11)
    assert errors.rotation_rad_m == pytest.approx(0.0, abs=1e-7)


def test_a_steady_turn_is_its_angle_and_its_chord():
    true, found = straight(4), straight(4, turn=0.1)
    errors = odometry_errors(true, found, (2.0,))
    # Three steps: the end is turned by 0.3; steps point to 0, 0.1 and 0.2.
    end = np.array([math.sin(0.1) + math.sin(0.2), 1 + math.cos(0.1) + math.cos(0.2)])
    assert errors.rotation_rad_m == pytest.approx(0.3 / 2)
    assert errors.translation == pytest.approx(np.linalg.norm(end - [0, 3]) / 2)


def test_another_fixed_frame_is_no_error():
    moved = np.array([[0.0, -1, 0, 5], [1, 0, 0, -2], [0, 0, 1, 9], [0, 0, 0, 1]])
    errors = odometry_errors(straight(40, turn=0.05), moved @ straight(40, turn=0.05), (5.0, 10.0))
    assert errors.translation == pytest.approx(0.0, abs=1e-9)
    assert errors.stretches == 7  # from 0, 10, 20 both lengths; from 30 only 5 m


def test_ways_too_short_have_no_error_and_shapes_must_agree():
    errors = odometry_errors(straight(50), straight(50))
    assert math.isnan(errors.translation) and errors.stretches == 0
    with pytest.raises(ShapeError, match=r"\(4, 4, 4\).*\(5, 4, 4\)"):
        odometry_errors(straight(4), straight(5))
