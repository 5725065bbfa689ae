# SPDX-License-Identifier: Apache-2.0
"""IoU of classes and what moves: by hand."""

import numpy as np
import pytest
from counting import count_groups

from monodvps_ros.config import SceneConfig
from monodvps_ros.errors import ShapeError
from monodvps_ros.evaluation.motion import MotionFinder, moving_pixels
from monodvps_ros.labels import CITYSCAPES, ClassGroups, single_classes
from monodvps_ros.metrics import ClassIoU
from monodvps_ros.scenes import Drive

GROUPS = ClassGroups(("road", "vehicle"), ((0,), (13, 14)))
ROAD, VEHICLE, OTHER, VOID = 0, 1, 254, 255


def test_groups_of_classes():
    assert GROUPS.table[[0, 13, 14, 15, 255]].tolist() == [ROAD, VEHICLE, VEHICLE, OTHER, VOID]
    assert single_classes(CITYSCAPES).table[[0, 18, 19, 255]].tolist() == [0, 18, OTHER, VOID]


def test_iou_by_hand():
    metric = ClassIoU(GROUPS)
    truth = np.array([[ROAD] * 4 + [VEHICLE] * 2 + [OTHER] * 2 + [VOID] * 2], np.uint8)
    told = np.array([[ROAD] * 3 + [OTHER] + [VEHICLE, VOID] + [ROAD, OTHER] + [VEHICLE] * 2], np.uint8)
    # road: 3 of 4 + 1 false; vehicle: 1 of 2, what is void in the truth does not count
    assert count_groups(metric, truth, told) == pytest.approx((3 / 5 + 1 / 2) / 2)
    result = metric.result()
    assert result == {"miou": pytest.approx(55.0), "pixel_accuracy": pytest.approx(400 / 6), "pixels": 6}
    assert metric.per_class() == {"road": {"iou": pytest.approx(60.0)}, "vehicle": {"iou": pytest.approx(50.0)}}
    count_groups(metric, np.full((1, 5), ROAD, np.uint8), np.full((1, 5), ROAD, np.uint8))
    assert metric.per_class()["road"]["iou"] == pytest.approx(80.0)  # 8 of 10: pixels of all frames are one


def test_iou_of_nothing_and_of_absent_classes():
    metric = ClassIoU(GROUPS)
    assert count_groups(metric, np.full((1, 3), VOID, np.uint8), np.zeros((1, 3), np.uint8)) is None
    assert metric.result() == {"miou": None, "pixel_accuracy": None, "pixels": 0}
    count_groups(metric, np.full((1, 3), OTHER, np.uint8), np.full((1, 3), OTHER, np.uint8))
    assert metric.result()["miou"] is None
    count_groups(metric, np.full((1, 3), ROAD, np.uint8), np.full((1, 3), ROAD, np.uint8))
    assert metric.result()["miou"] == 100.0 and metric.per_class()["vehicle"]["iou"] is None
    with pytest.raises(ShapeError, match="resize the prediction"):
        count_groups(metric, np.zeros((1, 3), np.uint8), np.zeros((1, 4), np.uint8))


def test_a_camera_that_drives_towards_a_wall():
    """The camera came 1 m nearer to a wall that is now 9 m away: its point (u, v) was at (u, v) * 9 / 10."""
    intrinsics, pose = np.diag([10.0, 10.0, 1.0]), np.eye(4)
    pose[2, 3] = 1.0  # this frame's camera is 1 m further along z
    v, u = np.mgrid[:3, :4].astype(np.float32)
    flow = np.stack([u, v], axis=-1) * np.float32(-0.1)
    flow[1, 2] += 0.2
    flow[2, 3] = np.nan
    depth = np.full((3, 4), 9.0, np.float32)
    depth[0, 1] = np.nan
    moving = moving_pixels(depth, flow, intrinsics, pose)
    assert moving.tolist() == [[0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, -1]]


def test_flow_over_a_frame_that_was_left_out_says_nothing():
    drive = list(Drive(SceneConfig(frames=4, height=48, width=80, view_distance_m=50.0), 5))
    finder = MotionFinder()
    known = [finder.find(drive[place]) is not None for place in (0, 1, 3, 2, 3)]
    assert known == [False, True, False, False, True]


def test_moving_vehicles_of_a_drive():
    config = SceneConfig(frames=3, height=96, width=160, traffic=1.0, view_distance_m=60.0)
    finder = MotionFinder()
    found = [(sample, finder.find(sample)) for sample in Drive(config, 5)]
    assert found[0][1] is None
    for sample, moving in found[1:]:
        things = sample.truth.panoptic % 1000 > 0
        assert (moving == 1).any() and not (moving[~things] == 1).any()
        assert (moving[~things & np.isfinite(sample.truth.depth_m)] == 0).mean() > 0.8
