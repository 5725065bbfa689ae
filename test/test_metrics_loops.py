# SPDX-License-Identifier: Apache-2.0
"""PQ, VPQ and DVPQ against a slow literal reading of their rules, pixel by pixel, and what must not change them."""

from fractions import Fraction

import numpy as np
import pytest
from counting import count

from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID, single_classes
from monodvps_ros.metrics import (
    METRICS,
    DepthVideoPanopticQuality,
    Evaluator,
    Frame,
    MetricSettings,
    PanopticQuality,
    VideoPanopticQuality,
)

VOID = "void"


def by_loops(window, threshold, classes):
    """Counts per class of one window of (truth, prediction, truth raw depth, predicted raw depth) frames of pixels."""
    pixels = []
    for truth, prediction, true_raw, predicted_raw in window:
        for place in np.ndindex(*truth.shape):
            t = VOID if truth[place] == VOID_PANOPTIC_ID else divmod(int(truth[place]), 1000)
            p = VOID if prediction[place] == VOID_PANOPTIC_ID else divmod(int(prediction[place]), 1000)
            if threshold is not None and true_raw[place] > 0:
                error = Fraction(abs(int(predicted_raw[place]) - int(true_raw[place])), int(true_raw[place]))
                if error > threshold:
                    p = VOID
            pixels.append((t, p))
    result = {"iou": [0.0] * classes, "tp": [0] * classes, "fn": [0] * classes, "fp": [0] * classes}
    matched_truth, matched_prediction = set(), set()
    for t, p in sorted(set(pixels), key=str):
        if VOID in (t, p) or t[0] != p[0]:
            continue
        both = sum(1 for pair in pixels if pair == (t, p))
        either = sum(1 for a, b in pixels if (a == t or b == p) and not (a == VOID and b == p))
        if Fraction(both, either) > Fraction(1, 2):
            result["iou"][t[0]] += both / either
            result["tp"][t[0]] += 1
            matched_truth.add(t)
            matched_prediction.add(p)
    for t in {a for a, _ in pixels} - matched_truth - {VOID}:
        result["fn"][t[0]] += 1
    for p in {b for _, b in pixels} - matched_prediction - {VOID}:
        area = sum(1 for _, b in pixels if b == p)
        on_void = sum(1 for a, b in pixels if b == p and a == VOID)
        if Fraction(on_void, area) <= Fraction(1, 2):
            result["fp"][p[0]] += 1
    return result


def random_frames(seed, frames, shape=(5, 8)):
    """Blocks of ids that wander a little, with errors in class, instance and depth; depths on the edge are common."""
    rng = np.random.default_rng(seed)
    ids = np.array([0, 1, 10, 11000, 11001, 13001, 13002, VOID_PANOPTIC_ID], np.uint16)
    base = np.repeat(rng.choice(ids, (shape[0], shape[1] // 4)), 4, axis=1)
    sequence = []
    for _ in range(frames):
        truth = np.where(rng.random(shape) < 0.1, rng.choice(ids, shape), base).astype(np.uint16)
        prediction = np.where(rng.random(shape) < 0.15, rng.choice(ids, shape), truth).astype(np.uint16)
        if rng.random() < 0.3:
            prediction = np.where(prediction == 13001, 13007, prediction).astype(np.uint16)
        true_raw = rng.choice([0, 200, 1000, 4000], shape)
        predicted_raw = (true_raw * rng.choice([1.0, 1.1, 0.9, 1.25, 0.75, 1.5, 0.5, 1.05, 1.6], shape)).round()
        predicted_raw = np.where(rng.random(shape) < 0.3, predicted_raw + 1, predicted_raw).astype(np.int64)
        sequence.append((truth, prediction, true_raw, predicted_raw))
    return sequence


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_literal_loops(seed):
    windows, thresholds = (1, 2, 3, 4), (0.5, 0.25, 0.1)
    metric = DepthVideoPanopticQuality(CITYSCAPES, windows, thresholds)
    sequences = [random_frames(seed, 6), random_frames(seed + 100, 3)]
    expected = {}
    for frames in sequences:
        for truth, prediction, true_raw, predicted_raw in frames:
            count(metric, truth, prediction, true_raw / 256, predicted_raw / 256)
        metric.end_sequence()
        for k in windows:
            for start in range(len(frames) - k + 1):
                for threshold in (None, *thresholds):
                    exact = None if threshold is None else Fraction(str(threshold))
                    counts = by_loops(frames[start : start + k], exact, len(CITYSCAPES))
                    sums = expected.setdefault((threshold, k), {name: np.zeros(19) for name in counts})
                    for name, values in counts.items():
                        sums[name] += values
    scores = metric.compute()
    for (threshold, k), sums in expected.items():
        counts = scores.vpq[k] if threshold is None else scores.dvpq[threshold][k]
        for name in ("tp", "fn", "fp"):
            assert (getattr(counts, name) == sums[name]).all(), (threshold, k, name)
        pq = sums["iou"] / np.maximum(sums["tp"] + sums["fn"] / 2 + sums["fp"] / 2, 0.5)
        assert np.abs(counts.pq - pq).max() < 1e-9
        present = sums["tp"] + sums["fn"] + sums["fp"] > 0
        assert k > 1 or counts.tp.sum() > 0, "no match anywhere: the sequences prove nothing"
        assert counts.mean() == pytest.approx(pq[present].mean(), abs=1e-9)
        assert counts.mean(fill_absent=True) == pytest.approx(pq.mean(), abs=1e-9)


def test_relabelling_predicted_ids_changes_nothing():
    metric, relabelled = (DepthVideoPanopticQuality(CITYSCAPES, (1, 2, 3), (0.25,)) for _ in range(2))
    names = {11000: 11777, 11001: 11000, 13001: 13002, 13002: 13999, 13007: 13001}
    for truth, prediction, true_raw, predicted_raw in random_frames(7, 5):
        other = prediction.copy()
        for old, new in names.items():
            other[prediction == old] = new
        count(metric, truth, prediction, true_raw / 256, predicted_raw / 256)
        count(relabelled, truth, other, true_raw / 256, predicted_raw / 256)
    one, other = metric.compute(), relabelled.compute()
    assert one.windows == other.windows == {1: 5, 2: 4, 3: 3}
    for k in (1, 2, 3):
        for a, b in ((one.vpq[k], other.vpq[k]), (one.dvpq[0.25][k], other.dvpq[0.25][k])):
            for name in ("iou_sum", "tp", "fn", "fp"):
                assert np.allclose(getattr(a, name), getattr(b, name), rtol=0, atol=1e-12), (k, name)


def test_order_of_frames_does_not_matter_for_single_frames():
    frames = random_frames(3, 6)
    forward, shuffled = PanopticQuality(CITYSCAPES), PanopticQuality(CITYSCAPES)
    for truth, prediction, *_ in frames:
        count(forward, truth, prediction)
    for place in (4, 0, 5, 2, 1, 3):
        count(shuffled, *frames[place][:2])
    assert np.allclose(forward.compute().pq, shuffled.compute().pq, rtol=0, atol=1e-12)
    video = VideoPanopticQuality(CITYSCAPES, (1,))
    for truth, prediction, *_ in frames:
        count(video, truth, prediction)
    assert (video.compute().vpq[1].pq == forward.compute().pq).all()


def feed(evaluator, sequences, ends=True):
    for number, frames in enumerate(sequences):
        for truth, prediction, true_raw, predicted_raw in frames:
            depths = {"none": predicted_raw / 256}
            evaluator.update(truth, prediction, true_raw / 256, depths, sequence=str(number))
        if ends:
            evaluator.end_sequence()


def settings():
    return MetricSettings(CITYSCAPES, single_classes(CITYSCAPES))


def test_a_sequence_still_open_counts_as_if_it_ended():
    closed, still_open = Evaluator(settings()), Evaluator(settings())
    feed(closed, [random_frames(30, 5)])
    feed(still_open, [random_frames(30, 5)], ends=False)
    assert closed.result() == still_open.result()
    assert closed.result()["stq"]["tracks"] > 0


@pytest.mark.parametrize("name", METRICS)
def test_a_frame_with_the_maps_that_a_metric_needs_counts(name):
    metric, fresh = METRICS[name].make(settings()), METRICS[name].make(settings())
    for truth, prediction, true_raw, predicted_raw in random_frames(1, 5):
        groups = [
            np.where(part == VOID_PANOPTIC_ID, 255, part // 1000).astype(np.uint8) for part in (truth, prediction)
        ]
        frame = Frame(CITYSCAPES, (0.1, 0.25, 0.5), truth, prediction, *groups, true_raw / 256, predicted_raw / 256)
        assert metric.needs <= frame.has
        metric.measure(frame)
    assert metric.result() != fresh.result()
