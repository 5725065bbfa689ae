# SPDX-License-Identifier: Apache-2.0
"""PQ, VPQ and DVPQ: each rule by a hand-worked example."""

import numpy as np
import pytest
import torch
from counting import count

from monodvps_ros.errors import ConfigError, LabelError, ShapeError
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID
from monodvps_ros.metrics import (
    DepthVideoPanopticQuality,
    PanopticQuality,
    VideoPanopticQuality,
    cooccurrence,
    depth_error_levels,
    raw_depth,
    sum_tables,
)
from monodvps_ros.metrics.segments import SEGMENT_STRIDE, VOID_SEGMENT

ROAD, SKY, PERSON, CAR = 0, 10, 11, 13
CAR_1, CAR_2, CAR_CROWD, PERSON_1, VOID = 13001, 13002, 13000, 11001, VOID_PANOPTIC_ID


def row(*runs):
    """One row of pixels from (id, length) pairs."""
    return np.concatenate([np.full(length, value, np.uint16) for value, length in runs])[None]


def quality(truth, prediction):
    metric = PanopticQuality(CITYSCAPES)
    count(metric, truth, prediction)
    return metric.compute()


def counted(counts, class_id):
    return int(counts.tp[class_id]), int(counts.fn[class_id]), int(counts.fp[class_id])


def test_one_frame_by_hand():
    truth = row((ROAD, 6), (CAR_1, 4))
    prediction = row((ROAD, 5), (CAR_1, 5))
    counts = quality(truth, prediction)
    assert counts.iou_sum[ROAD] == 5 / 6
    assert counts.iou_sum[CAR] == 4 / 5
    assert counts.mean() == pytest.approx((5 / 6 + 4 / 5) / 2, abs=1e-15)
    assert counts.mean(fill_absent=True) == pytest.approx((5 / 6 + 4 / 5) / 19, abs=1e-15)
    assert counts.mean(group="things") == 4 / 5
    assert counts.mean(group="stuff") == 5 / 6


def test_pq_is_sq_times_rq():
    truth = row((CAR_1, 4), (CAR_2, 4), (ROAD, 8))
    prediction = row((CAR_1, 3), (ROAD, 1), (ROAD, 4), (13003, 2), (ROAD, 6))
    counts = quality(truth, prediction)
    assert counted(counts, CAR) == (1, 1, 1)
    assert counts.sq[CAR] == 0.75
    assert counts.rq[CAR] == 0.5
    assert counts.pq[CAR] == 0.375


@pytest.mark.parametrize(("overlap", "expected"), [(4, (0, 1, 1)), (5, (1, 0, 0))])
def test_iou_of_exactly_one_half_is_no_match(overlap, expected):
    # car of 6, prediction of 6: IoU 4/8 at an overlap of 4
    truth = row((CAR_1, 6), (ROAD, 30))
    prediction = np.roll(truth, 6 - overlap)
    assert counted(quality(truth, prediction), CAR) == expected


def test_void_of_the_truth_is_left_out_of_the_union():
    truth = row((CAR_1, 4), (VOID, 4), (ROAD, 2))
    prediction = row((CAR_1, 8), (ROAD, 2))
    assert quality(truth, prediction).iou_sum[CAR] == 1.0


def test_void_with_an_instance_excuses_but_stays_in_the_union():
    # classes and instances apart: void with instance 7 is of the ignored class but is not the void id
    truth_class = np.array([[CAR] * 4 + [255] * 4 + [ROAD] * 2])
    truth_instance = np.array([[1] * 4 + [7] * 4 + [0] * 2])
    prediction = row((CAR_1, 8), (ROAD, 2))
    counts = quality((truth_class, truth_instance), prediction)
    assert counted(counts, CAR) == (0, 1, 1)  # IoU 4/8; half on void is not more than half
    truth_class[0, 3] = 255
    counts = quality((truth_class, truth_instance), prediction)
    assert counted(counts, CAR) == (0, 1, 0)


@pytest.mark.parametrize(("on_void", "false"), [(4, 1), (5, 0)])
def test_prediction_mostly_on_void_is_excused(on_void, false):
    truth = row((VOID, on_void), (ROAD, 28 - on_void))
    prediction = row((CAR_1, 8), (ROAD, 20))
    assert counted(quality(truth, prediction), CAR) == (0, 0, false)


def test_predicted_void_is_neither_match_nor_false():
    truth = row((VOID, 4), (ROAD, 4))
    prediction = row((VOID, 8))
    counts = quality(truth, prediction)
    assert counted(counts, ROAD) == (0, 1, 0)
    assert counts.tp.sum() == counts.fp.sum() == 0
    assert counts.fn.sum() == 1


def test_thing_with_instance_0_is_an_ordinary_segment():
    truth = row((CAR_CROWD, 4), (ROAD, 4))
    assert counted(quality(truth, truth), CAR) == (1, 0, 0)
    assert counted(quality(truth, row((CAR_1, 4), (ROAD, 4))), CAR) == (1, 0, 0)
    assert counted(quality(truth, row((ROAD, 8))), CAR) == (0, 1, 0)


def test_same_place_other_class_is_missed_and_false():
    counts = quality(row((CAR_1, 4), (ROAD, 4)), row((PERSON_1, 4), (ROAD, 4)))
    assert counted(counts, CAR) == (0, 1, 0)
    assert counted(counts, PERSON) == (0, 0, 1)
    assert counts.present.nonzero()[0].tolist() == [ROAD, PERSON, CAR]
    assert counts.mean() == pytest.approx(1 / 3)


def test_empty_class_no_frame_and_perfect_fit_are_defined():
    nothing = PanopticQuality(CITYSCAPES).compute()
    assert nothing.mean() is None
    assert nothing.mean(fill_absent=True) == 0.0
    assert not nothing.pq.any()
    perfect = quality(row((ROAD, 4), (CAR_1, 4)), row((ROAD, 4), (CAR_1, 4)))
    assert perfect.mean() == 1.0
    assert perfect.mean(group="things") == 1.0
    all_void = quality(row((VOID, 4)), row((ROAD, 4)))
    assert all_void.mean() is None
    assert quality(row((ROAD, 4)), row((ROAD, 4))).mean(group="things") is None


def test_ids_that_swap_mid_window_break_tubes_but_not_frames():
    first = row((CAR_1, 6), (CAR_2, 6))
    swapped = row((CAR_2, 6), (CAR_1, 6))
    metric = VideoPanopticQuality(CITYSCAPES, (1, 2))
    count(metric, first, first)
    count(metric, first, swapped)
    scores = metric.compute()
    assert counted(scores.vpq[1], CAR) == (4, 0, 0)
    # tubes of 12: each predicted tube shares 6 with each true one, IoU 6/18
    assert counted(scores.vpq[2], CAR) == (0, 2, 2)
    assert scores.windows == {1: 2, 2: 1}


def test_windows_do_not_span_sequences():
    frame = row((ROAD, 4))
    metric = VideoPanopticQuality(CITYSCAPES, (1, 2, 3, 4))
    for frames in (6, 1, 3):
        for _ in range(frames):
            count(metric, frame, frame)
        metric.end_sequence()
    scores = metric.compute()
    assert scores.windows == {1: 10, 2: 5 + 0 + 2, 3: 4 + 1, 4: 3}
    assert scores.vpq[4].tp[ROAD] == 3


def test_one_frame_sequence_has_no_longer_window():
    metric = VideoPanopticQuality(CITYSCAPES, (2,))
    count(metric, row((ROAD, 4)), row((ROAD, 4)))
    assert metric.compute().vpq[2].mean() is None


def test_depth_error_of_exactly_lambda_is_kept():
    truth_m = np.full((1, 8), 1000 / 256)
    for raw, level in ((1000, 0), (1100, 0), (1101, 1), (900, 0), (899, 1), (1250, 1), (1251, 2), (1501, 3), (0, 3)):
        levels = depth_error_levels(truth_m, np.full((1, 8), raw / 256), (0.1, 0.25, 0.5))
        assert (levels == level).all(), raw


def test_prediction_off_in_depth_becomes_void():
    truth = row((CAR_1, 10))
    truth_m = np.full((1, 10), 10.0)
    predicted_m = np.full((1, 10), 10.0)
    predicted_m[0, :4] = 12.0  # off by 0.2
    metric = DepthVideoPanopticQuality(CITYSCAPES, (1,), (0.5, 0.25, 0.1))
    count(metric, truth, truth, truth_m, predicted_m)
    scores = metric.compute()
    assert scores.vpq[1].iou_sum[CAR] == 1.0
    assert scores.dvpq[0.5][1].iou_sum[CAR] == 1.0
    assert scores.dvpq[0.25][1].iou_sum[CAR] == 1.0
    assert scores.dvpq[0.1][1].iou_sum[CAR] == 0.6
    assert scores.dvpq[0.1][1].fp.sum() == 0  # what is voided is not false
    assert scores.dvpq_mean() == pytest.approx((1 + 1 + 0.6) / 3)


def test_pixels_without_true_depth_keep_their_prediction():
    truth = row((CAR_1, 10))
    truth_m = np.full((1, 10), 10.0)
    truth_m[0, :4] = np.nan
    metric = DepthVideoPanopticQuality(CITYSCAPES, (1,), (0.1,))
    count(metric, truth, truth, truth_m, np.where(np.isnan(truth_m), 99.0, 10.0))
    assert metric.compute().dvpq[0.1][1].iou_sum[CAR] == 1.0


def test_missing_predicted_depth_is_depth_0():
    levels = depth_error_levels(np.array([[5.0, 5.0]]), np.array([[np.nan, 5.0]]), (0.5, 0.999, 1.0))
    assert levels.tolist() == [[2, 0]]  # an error of exactly 1


def test_depth_is_stored_in_whole_units():
    assert raw_depth([0.0, np.nan, 1.0, 1.001, -3.0, 300.0, np.inf]).tolist() == [0, 0, 256, 256, 0, 65535, 65535]


def test_table_of_a_window_is_the_sum_of_its_frames():
    rng = np.random.default_rng(0)
    frames = [rng.choice([0, 10, 13001, 13002, VOID], (2, 8, 9)).astype(np.uint16) for _ in range(3)]
    summed = sum_tables([cooccurrence(t, p, CITYSCAPES) for t, p in frames])
    whole = cooccurrence(np.concatenate([t for t, _ in frames]), np.concatenate([p for _, p in frames]), CITYSCAPES)
    assert (summed.pairs == whole.pairs).all()
    assert (summed.counts == whole.counts).all()
    assert summed.counts.dtype == np.int64


def test_instances_beyond_999_and_void_ids():
    table = cooccurrence((np.array([[CAR, 255]]), np.array([[70000, 3]])), row((CAR_1, 2)), CITYSCAPES)
    assert table.truth_ids.tolist() == [CAR * SEGMENT_STRIDE + 70000, VOID_SEGMENT + 3]
    assert table.predicted_ids.tolist() == [CAR * SEGMENT_STRIDE + 1] * 2


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "uint64", "int64"])
def test_ids_of_any_whole_dtype(dtype):
    frame = row((ROAD, 6), (CAR_1, 4)).astype(dtype)
    assert quality(frame, frame).mean() == 1.0


def test_torch_and_numpy_agree():
    truth, prediction = row((ROAD, 6), (CAR_1, 4), (VOID, 2)), row((ROAD, 5), (CAR_1, 7))
    tensors = [torch.from_numpy(part.astype(np.int32)) for part in (truth, prediction)]
    one, other = quality(truth, prediction), quality(*tensors)
    assert (one.iou_sum == other.iou_sum).all()
    assert (one.fp == other.fp).all()


def test_errors_name_what_was_wrong():
    metric = PanopticQuality(CITYSCAPES)
    with pytest.raises(ShapeError, match=r"truth is \(1, 4\) but prediction is \(1, 5\)"):
        count(metric, row((ROAD, 4)), row((ROAD, 5)))
    with pytest.raises(ShapeError, match="float64"):
        count(metric, np.zeros((1, 4)), row((ROAD, 4)))
    with pytest.raises(LabelError, match="truth has class id 19"):
        count(metric, row((19000, 4)), row((ROAD, 4)))
    with pytest.raises(LabelError, match="prediction has class id 32"):
        count(metric, row((ROAD, 4)), row((32000, 4)))
    with pytest.raises(LabelError, match="negative"):
        count(metric, np.full((1, 4), -1), row((ROAD, 4)))
    with pytest.raises(LabelError, match="below 1048576"):
        count(metric, (np.full((1, 4), CAR), np.full((1, 4), 2**20)), row((ROAD, 4)))
    with pytest.raises(ShapeError, match="4 class ids but 2"):
        count(metric, (np.full((1, 4), CAR), np.full((1, 2), 1)), row((ROAD, 4)))
    with pytest.raises(ConfigError, match="windows"):
        VideoPanopticQuality(CITYSCAPES, (0, 1))
    with pytest.raises(ConfigError, match="thresholds"):
        VideoPanopticQuality(CITYSCAPES, (1,), (0.0,))
    with pytest.raises(ConfigError, match="ascend"):
        depth_error_levels(np.ones((1, 1)), np.ones((1, 1)), (0.5, 0.1))
    with pytest.raises(ShapeError, match="predicted_depth"):
        depth_error_levels(np.ones((1, 4)), np.ones((1, 5)), (0.1,))
