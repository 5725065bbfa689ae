# SPDX-License-Identifier: Apache-2.0
"""Metric scale: planes with pitch and roll, outliers, jumps, smoothing, and what cannot be measured."""

import math

import numpy as np
import pytest
import torch

from monodvps_ros.config import ScaleConfig
from monodvps_ros.errors import ConfigError
from monodvps_ros.outputs import ScaleState
from monodvps_ros.perception.metric_scale import ScaleEstimator, fit_road_height, why_doubtful, why_unknown

FX, FY, CX, CY = 370.0, 368.0, 319.5, 80.0


def road(height_m, pitch_deg=0.0, roll_deg=0.0, rows=range(124, 192, 4)):
    """Inverse depth and rays of pixels that look at a plane under a tilted camera."""
    v, u = np.meshgrid(np.array(list(rows)), np.arange(0, 640, 4), indexing="ij")
    rays = np.stack(((u - CX) / FX, (v - CY) / FY, np.ones_like(u, float)), -1).reshape(-1, 3)
    pitch, roll = math.radians(pitch_deg), math.radians(roll_deg)
    normal = np.array([math.sin(roll) * math.cos(pitch), math.cos(roll) * math.cos(pitch), math.sin(pitch)])
    return torch.from_numpy(rays @ normal / height_m), torch.from_numpy(rays)


@pytest.mark.parametrize(("pitch", "roll"), [(0, 0), (4, 0), (-3, 2), (10, -5)])
def test_the_height_of_a_tilted_camera_is_exact(pitch, roll):
    inverse_depth, rays = road(1.37, pitch, roll)
    height, spread, agree, tilt = fit_road_height(inverse_depth, rays, torch.ones(len(rays))).tolist()
    assert height == pytest.approx(1.37, rel=1e-9)
    assert spread < 1e-9
    assert agree == 1.0
    assert tilt == pytest.approx(math.degrees(math.acos(math.cos(math.radians(pitch)) * math.cos(math.radians(roll)))))


def test_pixels_that_are_not_road_do_not_count():
    inverse_depth, rays = road(2.0)
    weight = (torch.arange(len(rays)) % 3 == 0).float()
    spoilt = torch.where(weight > 0, inverse_depth, 7.0)
    assert fit_road_height(spoilt, rays, weight)[0] == pytest.approx(2.0, rel=1e-9)


def test_a_quarter_of_wrong_pixels_is_outvoted():
    generator = np.random.default_rng(0)
    inverse_depth, rays = road(1.5, 2.0)
    wrong = torch.from_numpy(generator.random(len(rays)) < 0.25)
    noisy = inverse_depth * torch.from_numpy(1 + 0.02 * generator.standard_normal(len(rays)))
    spoilt = torch.where(wrong, inverse_depth * 1.6, noisy)
    height, _, agree, _ = fit_road_height(spoilt, rays, torch.ones(len(rays))).tolist()
    assert height == pytest.approx(1.5, rel=0.01)
    assert 0.6 < agree < 0.8


def test_no_road_at_all_measures_nothing():
    inverse_depth, rays = road(1.5)
    height = fit_road_height(inverse_depth, rays, torch.zeros(len(rays)))[0]
    assert math.isnan(height)


def measure(estimator, height_m, noise=0.0, seed=0, points=20000):
    inverse_depth, rays = road(height_m)
    generator = np.random.default_rng(seed)
    inverse_depth = inverse_depth * torch.from_numpy(1 + noise * generator.standard_normal(len(rays)))
    return estimator.update(tuple(fit_road_height(inverse_depth, rays, torch.ones(len(rays))).tolist()), points)


def test_an_unknown_factor_in_each_frame_is_recovered():
    generator = np.random.default_rng(1)
    estimator = ScaleEstimator(ScaleConfig(camera_height_m=1.65))
    errors = []
    for step in range(100):
        factor = math.exp(generator.uniform(-1.5, 1.5))  # true metres = factor * network's depth
        got = measure(estimator, 1.65 / factor, noise=0.02, seed=step)
        errors.append(abs(got.factor / factor - 1))
    assert np.mean(np.array(errors) < 0.02) >= 0.95


def test_noise_is_smoothed_when_the_scale_is_steady():
    steady = ScaleEstimator(ScaleConfig(camera_height_m=1.5, drift=0.001))
    alone = ScaleEstimator(ScaleConfig(camera_height_m=1.5, drift=1.0))
    heights = 1.5 * np.exp(0.01 * np.random.default_rng(2).standard_normal(60))
    spreads = [[measure(each, h, noise=0.1, points=500).factor for h in heights][20:] for each in (steady, alone)]
    assert np.std(spreads[0]) < 0.5 * np.std(spreads[1])


def test_states_follow_what_is_seen():
    estimator = ScaleEstimator(ScaleConfig(camera_height_m=1.5, min_road_points=500))
    waiting = estimator.update(None, 0)
    assert (waiting.state, waiting.factor, waiting.confidence) == (ScaleState.UNKNOWN, 1.0, 0.0)
    assert measure(estimator, 1.5, points=499).state is ScaleState.UNKNOWN
    first = measure(estimator, 0.5, points=500)
    assert first.state is ScaleState.ROAD
    assert first.confidence == pytest.approx(1.0, abs=0.01)
    assert first.factor == pytest.approx(3.0, rel=1e-6)
    held = [estimator.update(None, 0) for _ in range(4)]
    assert {(each.state, round(each.factor, 5)) for each in held} == {(ScaleState.ROAD, 3.0)}
    # each frame without a road adds drift^2 = 0.05^2 to the variance, at which confidence is halved
    assert [each.confidence for each in held] == pytest.approx([1 / 2, 1 / 3, 1 / 4, 1 / 5], rel=0.01)
    estimator.reset()
    assert estimator.update(None, 0).state is ScaleState.UNKNOWN


def test_a_wall_is_not_a_road():
    estimator = ScaleEstimator(ScaleConfig(camera_height_m=1.5))
    assert estimator.update((1.5, 0.01, 1.0, 26.0), 20000).state is ScaleState.UNKNOWN
    assert estimator.update((1.5, 0.01, 1.0, 24.0), 20000).state is ScaleState.ROAD


@pytest.mark.parametrize(
    ("heights", "ratio", "is_doubtful"),
    [
        ([2.0] * 50, 0.75, False),  # one frame too few
        ([2.0] * 51, 0.75, True),
        ([2.0] * 25 + [1.5] * 26, 1.0, False),  # the median is not moved by fewer than half
        ([1.5] * 51 + [2.0] * 26, 0.75, True),  # older frames are forgotten
        ([1.5 / 1.24] * 51, 1.24, False),
        ([1.5 / 1.26] * 51, 1.26, True),
        ([1.5 * 1.24] * 51, 1 / 1.24, False),
        ([1.5 * 1.26] * 51, 1 / 1.26, True),
    ],
)
def test_metric_weights_are_doubted_by_the_median_of_many_frames(heights, ratio, is_doubtful):
    estimator = ScaleEstimator(ScaleConfig(camera_height_m=1.5))
    for height_m in heights:  # 0.5 m per unit, so the measured height is twice as many units
        seen = estimator.update((2 * height_m, 0.01, 1.0, 0.0), 20000, 0.5)
    assert (seen.state, seen.factor, seen.confidence) == (ScaleState.METRIC, 0.5, 1.0)
    assert seen.road_ratio == pytest.approx(ratio)
    assert bool(seen.doubt) == is_doubtful
    assert estimator.update((1.5, 0.01, 1.0, 26.0), 20000, 0.5) == seen  # a wall is not compared
    estimator.reset()
    assert estimator.estimate(0.5).road_ratio is None


def test_what_to_check_where_metric_weights_are_doubted():
    text = why_doubtful(1.65, 1.5)
    assert "is 1.10 m above the road, but scale.camera_height_m is 1.65 m; check scale.camera_height_m" in text
    assert "1.50 times as large: set scale.mode to camera_height" in text


def test_a_road_tells_nothing_where_the_camera_s_height_is_not_given():
    estimator = ScaleEstimator(ScaleConfig())
    assert not estimator.needs_road
    assert estimator.update((1.5, 0.01, 1.0, 0.0), 20000).state is ScaleState.UNKNOWN
    asked = ScaleEstimator(ScaleConfig(mode="camera_height"))
    assert asked.update((1.5, 0.01, 1.0, 0.0), 20000, 2.0).state is ScaleState.UNKNOWN
    with pytest.raises(ConfigError, match=r"camera_height_m is 0\.04; it must be at least 0\.05, or 0"):
        ScaleConfig(camera_height_m=0.04)


@pytest.mark.parametrize(
    ("config", "has_intrinsics", "advice"),
    [
        (ScaleConfig(mode="none"), True, "set it to auto"),
        (ScaleConfig(camera_height_m=1.5), False, "camera_info"),
        (ScaleConfig(), True, "set scale.camera_height_m, or use metric weights"),
        (ScaleConfig(mode="camera_height"), True, "it is 0; set scale.camera_height_m"),
        (ScaleConfig(camera_height_m=1.5), True, "point the camera at it"),
    ],
)
def test_what_to_do_about_an_unknown_scale(config, has_intrinsics, advice):
    assert advice in why_unknown(config, has_intrinsics)


def test_fixed_and_none_do_not_look():
    assert ScaleEstimator(ScaleConfig(mode="fixed", fixed_factor=7.0)).update(None, 0).factor == 7.0
    none = ScaleEstimator(ScaleConfig(mode="none")).update((9.0, 0.0, 1.0, 0.0), 20000)
    assert (none.factor, none.state) == (1.0, ScaleState.UNKNOWN)
