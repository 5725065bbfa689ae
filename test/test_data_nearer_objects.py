# SPDX-License-Identifier: Apache-2.0
"""Objects copied to a nearer place: on the ground, in front of what is farther, and none where nothing is known."""

import dataclasses

import numpy as np
import pytest

from monodvps_ros.config import TrainingConfig, load
from monodvps_ros.data.nearer_objects import copy_nearer
from monodvps_ros.errors import ConfigError
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.losses import Objective
from monodvps_ros.training.dataset import TrainingDataset
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

CAR, ROAD = CITYSCAPES.class_id("car") * 1000, CITYSCAPES.class_id("road") * 1000
K = np.array([[100.0, 0, 100], [0, 100.0, 20], [0, 0, 1]])
GROUND_M = 1.5


def _street(left=80, right=120, panoptic_id=CAR + 1):
    """A car on level ground, its near side 10 m away: its tyres are at row 20 + 100 * 1.5 / 10."""
    rows = np.arange(100) - K[1, 2]
    with np.errstate(divide="ignore"):
        below = np.where(rows > 0, 100.0 * GROUND_M / rows, np.nan).astype(np.float32)
    depth = np.broadcast_to(below[:, None], (100, 200)).copy()
    panoptic = np.where(np.isfinite(depth), ROAD, 65535).astype(np.uint16)
    panoptic[15:35, left:right], depth[15:35, left:right] = panoptic_id, 10.0
    image = np.full((100, 200, 3), 90, np.uint8)
    image[15:35, left:right] = (200, 30, 30)
    return Sample(CameraFrame(image, 1, intrinsics=K), FrameTruth(panoptic=panoptic, depth_m=depth))


def _copies(sample, draws=60):
    return [copy_nearer(sample, CITYSCAPES, np.random.default_rng(seed)) for seed in range(draws)]


def test_a_copy_stands_on_the_ground_at_its_depth():
    factors = []
    for copied in _copies(_street()):
        is_new = copied.truth.panoptic == CAR + 2
        rows, columns = np.nonzero(is_new)
        (depth_m,) = np.unique(copied.truth.depth_m[is_new])
        factors.append(10.0 / float(depth_m))
        ground_row = K[1, 2] + 100.0 * GROUND_M / depth_m
        assert rows.max() == pytest.approx(min(ground_row, 99), abs=factors[-1])
        if columns.min() > 0 and columns.max() < 199:  # all of it is seen
            assert columns.max() + 1 - columns.min() == pytest.approx(40 * factors[-1], abs=2)
        assert (np.abs(copied.frame.image[is_new].astype(int) - (200, 30, 30)).max(1) < 60).mean() > 0.8
    assert 1.4 <= min(factors) < 2.0
    assert 3.0 < max(factors) <= 4.0


def test_only_what_is_farther_is_hidden():
    sample = _street()
    nearer = sample.truth.depth_m.copy()
    nearer[:, :50] = 1.0  # a wall
    sample = dataclasses.replace(sample, truth=dataclasses.replace(sample.truth, depth_m=nearer))
    for copied in _copies(sample):
        assert (copied.truth.panoptic[:, :50] == sample.truth.panoptic[:, :50]).all()
        assert (copied.frame.image[:, :50] == sample.frame.image[:, :50]).all()
        changed = copied.truth.panoptic != sample.truth.panoptic
        known = np.isfinite(sample.truth.depth_m) & changed
        assert (copied.truth.depth_m[known] <= sample.truth.depth_m[known]).all()


def test_an_object_that_a_side_cuts_off_stays_at_that_side():
    for copied in _copies(_street(left=0, right=50)):
        columns = np.flatnonzero((copied.truth.panoptic == CAR + 2).any(0))
        assert columns.size == 0 or columns[0] == 0


@pytest.mark.parametrize("unknown", ["intrinsics", "depth_m", "panoptic", "instance", "large_enough"])
def test_nothing_is_copied_without_what_it_takes(unknown):
    sample = _street(panoptic_id=CAR) if unknown == "instance" else _street()
    if unknown == "intrinsics":
        sample = dataclasses.replace(sample, frame=dataclasses.replace(sample.frame, intrinsics=None))
    elif unknown == "large_enough":
        sample = _street(80, 82)
    elif unknown != "instance":
        sample = dataclasses.replace(sample, truth=dataclasses.replace(sample.truth, **{unknown: None}))
    assert all(copied is sample for copied in _copies(sample, 5))


def test_terms_of_motion_refuse_copies():
    config = load(TrainingConfig, None, {"augmentation.copy_nearer": 0.5})
    objective = Objective(config.loss, CITYSCAPES)
    with pytest.raises(ConfigError, match=r"copy_nearer is 0\.5.*loss\.photometric"):
        TrainingDataset(None, config, objective)
