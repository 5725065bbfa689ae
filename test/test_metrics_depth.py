# SPDX-License-Identifier: Apache-2.0
"""Depth errors: published answers, and each rule by hand."""

import math

import numpy as np
import pytest
import torch
from counting import count_depth

from monodvps_ros.errors import ConfigError, ShapeError
from monodvps_ros.metrics import CROPS, DepthErrors, DepthProtocol, median_scale

# Ten pixels whose errors deeplab2 publishes: absRel 0.13191505, share within 1.25 0.7.
TRUTH = np.array(
    [
        [5.44108091, 53.30197697, 61.06181767, 14.36723114],
        [0, 39.68081126, 58.77974067, 0],
        [40.57883826, 22.15134852, 31.46813478, 13.52603324],
    ]
)
TOLD = np.array(
    [
        [4.87694111, 50.09085582, 55.74533641, 10.13579195],
        [13.76178147, 41.62431592, 56.97362032, 81.48369608],
        [43.12005689, 15.54622258, 24.1993478, 12.14451783],
    ]
)


def errors(truth, told, **protocol):
    metric = DepthErrors(DepthProtocol(**protocol))
    count_depth(metric, truth, told)
    return metric.compute()


def test_published_answers():
    scores = errors(TRUTH, TOLD)
    assert scores.abs_rel == pytest.approx(0.13191505, abs=1e-7)
    assert scores.d1 == pytest.approx(0.7, abs=1e-12)
    assert scores.pixels == 10


def test_agrees_with_literal_loops():
    pairs = [(g, p) for g, p in zip(TRUTH.flat, TOLD.flat, strict=True) if g > 0]
    n = len(pairs)
    scores = errors(TRUTH, TOLD)
    assert scores.abs_rel == pytest.approx(sum(abs(p - g) / g for g, p in pairs) / n, abs=1e-12)
    assert scores.sq_rel == pytest.approx(sum((p - g) ** 2 / g for g, p in pairs) / n, abs=1e-12)
    assert scores.rmse == pytest.approx(math.sqrt(sum((p - g) ** 2 for g, p in pairs) / n), abs=1e-12)
    log_error = math.sqrt(sum((math.log(p) - math.log(g)) ** 2 for g, p in pairs) / n)
    assert scores.rmse_log == pytest.approx(log_error, abs=1e-12)
    for power, share in ((1, scores.d1), (2, scores.d2), (3, scores.d3)):
        assert share == pytest.approx(sum(max(p / g, g / p) < 1.25**power for g, p in pairs) / n, abs=1e-12)


def test_by_hand():
    scores = errors(np.array([[10.0, 20.0]]), np.array([[12.0, 18.0]]))
    assert scores.abs_rel == pytest.approx((0.2 + 0.1) / 2)
    assert scores.sq_rel == pytest.approx((0.4 + 0.2) / 2)
    assert scores.rmse == pytest.approx(2.0)
    assert scores.rmse_log == pytest.approx(math.sqrt((math.log(1.2) ** 2 + math.log(0.9) ** 2) / 2))


@pytest.mark.parametrize(("told", "inside"), [(12.5, 0.0), (12.4999, 1.0), (8.0, 0.0), (8.0001, 1.0)])
def test_a_ratio_of_exactly_1_25_is_outside(told, inside):
    assert errors(np.array([[10.0]]), np.array([[told]])).d1 == inside


def test_frames_count_alike_whatever_their_pixels():
    metric = DepthErrors()
    count_depth(metric, np.full((1, 1), 10.0), np.full((1, 1), 11.0))
    count_depth(metric, np.full((9, 9), 10.0), np.full((9, 9), 13.0))
    assert metric.compute().abs_rel == pytest.approx((0.1 + 0.3) / 2)


def test_cap_leaves_truth_out_and_clips_predictions():
    truth, told = np.array([[80.0, 79.0, 1e-3, 40.0]]), np.array([[80.0, 500.0, 1.0, 1e-6]])
    scores = errors(truth, told)
    assert scores.pixels == 2
    assert scores.abs_rel == pytest.approx((1 / 79 + (40 - 1e-3) / 40) / 2)
    assert errors(truth, told, max_depth_m=100.0).pixels == 3


def test_missing_predictions_are_counted():
    scores = errors(np.full((1, 4), 10.0), np.array([[10.0, np.nan, 0.0, np.inf]]))
    assert (scores.pixels, scores.missing_pixels, scores.abs_rel) == (1, 3, 0.0)


def test_nothing_to_count_is_defined():
    metric = DepthErrors()
    assert count_depth(metric, np.full((2, 2), np.nan), np.ones((2, 2))) is None
    scores = metric.compute()
    assert scores.abs_rel is scores.d1 is None
    assert (scores.frames, scores.pixels) == (0, 0)
    assert all(band.abs_rel is None for band in scores.bands)


@pytest.mark.parametrize(
    ("crop", "size", "rows", "columns"),
    [
        ("none", (375, 1242), (0, 375), (0, 1242)),
        ("garg", (375, 1242), (153, 371), (44, 1197)),
        ("eigen", (375, 1242), (124, 342), (44, 1197)),
        ("cityscapes", (1024, 2048), (256, 768), (192, 1856)),
    ],
)
def test_crops(crop, size, rows, columns):
    inside = DepthProtocol(crop=crop).counts(np.full(size, 5.0))
    seen = np.argwhere(inside)
    assert tuple(seen.min(axis=0)) == (rows[0], columns[0])
    assert tuple(seen.max(axis=0) + 1) == (rows[1], columns[1])
    assert len(seen) == (rows[1] - rows[0]) * (columns[1] - columns[0])
    assert crop in CROPS


def test_median_scaling_is_of_pixels_that_count():
    truth = np.array([[10.0, 20.0, 30.0, 0.0, 90.0]])
    told = np.array([[1.0, 2.0, 6.0, 9.0, 50.0]])
    assert median_scale(truth, told, DepthProtocol()) == 10.0
    assert median_scale(np.zeros((1, 5)), told, DepthProtocol()) is None
    assert median_scale(truth, np.full((1, 5), np.nan), DepthProtocol()) is None


def test_error_over_distance():
    metric = DepthErrors(DepthProtocol(max_depth_m=200.0))
    count_depth(metric, np.array([[5.0, 4.99, 9.0, 100.0]]), np.array([[6.0, 4.99, 9.0, 110.0]]))
    bands = {band.start_m: band for band in metric.compute().bands}
    assert (bands[0.0].pixels, bands[0.0].abs_rel) == (1, 0.0)
    assert (bands[5.0].pixels, bands[5.0].abs_rel) == (2, pytest.approx(0.1))
    assert (bands[80.0].end_m, bands[80.0].abs_rel) == (None, pytest.approx(0.1))
    assert bands[10.0].abs_rel is None


def test_what_stands_and_what_moves_apart():
    metric = DepthErrors()
    truth = np.full((1, 6), 10.0)
    count_depth(
        metric, truth, np.array([[11.0, 13.0, 15.0, 20.0, np.nan, 10.0]]), np.array([[0, 0, 1, -1, 1, 1]], np.int8)
    )
    count_depth(metric, truth, np.full((1, 6), 12.0), np.zeros((1, 6), np.int8))
    count_depth(metric, truth, np.full((1, 6), 90.0))  # nothing is known of what moves in this frame
    scores = metric.compute()
    assert (scores.standing_pixels, scores.moving_pixels) == (8, 2)
    assert scores.abs_rel_standing == pytest.approx((0.1 + 0.3 + 6 * 0.2) / 8)
    assert scores.abs_rel_moving == pytest.approx((0.5 + 0.0) / 2)
    assert DepthErrors().compute().abs_rel_moving is None


def test_torch_and_float32_agree():
    one = errors(TRUTH, TOLD)
    other = errors(torch.tensor(TRUTH, dtype=torch.float64), torch.tensor(TOLD, dtype=torch.float64))
    single = errors(TRUTH.astype(np.float32), TOLD.astype(np.float32))
    assert one.rmse == other.rmse
    assert one.rmse == pytest.approx(single.rmse, rel=1e-6)


def test_errors_name_what_was_wrong():
    with pytest.raises(ShapeError, match="resize the prediction to the truth"):
        count_depth(DepthErrors(), np.ones((2, 2)), np.ones((2, 3)))
    with pytest.raises(ShapeError, match="resize the prediction to the truth"):
        median_scale(np.ones((2, 2)), np.ones((2, 3)), DepthProtocol())
    with pytest.raises(ConfigError, match="no crop 'kitti'"):
        DepthProtocol(crop="kitti")
    with pytest.raises(ConfigError, match="0 < min < max"):
        DepthProtocol(max_depth_m=0.0)
