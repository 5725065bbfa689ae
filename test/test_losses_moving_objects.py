# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from monodvps_ros.errors import ShapeError
from monodvps_ros.losses import OCCLUDED_PANOPTIC_ID as HIDDEN
from monodvps_ros.losses import (
    iou_threshold_at,
    moving_object_mask,
    occlusion_mask,
    reconstruct_depth,
    reconstruct_panoptic,
)

VOID = 65535
THINGS = (11, 13)
ROAD, CAR, OTHER_CAR = 0, 13001, 13002


def row(*ids):
    """Make a panoptic map of one row."""
    return torch.tensor([[list(ids)]])


class TestMovingObjectMask:
    def test_by_hand(self):
        # The first car overlaps with itself in 1 of 3 pixels, the second fully.
        here = row(CAR, CAR, ROAD, ROAD, OTHER_CAR, OTHER_CAR)
        there = row(ROAD, CAR, CAR, ROAD, OTHER_CAR, OTHER_CAR)
        kept = moving_object_mask(here, there, THINGS, 0.5)
        assert kept.dtype == torch.bool
        assert kept.flatten().tolist() == [False, False, False, True, True, True]
        assert moving_object_mask(here, there, THINGS, 0.3).all()

    def test_an_iou_of_exactly_the_threshold_stands_still(self):
        here, there = row(CAR, CAR, ROAD), row(ROAD, CAR, ROAD)  # IoU 0.5
        assert moving_object_mask(here, there, THINGS, 0.5).all()
        assert not moving_object_mask(here, there, THINGS, 0.5001).all()

    def test_gone_from_where_all_is_known_means_moving(self):
        kept = moving_object_mask(row(CAR, ROAD, ROAD), row(ROAD, ROAD, ROAD), THINGS, 0.7)
        assert kept.flatten().tolist() == [False, True, True]
        kept = moving_object_mask(row(ROAD, ROAD, ROAD), row(ROAD, CAR, ROAD), THINGS, 0.7)
        assert kept.flatten().tolist() == [True, False, True]

    def test_void_is_left_out(self):
        # Half of the car is out of sight in the other frame; what is left overlaps fully.
        assert moving_object_mask(row(CAR, CAR, ROAD), row(CAR, VOID, ROAD), THINGS, 0.9).all()
        assert moving_object_mask(row(CAR, VOID, ROAD), row(CAR, CAR, ROAD), THINGS, 0.9).all()

    def test_occluded_counts_as_something_else(self):
        assert not moving_object_mask(row(CAR, CAR, ROAD), row(CAR, HIDDEN, ROAD), THINGS, 0.6).all()
        assert moving_object_mask(row(CAR, CAR, ROAD), row(CAR, HIDDEN, ROAD), THINGS, 0.5).all()

    def test_what_a_nearer_thing_hides_is_not_held_against_a_car(self):
        # A rider 5 m away moves two pixels to the right before a parked car 10 m away, which is seen in between.
        rider = 12001
        here = row(CAR, rider, rider, CAR, CAR, CAR, ROAD)
        there = row(CAR, CAR, CAR, rider, rider, CAR, ROAD)
        depth = torch.where(here == rider, 5.0, 10.0)[:, None]
        back = torch.where(there == rider, 5.0, 10.0)[:, None]
        things = (12, 13)
        assert moving_object_mask(here, there, things, 0.7).flatten().tolist() == [False] * 6 + [True]
        kept = moving_object_mask(here, there, things, 0.7, depth, back)
        assert kept.flatten().tolist() == [True, False, False, False, False, True, True]
        unknown = torch.full_like(back, float("nan"))
        plain = moving_object_mask(here, there, things, 0.7)
        assert torch.equal(moving_object_mask(here, there, things, 0.7, depth, unknown), plain)

    def test_a_car_that_moves_over_nearer_road_moves(self):
        # Stuff cannot have moved away; and a car before farther road has left its place.
        here, there = row(CAR, CAR, ROAD, ROAD), row(ROAD, CAR, CAR, ROAD)
        depth = torch.tensor([[[[9.0, 9.0, 8.0, 7.0]]]])
        back = torch.tensor([[[[12.0, 9.0, 9.0, 7.0]]]])
        assert not moving_object_mask(here, there, THINGS, 0.4, depth, back).all()

    def test_stuff_never_moves(self):
        assert moving_object_mask(row(ROAD, 7000), row(7000, ROAD), THINGS, 1.0).all()

    @pytest.mark.parametrize("there", [row(CAR, CAR, ROAD), row(VOID, VOID, VOID)])
    def test_equal_or_unknown_keeps_all(self, there):
        assert moving_object_mask(row(CAR, CAR, ROAD), there, THINGS, 1.0).all()

    def test_layouts(self):
        here, there = row(CAR, CAR, ROAD, ROAD), row(ROAD, CAR, CAR, ROAD)
        three = moving_object_mask(here, there, THINGS, 0.7)
        four = moving_object_mask(here[:, None].int(), there[:, None].int(), THINGS, 0.7)
        assert three.shape == (1, 1, 4)
        assert torch.equal(four, three[:, None])

    def test_batch_of_two_equals_two_of_one(self):
        # The same id moves in one image and stands in the other.
        here = torch.cat([row(CAR, CAR, ROAD, ROAD), row(CAR, CAR, ROAD, ROAD)])
        there = torch.cat([row(ROAD, CAR, CAR, ROAD), row(CAR, CAR, ROAD, ROAD)])
        kept = moving_object_mask(here, there, THINGS, 0.7)
        assert kept[:, 0].tolist() == [[False, False, False, True], [True] * 4]

    def test_errors(self):
        with pytest.raises(ShapeError, match=r"warped_panoptic is \(1, 1, 1, 2\) but panoptic is \(1, 1, 1, 3\)"):
            moving_object_mask(row(1, 2, 3), row(1, 2), THINGS, 0.7)
        with pytest.raises(ShapeError, match=r"warped_panoptic is torch\.float32"):
            moving_object_mask(row(1, 2), row(1, 2).float(), THINGS, 0.7)
        with pytest.raises(ShapeError, match=r"depth_m is \(1, 1, 1, 3\) but panoptic is \(1, 1, 1, 2\)"):
            moving_object_mask(row(1, 2), row(1, 2), THINGS, 0.7, torch.ones(1, 1, 1, 3), torch.ones(1, 1, 1, 2))
        with pytest.raises(ShapeError, match="belong together"):
            moving_object_mask(row(1, 2), row(1, 2), THINGS, 0.7, torch.ones(1, 1, 1, 2))
        with pytest.raises(ShapeError, match="iou_threshold is 70"):
            moving_object_mask(row(1, 2), row(1, 2), THINGS, 70)


class TestThreshold:
    def test_falls_linearly_and_stops_at_the_ends(self):
        values = [iou_threshold_at(progress, 0.7, 0.3) for progress in (-1, 0, 0.25, 0.5, 1, 2)]
        assert values == pytest.approx([0.7, 0.7, 0.6, 0.5, 0.3, 0.3])
        assert iou_threshold_at(0.0) == 0.7


class TestOcclusion:
    def test_by_hand(self):
        source = torch.zeros(1, 2, 1, 3)
        carried = torch.tensor([[[[0.0, 0.2, 0.4]], [[0.0, 0.0, 0.2]]]])  # differ by 0, 0.1 and 0.3 on average
        assert occlusion_mask(source, carried, math.exp(-0.2)).flatten().tolist() == [True, True, False]
        assert not occlusion_mask(source, carried, 1.0).any()

    def test_error_names_both(self):
        with pytest.raises(ShapeError, match=r"carried is \(1, 3, 4, 5\) but source is \(1, 3, 4, 4\)"):
            occlusion_mask(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5), 0.5)


class TestReconstruction:
    """A row of eight pixels at depth 8 with fx = 4: a sideways step of 2 is one pixel."""

    def setup_method(self):
        self.panoptic = row(ROAD, ROAD, CAR, CAR, ROAD, ROAD, ROAD, ROAD)
        self.k = torch.tensor([[[4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]]])
        self.depth = torch.full((1, 1, 1, 8), 8.0)
        self.grey = torch.full((1, 3, 1, 8), 0.5)

    def reconstruct(self, flow_dx, step_m, target=None, source=None):
        flow = torch.zeros(1, 2, 1, 8)
        flow[:, 0] = torch.tensor(flow_dx)
        motion = torch.eye(4)[None].clone()
        motion[0, 0, 3] = step_m
        return reconstruct_panoptic(
            self.panoptic,
            self.grey if target is None else target,
            self.grey if source is None else source,
            flow,
            self.depth,
            source_from_target=motion,
            intrinsics=self.k,
        )

    def test_nothing_moves(self):
        assert torch.equal(self.reconstruct(0.0, 0.0), self.panoptic)

    def test_camera_alone_moves(self):
        # All content stands one pixel further right in the source: flow back is -1, and motion explains it.
        back = self.reconstruct(-1.0, 2.0)
        assert back.flatten().tolist() == [ROAD, ROAD, CAR, CAR, ROAD, ROAD, ROAD, VOID]
        assert moving_object_mask(self.panoptic, back, THINGS, 1.0).all()

    def test_the_car_moves_by_itself(self):
        # The car stands two pixels further right in the source, camera still; pixels 2-3 of the source show road.
        flow = [0.0, 0.0, 0.0, 0.0, -2.0, -2.0, 0.0, 0.0]
        source, target = self.grey.clone(), self.grey.clone()
        source[..., 4:6], target[..., 2:4] = 0.9, 0.9
        back = self.reconstruct(flow, 0.0, target, source)
        # Where the car was, the source shows road, and the target's colour there does not fit.
        assert back.flatten().tolist() == [ROAD, ROAD, HIDDEN, HIDDEN, CAR, CAR, ROAD, ROAD]
        kept = moving_object_mask(self.panoptic, back, THINGS, 0.7)
        assert kept.flatten().tolist() == [True, True, False, False, False, False, True, True]

    def test_without_depth_or_behind_the_camera_is_void(self):
        self.depth[..., 0] = float("nan")
        assert self.reconstruct(0.0, 0.0).flatten().tolist()[:2] == [VOID, ROAD]

    def test_depth_goes_the_same_way(self):
        self.depth[..., 4] = 6.0
        flow = torch.zeros(1, 2, 1, 8)
        flow[:, 0] = -1.0  # the source shows everything one pixel further right; the camera stands still
        back = reconstruct_depth(self.depth, flow, torch.eye(4)[None], self.k)
        assert back[0, 0, 0, 0].isnan()
        assert back[0, 0, 0, 1:].tolist() == [8.0, 8.0, 8.0, 8.0, 6.0, 8.0, 8.0]

    def test_depth_errors_name_both(self):
        with pytest.raises(ShapeError, match=r"flow_px is \(1, 2, 1, 7\) but source is \(1, 1, 1, 8\)"):
            reconstruct_depth(self.depth, torch.zeros(1, 2, 1, 7), torch.eye(4)[None], self.k)

    def test_layout_and_dtype_are_kept(self):
        self.panoptic = self.panoptic[:, None].int()
        assert self.reconstruct(0.0, 0.0).shape == (1, 1, 1, 8)
        assert self.reconstruct(0.0, 0.0).dtype == torch.int32

    def test_errors(self):
        self.depth = self.depth[..., :7]
        with pytest.raises(ShapeError, match=r"depth_m is \(1, 1, 1, 7\) but panoptic is \(1, 1, 1, 8\)"):
            self.reconstruct(0.0, 0.0)
        self.panoptic = self.panoptic.float()
        with pytest.raises(ShapeError, match="panoptic is"):
            self.reconstruct(0.0, 0.0)
