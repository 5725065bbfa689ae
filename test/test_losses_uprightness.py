# SPDX-License-Identifier: Apache-2.0
"""Depth hardly changes up what is upright: hand-worked values, and what the gradient reaches."""

import math

import pytest
import torch

from monodvps_ros.config import LossConfig
from monodvps_ros.errors import ConfigError, ShapeError
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID
from monodvps_ros.losses import Objective
from monodvps_ros.losses.uprightness import uprightness

BUS = CITYSCAPES.class_id("bus")
#: 16 rows: pairs are 1, 2 and 4 rows apart.
ROWS = 16


def bus(depth_above, rows_above=4):
    """One column of a bus: 10 m, and another depth in the upper rows."""
    depth = torch.full((1, 1, ROWS, 1), 10.0)
    depth[:, :, :rows_above] = depth_above
    return depth.requires_grad_(), torch.full((1, ROWS, 1), BUS * 1000 + 1)


@pytest.mark.parametrize("depth_above", [20.0, 5.0], ids=["farther", "nearer"])
def test_a_change_beyond_a_fifth_costs_its_logarithm(depth_above):
    """Of 15 + 14 + 12 pairs 1 + 2 + 4 lie across the step, each with log 2 - log 1.2."""
    depth, panoptic = bus(depth_above)
    assert uprightness(depth, panoptic, (BUS,)).item() == pytest.approx(7 / 41 * math.log(2 / 1.2))


@pytest.mark.parametrize("depth_above", [10.0, 11.9, 8.4], ids=["vertical", "slopes", "leans over"])
def test_what_an_upright_surface_does_costs_nothing(depth_above):
    depth, panoptic = bus(depth_above)
    loss = uprightness(depth, panoptic, (BUS,))
    loss.backward()
    assert loss.item() == 0
    assert not depth.grad.any()


@pytest.mark.parametrize(("depth_above", "sign"), [(20.0, 1), (5.0, -1)], ids=["farther", "nearer"])
def test_the_upper_pixels_move_and_the_lower_stay(depth_above, sign):
    depth, panoptic = bus(depth_above)
    uprightness(depth, panoptic, (BUS,)).backward()
    assert (sign * depth.grad[0, 0, :4] > 0).all()
    assert not depth.grad[0, 0, 4:].any()


def test_other_classes_other_instances_and_void_make_no_pairs():
    depth, panoptic = bus(20.0)
    assert uprightness(depth, panoptic, (CITYSCAPES.class_id("car"),)).item() == 0
    behind = panoptic.clone()
    behind[:, :4] += 1
    assert uprightness(depth, behind, (BUS,)).item() == 0
    assert uprightness(depth, torch.full_like(panoptic, VOID_PANOPTIC_ID), (BUS,)).item() == 0


def test_images_count_alike():
    """A bus of 16 rows has 41 pairs; an upright one of 8 rows, below void, has 7 + 6 + 4, and weighs as much."""
    (depth, panoptic), (low, _) = bus(20.0), bus(10.0)
    short = panoptic.clone()
    short[:, :8] = VOID_PANOPTIC_ID
    both = uprightness(torch.cat([depth, low]), torch.cat([panoptic, short]), (BUS,))
    assert both.item() == pytest.approx(7 / 41 * math.log(2 / 1.2) / 2)


def test_one_row_has_no_pairs():
    assert uprightness(torch.ones(1, 1, 1, 4), torch.full((1, 1, 4), BUS * 1000), (BUS,)).item() == 0


def test_bad_input_is_refused():
    with pytest.raises(ShapeError, match="panoptic"):
        uprightness(torch.ones(1, 1, 8, 8), torch.zeros(1, 8, 4, dtype=torch.int32), (BUS,))
    with pytest.raises(ConfigError, match=r"loss\.upright_classes: no class 'tram'"):
        Objective(LossConfig(uprightness=1.0, upright_classes=("tram",)), CITYSCAPES)
    with pytest.raises(ConfigError, match=r"upright_classes.*at least one class"):
        LossConfig(uprightness=1.0, upright_classes=())


def test_it_is_off_in_the_paper_s_objective():
    assert "uprightness" not in Objective(LossConfig(), CITYSCAPES).active_terms
    assert "uprightness" in Objective(LossConfig(uprightness=1.0), CITYSCAPES).active_terms
