# SPDX-License-Identifier: Apache-2.0
"""Metrics of a sequence of 10,000 frames: memory does not grow with frames."""

import pickle

import numpy as np
import pytest

from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.metrics import DepthErrors, IdSwitches
from monodvps_ros.metrics.metric import Frame
from monodvps_ros.metrics.segmentation_tracking_quality import DepthSegmentationTrackingQuality
from monodvps_ros.metrics.video_panoptic_quality import DepthVideoPanopticQuality

ROAD, CAR = (CITYSCAPES.class_id(name) * 1000 for name in ("road", "car"))


def frame(number):
    """A road, and one of nine cars that drives by and is found under ids that change."""
    truth = np.full((6, 12), ROAD, np.uint16)
    left = number % 9
    truth[2:5, left : left + 3] = CAR + 1 + number // 9 % 9
    prediction = truth.copy()
    prediction[truth > CAR] += number // 5 % 2
    depth = np.full(truth.shape, 10.0, np.float32)
    return Frame(CITYSCAPES, (0.1,), truth, prediction, None, None, depth, depth + np.float32(0.3 * (number % 9)))


@pytest.mark.slow
def test_ten_thousand_frames_take_the_memory_of_four_thousand():
    metrics = [
        DepthVideoPanopticQuality(CITYSCAPES, (1, 2), (0.1,)),
        DepthSegmentationTrackingQuality(CITYSCAPES),
        IdSwitches(CITYSCAPES),
        DepthErrors(),
    ]
    held = {}
    for number in range(10_000):
        seen = frame(number)
        for metric in metrics:
            metric.measure(seen)
        if number + 1 in (4_000, 10_000):  # by then the histories of tracks are as long as they get
            held[number + 1] = len(pickle.dumps(metrics))
    assert held[10_000] <= held[4_000] + 1_024, held
    assert metrics[0].compute().windows == {1: 10_000, 2: 9_999}
    assert metrics[2].compute().frames.sum() == 10_000  # one car in each
