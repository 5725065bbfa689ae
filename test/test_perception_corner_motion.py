# SPDX-License-Identifier: Apache-2.0
"""Motion from tracked corners: known motions of points and of rendered streets, in metres."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from monodvps_ros.config import SceneConfig
from monodvps_ros.outputs import ScaleEstimate, ScaleState
from monodvps_ros.perception.corner_motion import (
    CornerMotion,
    Tracks,
    carried,
    direction_of,
    find_corners,
    step_length,
    track_corners,
)
from monodvps_ros.perception.views import View
from monodvps_ros.scenes import Drive

K = np.array([[500.0, 0, 320], [0, 500.0, 96], [0, 0, 1]])


def _turn_about_y(angle):
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def _points(count=400):
    """Corners of this image and their depths."""
    chance = np.random.default_rng(3)
    here = chance.uniform((0, 0), (640, 192), (count, 2))
    return here, chance.uniform(4.0, 40.0, count)


def _moved(here, depth_m, rotation, translation):
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = rotation, translation
    return carried(here, depth_m, motion, K)


def _found(tracks):
    direction = direction_of(tracks, K)
    return direction.motion(step_length(tracks, K, direction))


@pytest.mark.parametrize(
    ("angle", "translation"), [(0.0, (0, 0, 1.2)), (0.02, (0.1, 0.02, 0.9)), (-0.05, (-0.3, 0, 0.4))]
)
def test_a_known_motion_is_found_in_metres(angle, translation):
    (here, depth_m), rotation = _points(), _turn_about_y(angle)
    found = _found(Tracks(here, _moved(here, depth_m, rotation, translation), depth_m))
    np.testing.assert_allclose(found[:3, :3], rotation, atol=2e-3)
    np.testing.assert_allclose(found[:3, 3], translation, atol=0.03)


def test_points_are_carried_by_hand():
    ahead = np.eye(4)
    ahead[2, 3] = 5.0
    here = np.array([[420.0, 96], [320, 196], [420, 96]])
    # 2 m to the right at 10 m, seen from 5 m behind: 500 * 2 / 15 from the centre; the last would be behind the camera
    places = carried(here, np.array([10.0, 5.0, -20.0]), ahead, K)
    np.testing.assert_allclose(places, [[320 + 1000 / 15, 96], [320, 146], [420, 96]])


def test_moving_things_and_wrong_depths_do_not_count():
    (here, depth_m), rotation, ahead = _points(), np.eye(3), np.array([0, 0, 1.0])
    there = _moved(here, depth_m, rotation, ahead)
    there[:80] += (8.0, 1.0)  # a fifth moves
    said = depth_m.copy()
    said[100:200], said[200:220] = 3 * depth_m[100:200], np.nan
    found = _found(Tracks(here, there, said))
    np.testing.assert_allclose(found[:3, 3], ahead, atol=0.05)
    np.testing.assert_allclose(found[:3, :3], rotation, atol=2e-3)
    doubled = _found(Tracks(here, there, 2 * depth_m))
    assert np.linalg.norm(doubled[:3, 3]) == pytest.approx(2.0, abs=0.1)


def test_too_little_says_nothing_and_standstill_is_no_motion():
    here, depth_m = _points()
    assert (direction_of(Tracks(here, here + 0.01, depth_m), K).motion(1.0) == np.eye(4)).all()
    assert direction_of(Tracks(here[:10], here[:10] + 3, depth_m[:10]), K) is None
    unknown = Tracks(here, _moved(here, depth_m, np.eye(3), (0, 0, 1.0)), np.full_like(depth_m, np.nan))
    assert step_length(unknown, K, direction_of(unknown, K)) is None
    blank = np.full((192, 640), 90, np.uint8)
    corners = find_corners(blank, np.ones_like(blank, bool))
    assert corners.shape == (0, 2)
    assert [len(part) for part in track_corners(blank, blank, corners, corners)] == [0, 0]


def _view(sample):
    image = torch.from_numpy(sample.frame.image).permute(2, 0, 1)[None].float() / 255
    depth = torch.from_numpy(np.nan_to_num(sample.truth.depth_m, nan=1e6))
    static = torch.from_numpy(sample.truth.panoptic % 1000 == 0)
    return View(sample.frame.stamp_ns, image, (2.0 / depth)[None, None], static, ~static, sample.frame.intrinsics)


def test_a_rendered_drive_is_followed():
    samples = list(Drive(SceneConfig(frames=4, height=192, width=640, rate_hz=10.0), 11))
    source, scale = CornerMotion(), ScaleEstimate(2.0, 1.0, ScaleState.METRIC)
    found = [source.since_last(_view(sample), scale) for sample in samples]
    assert found[0] is None
    for number in range(1, len(samples)):
        before, here = (samples[place].truth.world_from_camera for place in (number - 1, number))
        true = np.linalg.inv(before) @ here
        error = np.linalg.inv(true) @ found[number]
        assert np.linalg.norm(error[:3, 3]) < 0.1 * np.linalg.norm(true[:3, 3])
        assert np.arccos(np.clip((np.trace(error[:3, :3]) - 1) / 2, -1, 1)) < np.radians(0.15)
    source.reset()
    assert source.since_last(_view(samples[0]), scale) is None


HEIGHT_M = 1.5


def _before_a_wall(ahead_m):
    """An image of smooth stones up to a wall, from 1.5 m above them; the network says half of each depth."""
    rows, columns = np.mgrid[:192, :640]
    down, right = (rows - K[1, 2]) / K[1, 1], (columns - K[0, 2]) / K[0, 0]
    wall_m = 14.0 - ahead_m
    road_m = HEIGHT_M / np.maximum(down, 1e-6)
    is_road = road_m < wall_m
    depth_m = np.where(is_road, road_m, wall_m)
    along = np.where(is_road, depth_m + ahead_m, 20.0 + down * depth_m)  # the texture goes on up the wall
    gray = np.zeros_like(along)
    for across, wave, phase in np.random.default_rng(7).uniform((-3, -3, 0), (3, 3, 2 * np.pi), (40, 3)):
        gray += np.cos(across * right * depth_m + wave * along + phase)
    image = torch.from_numpy(np.repeat((0.5 + gray / 30).clip(0, 1)[None, None], 3, 1)).float()
    inverse_depth = torch.from_numpy(2.0 / depth_m)[None, None].float()
    everything, road = torch.ones(192, 640, dtype=torch.bool), torch.from_numpy(is_road)
    return View(int(1e9 * ahead_m), image, inverse_depth, everything, road, K, HEIGHT_M)


def test_the_height_of_the_camera_says_how_long_a_step_is():
    views, scale = [_before_a_wall(ahead_m) for ahead_m in (0.0, 0.4, 0.8)], ScaleEstimate(1.0, 1.0, ScaleState.METRIC)
    source = CornerMotion()
    steps = [source.since_last(view, scale) for view in views]
    assert [step[2, 3] for step in steps[1:]] == pytest.approx([0.4, 0.4], abs=0.04)
    source.reset()
    by_depth = [source.since_last(replace(view, camera_height_m=0.0), scale) for view in views]
    assert [step[2, 3] for step in by_depth[1:]] == pytest.approx([0.2, 0.2], abs=0.02)
