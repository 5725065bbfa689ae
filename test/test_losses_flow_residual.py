# SPDX-License-Identifier: Apache-2.0
"""The mask of moving objects by flow: hand-worked flows, drives with exact depth, flow and motion."""

import pytest
import torch

from monodvps_ros.errors import ShapeError
from monodvps_ros.geometry import rigid_flow
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.losses import flow_residual_mask

THINGS = CITYSCAPES.thing_ids
ROAD, CAR, OTHER = 0, 13001, 13002
K = torch.tensor([[[10.0, 0.0, 3.5], [0.0, 10.0, 1.5], [0.0, 0.0, 1.0]]])
DEPTH = torch.full((1, 1, 4, 8), 10.0)
# The camera goes 1 m to the left: everything at 10 m moves by 10 px * 1 m / 10 m = 1 px to the right.
STEP = torch.eye(4)[None].clone()
STEP[0, 0, 3] = 1.0


def scene():
    ids = torch.full((1, 4, 8), ROAD)
    ids[0, :, :3], ids[0, :, 5:] = CAR, OTHER
    return ids


def flow(dx, dy=0.0):
    return torch.tensor([dx, dy])[None, :, None, None].expand(1, 2, 4, 8).clone()


def mask(*flows, ids=None, motion=STEP, depth=DEPTH):
    return flow_residual_mask(scene() if ids is None else ids, THINGS, flows, depth, [motion] * len(flows), K)


def test_rigid_flow_is_focal_length_times_step_over_depth():
    assert torch.allclose(rigid_flow(DEPTH, STEP, K), flow(1.0), atol=1e-5)
    depth = DEPTH.clone()
    depth[0, 0, 1, 2] = torch.nan
    assert rigid_flow(depth, STEP, K).isnan().nonzero().tolist() == [[0, 0, 1, 2], [0, 1, 1, 2]]
    behind = torch.eye(4)[None].clone()
    behind[0, 2, 3] = -11.0
    assert bool(rigid_flow(DEPTH, behind, K).isnan().all())


@pytest.mark.parametrize(
    ("dx", "moves"),
    [
        (1.0, False),  # the flow of a standing surface
        (1.49, False),  # less than half a pixel off
        (1.51, True),
        (0.49, True),
    ],
)
def test_half_a_pixel_is_allowed_for_short_flow(dx, moves):
    seen = mask(flow(dx))
    assert bool(seen[0, :, 3:5].all())  # the road does not move
    assert bool(seen[0, :, :3].any()) != moves


@pytest.mark.parametrize(("dx", "moves"), [(13.0, False), (14.2, False), (14.4, True), (6.9, True), (7.1, False)])
def test_a_third_of_long_flow_is_allowed(dx, moves):
    # At 1 m everything moves by 10 px. 0.3 * 14.2 = 4.26 > 4.2; 0.3 * 14.4 = 4.32 < 4.4; 0.3 * 10 = 3 for what is less.
    assert bool(mask(flow(dx), depth=torch.ones(1, 1, 4, 8))[0, :, :3].any()) != moves


def test_every_source_must_say_so():
    assert bool(mask(flow(5.0), flow(1.0)).all())
    assert not bool(mask(flow(5.0), flow(5.0))[0, :, :3].any())


def test_one_instance_moves_and_the_other_stands():
    given = flow(1.0)
    given[..., 5:] = 4.0
    given[0, :, 0, 5:7] = torch.nan  # unknown there: the rest decides
    seen = mask(given)
    assert bool(seen[0, :, :5].all())
    assert not bool(seen[0, :, 5:].any())


def test_the_median_is_not_moved_by_few_pixels():
    given = flow(1.0)
    given[0, :, :2, :2] = 50.0  # 4 of the 12 pixels
    assert bool(mask(given).all())


def test_what_is_not_known_is_kept():
    assert bool(mask(flow(torch.nan)).all())
    crowd = scene()
    crowd[crowd == CAR] = 13000
    assert bool(mask(flow(9.0), ids=crowd)[0, :, :3].all())
    assert bool(mask().all())
    assert mask(flow(9.0), ids=scene()[:, None]).shape == (1, 1, 4, 8)
    with pytest.raises(ShapeError, match="flows_px"):
        mask(torch.zeros(1, 2, 4, 7))
