# SPDX-License-Identifier: Apache-2.0
"""Steadiness of depth and ids, from true depth and ids that are spoilt in known ways."""

import numpy as np
import pytest

from monodvps_ros.config import SceneConfig
from monodvps_ros.evaluation.steadiness import Steadiness
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID
from monodvps_ros.outputs import Perception, ScaleEstimate, ScaleState, Segment
from monodvps_ros.scenes import Drive

METRES = ScaleEstimate(1.0, 1.0, ScaleState.METRIC)
CONFIG = SceneConfig(frames=6, height=96, width=320, traffic=0.6, view_distance_m=80.0, weather="clear")


@pytest.fixture(scope="module")
def drive():
    return list(Drive(CONFIG, 4))


def segments(panoptic, ids):
    """Give the things of a panoptic map, with track ids by a function of their panoptic ids."""
    found = []
    for number in np.unique(panoptic[panoptic != VOID_PANOPTIC_ID]).tolist():
        class_id, instance = divmod(number, 1000)
        found.append(
            Segment(number, ids(number) if instance else 0, class_id, CITYSCAPES.names[class_id], instance > 0, 1.0, 1,
                    (0, 0, 0, 0), 1.0, (0.0, 0.0, 0.0), 1)
        )  # fmt: skip
    return tuple(found)


def perceived(frame, depth_m, panoptic, found):
    return Perception(stamp_ns=frame.stamp_ns, frame_id="", intrinsics=frame.intrinsics, scale=METRES, depth_m=depth_m,
                      panoptic=panoptic, segments=found)  # fmt: skip


def measure(drive, factor=lambda place: 1.0, ids=lambda place, number: number):
    steadiness = Steadiness(CITYSCAPES)
    for place, sample in enumerate(drive):
        truth, frame = sample.truth, sample.frame
        perception = perceived(
            frame,
            truth.depth_m * np.float32(factor(place)),
            truth.panoptic,
            segments(truth.panoptic, lambda number, place=place: ids(place, number)),
        )
        steadiness.add(frame.image, perception)
    return steadiness.result()


def test_true_depth_does_not_flicker(drive):
    found = measure(drive)
    assert (found["pairs"], found["skipped_pairs"]) == (5, 0)
    assert found["flicker"] < 0.01
    assert found["off_px"] < 0.7  # the flow itself is off by about half a pixel


def test_a_scale_that_jumps_is_flicker_and_a_constant_one_is_none(drive):
    assert measure(drive, lambda place: 3.0)["flicker"] == pytest.approx(measure(drive)["flicker"], abs=0.005)
    jumping = measure(drive, lambda place: 1.2 if place % 2 else 1.0)["flicker"]
    assert jumping == pytest.approx(np.log(1.2), abs=0.02)


def test_instances_are_followed_whatever_their_ids(drive):
    kept = measure(drive)
    assert kept["standing_instances"] > 0
    assert kept["ids_per_instance"] < 1.15 and kept["ids_per_standing_instance"] < 1.15  # one hides another
    assert kept["frames_per_standing_instance"] > 5
    switched = measure(drive, ids=lambda place, number: number + (100_000 if place >= 3 else 0))
    assert switched["instances"] == kept["instances"]
    assert switched["ids_per_instance"] == pytest.approx(kept["ids_per_instance"] + 1.0, abs=0.3)


def test_of_an_instance_that_falls_apart_one_part_is_followed(drive):
    steadiness = Steadiness(CITYSCAPES)
    for place, sample in enumerate(drive):
        panoptic = sample.truth.panoptic.copy()
        for number in np.unique(panoptic[panoptic % 1000 > 0]).tolist() if place >= 3 else ():
            rows, columns = np.nonzero(panoptic == number)
            upper = rows < np.median(rows)
            panoptic[rows[upper], columns[upper]] = number + 400
        found = segments(panoptic, lambda number: number)
        steadiness.add(sample.frame.image, perceived(sample.frame, sample.truth.depth_m, panoptic, found))
    result = steadiness.result()
    assert result["standing_instances"] > 0
    assert result["frames_per_standing_instance"] <= len(drive)


def test_nothing_static_is_no_figure(drive):
    steadiness = Steadiness(CITYSCAPES)
    assert steadiness.result()["flicker"] is None
    for sample in drive[:2]:
        void = np.full(sample.truth.panoptic.shape, VOID_PANOPTIC_ID, np.uint16)
        steadiness.add(sample.frame.image, perceived(sample.frame, sample.truth.depth_m, void, ()))
    assert (steadiness.result()["flicker"], steadiness.skipped) == (None, 1)
