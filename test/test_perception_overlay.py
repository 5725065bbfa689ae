# SPDX-License-Identifier: Apache-2.0
"""The overlay: which pixels change and to what, and where labels stand."""

import math

import numpy as np
import pytest

from monodvps_ros.outputs import Segment
from monodvps_ros.perception.overlay import STUFF_ALPHA, THING_ALPHA, draw_overlay

IMAGE = np.full((192, 640, 3), 100, np.uint8)
COLORS = np.array([[0, 0, 0], [0, 0, 142], [0, 0, 142], [128, 64, 128]], np.uint8)
IS_THING = np.array([False, True, True, False])


def car(track_id, box, depth_m=8.25):
    x_min, y_min, x_max, y_max = box
    area = (x_max - x_min + 1) * (y_max - y_min + 1)
    return Segment(13000 + track_id, track_id, 13, "car", True, 0.9, area, box, depth_m, (0.0, 0.0, depth_m), 3)


def codes(*boxes):
    made = np.zeros(IMAGE.shape[:2], np.int32)
    made[150:] = 3
    for code, (x_min, y_min, x_max, y_max) in enumerate(boxes, 1):
        made[y_min : y_max + 1, x_min : x_max + 1] = code
    return made


def test_masks_by_hand():
    """Void as it was; stuff a quarter of its colour; instances 45 % of theirs made bright, outlined in white."""
    picture = draw_overlay(IMAGE, codes((100, 80, 160, 120)), COLORS, IS_THING, ())
    np.testing.assert_array_equal(picture[10, 10], IMAGE[10, 10])
    np.testing.assert_allclose(picture[170, 50], 100 + STUFF_ALPHA * (COLORS[3].astype(float) - 100), atol=1)
    np.testing.assert_allclose(picture[100, 130], 100 + THING_ALPHA * (np.array([0, 0, 255.0]) - 100), atol=1)
    for row, column in ((80, 130), (120, 130), (100, 100), (100, 160)):
        assert (picture[row, column] == 255).all()
    assert (picture[79, 130] == IMAGE[79, 130]).all()
    assert (IMAGE == 100).all()


def changed(segments, *boxes):
    """Where the labels are: the difference that the segments make."""
    plain = draw_overlay(IMAGE, codes(*boxes), COLORS, IS_THING, ())
    return (draw_overlay(IMAGE, codes(*boxes), COLORS, IS_THING, segments) != plain).any(2)


def test_a_label_stands_above_its_instance():
    box = (100, 80, 160, 120)
    rows, columns = np.nonzero(changed((car(7, box),), box))
    assert (rows.min() > 60, rows.max() < 80) == (True, True)
    assert abs((columns.min() + columns.max()) / 2 - 130) < 3
    assert 50 < columns.max() - columns.min() < 110


def test_at_the_edge_of_the_image_it_stands_inside():
    box = (600, 0, 639, 60)
    rows, columns = np.nonzero(changed((car(7, box),), box))
    assert rows.min() >= 0
    assert columns.max() <= 639


def test_labels_do_not_cover_each_other_and_the_nearest_comes_first():
    box = (100, 80, 160, 120)
    near, far = car(1, box, 5.0), car(2, box, 50.0)
    both = changed((far, near), box, box)
    above = both[:80]
    np.testing.assert_array_equal(above, changed((near,), box, box)[:80])
    assert both[80:].any()


@pytest.mark.parametrize("small", [(100, 80, 104, 84), (100, 80, 100, 80)])
def test_small_instances_and_stuff_have_no_label(small):
    assert not changed((car(1, small),), small).any()


def test_captions():
    assert car(7, (0, 0, 1, 1)).caption == "car 7  8.2 m"
    assert car(7, (0, 0, 1, 1), math.nan).caption == "car 7"
