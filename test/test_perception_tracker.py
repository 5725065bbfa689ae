# SPDX-License-Identifier: Apache-2.0
"""Tracking: crossing, occlusion, leaving and coming back, changes of class, reset, recycling of ids."""

import numpy as np
import pytest
import torch

from monodvps_ros.config import TrackerConfig
from monodvps_ros.errors import ShapeError
from monodvps_ros.perception.grouping import Grouping
from monodvps_ros.perception.remembered import RememberedMasks
from monodvps_ros.perception.tracker import Tracker, carry

CAR, TRUCK, PERSON = 13, 14, 11
SIZE = (24, 64)
CAPACITY = 8


def frame(*objects):
    """A grouping of objects (class, top, left, height, width), later ones in front; detection order as given."""
    codes = torch.zeros(SIZE, dtype=torch.int64)
    for index, (_, top, left, height, width) in enumerate(objects):
        codes[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)] = index + 1
    area = torch.bincount(codes.flatten(), minlength=CAPACITY + 1)[1:]
    classes = torch.full((CAPACITY,), -1)
    for index, (class_id, *_) in enumerate(objects):
        classes[index] = class_id if area[index] > 0 else -1
    return Grouping(codes, classes)


def tracker(**changes):
    return Tracker(19, TrackerConfig(**changes))


def ids(tracked, count):
    return tracked.track_id[:count].tolist()


def uniform_flow(dx, dy=0.0):
    return torch.stack((torch.full(SIZE, float(dx)), torch.full(SIZE, float(dy))))


def test_ids_persist_and_ages_count():
    tracks = tracker()
    for age in range(1, 5):
        tracked = tracks.update(frame((CAR, 4, 4 + age, 8, 10), (PERSON, 2, 40 - age, 12, 5)))
        assert ids(tracked, 2) == [1, 2]
        assert tracked.age_frames[:2].tolist() == [age, age]
        assert tracked.class_id[:3].tolist() == [CAR, PERSON, -1]
    assert tracked.instance_id[:2].tolist() == [1, 2]


def test_flow_follows_what_moves_farther_than_its_own_width():
    told_with, told_without = tracker(), tracker(flow="none")
    told_with.update(frame((CAR, 4, 5, 8, 6)))
    told_without.update(frame((CAR, 4, 5, 8, 6)))
    moved = frame((CAR, 4, 25, 8, 6))
    assert ids(told_with.update(moved, uniform_flow(-20)), 1) == [1]
    assert ids(told_without.update(moved), 1) == [2]


def test_crossing_objects_keep_their_ids():
    tracks = tracker(flow="none")
    for step in range(12):
        left, right = 4 + 3 * step, 44 - 3 * step
        tracked = tracks.update(frame((PERSON, 3, right, 10, 8), (PERSON, 9, left, 12, 8)))
        assert ids(tracked, 2) == [1, 2]


def test_the_assignment_is_one_to_one_with_the_greatest_sum():
    tracks = tracker(flow="none")
    tracks.update(frame((CAR, 0, 0, 10, 10), (CAR, 0, 10, 10, 10)))
    # The first overlaps both old ones, and each old one best; only together do the pairs make sense.
    tracked = tracks.update(frame((CAR, 0, 8, 10, 10), (CAR, 0, 18, 10, 10)))
    assert ids(tracked, 2) == [2, 3]
    tracked = tracks.update(frame((CAR, 0, 3, 10, 10), (CAR, 0, 13, 10, 10)))
    assert len(set(ids(tracked, 2))) == 2


def test_overlap_at_the_least_iou_matches_and_below_it_does_not():
    at = tracker(flow="none", min_iou=1 / 3)
    at.update(frame((CAR, 0, 0, 4, 8)))
    assert ids(at.update(frame((CAR, 0, 4, 4, 8))), 1) == [1]  # IoU exactly 1/3
    below = tracker(flow="none", min_iou=0.334)
    below.update(frame((CAR, 0, 0, 4, 8)))
    assert ids(below.update(frame((CAR, 0, 4, 4, 8))), 1) == [2]


def test_an_object_behind_another_comes_out_under_its_id():
    tracks = tracker()
    wall = (TRUCK, 0, 24, 24, 16)
    seen = []
    for step in range(20):
        left = 2 * step + 4
        flow = torch.zeros(2, *SIZE)
        flow[0, 6:18, max(left, 0) : left + 8] = -2.0
        flow[0, :, 24:40] = 0.0
        tracked = tracks.update(frame((PERSON, 6, left, 12, 8), wall), flow if step else None)
        if tracked.class_id[0] == PERSON:
            seen.append((step, int(tracked.track_id[0])))
        assert tracked.track_id[1] == 2
    hidden = [step for step in range(20) if step not in dict(seen)]
    assert hidden, "the truck hides the person for some frames, or this tests nothing"
    assert {track for _, track in seen} == {1}
    assert seen[-1][0] == 19


def test_a_hidden_object_is_forgotten_after_max_age():
    for gap, expected in ((3, 1), (4, 2)):
        tracks = tracker(max_age=3, flow="none")
        tracks.update(frame((CAR, 4, 20, 8, 10)))
        for _ in range(gap):
            tracks.update(frame())
        assert ids(tracks.update(frame((CAR, 4, 20, 8, 10))), 1) == [expected]


def test_frames_without_objects_age_the_hidden_ones():
    tracks = tracker(max_age=2, flow="none")
    tracks.update(frame((CAR, 4, 20, 8, 10)))
    for _ in range(5):
        assert (tracks.update(frame()).class_id == -1).all()
    assert len(tracks._tracks) == 0


def test_one_frame_of_another_class_changes_neither_id_nor_class():
    tracks = tracker(flow="none")
    for step in range(6):
        class_id = TRUCK if step == 3 else CAR
        tracked = tracks.update(frame((class_id, 4, 10 + step, 8, 12)))
        assert ids(tracked, 1) == [1]
        assert tracked.class_id[0] == CAR


def test_without_votes_another_class_is_another_object():
    tracks = tracker(flow="none", class_votes=False)
    tracks.update(frame((CAR, 4, 10, 8, 12)))
    tracked = tracks.update(frame((TRUCK, 4, 10, 8, 12)))
    assert ids(tracked, 1) == [2]
    assert tracked.class_id[0] == TRUCK


def test_reset_forgets_and_never_uses_a_track_id_twice():
    tracks = tracker(flow="none")
    tracks.update(frame((CAR, 4, 10, 8, 12)))
    tracks.reset()
    tracked = tracks.update(frame((CAR, 4, 10, 8, 12)))
    assert ids(tracked, 1) == [2]
    assert tracked.instance_id[0] == 1


def test_instance_ids_are_recycled_least_recently_seen_within_999():
    tracks = tracker(flow="none", max_age=0)
    instance_ids, track_ids = [], []
    for step in range(1200):
        tracked = tracks.update(frame((CAR, 4, 2 if step % 2 else 40, 8, 10)))
        instance_ids.append(int(tracked.instance_id[0]))
        track_ids.append(int(tracked.track_id[0]))
    assert instance_ids[:999] == list(range(1, 1000))
    assert instance_ids[999:] == list(range(1, 202))
    assert track_ids == list(range(1, 1201))


def test_flow_that_points_outside_carries_nothing():
    previous = torch.arange(1, 7).view(2, 3)
    flow = torch.zeros(2, 2, 3)
    flow[0] = 1.0
    assert carry(previous, flow).tolist() == [[2, 3, 0], [5, 6, 0]]
    flow[0, 0, 0] = float("nan")
    assert carry(previous, flow)[0, 0] == 0
    flow = torch.zeros(2, 2, 3)
    flow[1] = 0.49
    assert torch.equal(carry(previous, flow), previous)


def test_another_size_without_reset_is_refused():
    tracks = tracker()
    tracks.update(frame((CAR, 4, 10, 8, 12)))
    small = Grouping(torch.zeros(4, 4, dtype=torch.int64), torch.full((8,), -1))
    with pytest.raises(ShapeError, match="reset"):
        tracks.update(small)


def test_many_objects_in_random_places_each_have_one_id():
    generator = np.random.default_rng(5)
    tracks = tracker(flow="none")
    for _ in range(10):
        objects = [(CAR, int(y), int(x), 4, 6) for y, x in generator.integers(0, (20, 58), (CAPACITY, 2))]
        tracked = tracks.update(frame(*objects))
        alive = tracked.class_id >= 0
        assert len(set(tracked.track_id[alive])) == alive.sum()
        assert len(set(tracked.instance_id[alive])) == alive.sum()
        assert (tracked.instance_id[alive] >= 1).all() and (tracked.instance_id[alive] <= 999).all()


def test_both_ways_to_move_remembered_masks_share_the_same_pixels():
    generator = torch.Generator().manual_seed(0)
    remembered = RememberedMasks((20, 30), torch.device("cpu"))
    for _ in range(2):  # the second frame gives the masks a motion
        tracks = torch.randint(0, 5, (20, 30), generator=generator)
        flow = 9.0 * torch.randn(2, 20, 30, generator=generator)
        remembered.update(tracks, 4, flow)
    rows, small = torch.tensor([3, 1]), torch.randint(0, 7, (10, 15), generator=generator)
    by_pixel = remembered._share_by_pixel(rows, small, 7)
    assert by_pixel.sum() > 0
    assert torch.equal(by_pixel.float(), remembered._share_by_mask(rows, small, 7))
