# SPDX-License-Identifier: Apache-2.0
"""The loss against a teacher's inverse depth, and what pseudo-labels weigh."""

import dataclasses

import numpy as np
import pytest
import torch
from test_losses_objective import make_batch, make_prediction

from monodvps_ros.config import LossConfig
from monodvps_ros.errors import ConfigError, ShapeError
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.losses import Objective, scale_shift_invariant

NAN = float("nan")
DEPTH_ALONE = LossConfig(depth=2.0, pseudo_depth=3.0, photometric=0.0, smoothness=0.0, panoptic_smoothness=0.0,
                         panoptic_edges=0.0, triplet=0.0, semantic=0.0, instance=0.0, flow=0.0)  # fmt: skip
LABELS_ALONE = LossConfig(depth=0.0, flow=0.0)


def row(*values):
    return torch.tensor(values, dtype=torch.double)[None, None, None]


def random(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def loop(prediction, target):
    """The definition, pixel by pixel."""
    losses = []
    for guess, true in zip(prediction[:, 0].numpy(), target[:, 0].numpy(), strict=True):
        pairs = [(g, t) for g, t in zip(guess.ravel(), true.ravel(), strict=True) if np.isfinite(t)]
        normal = []
        for values in zip(*pairs, strict=True):
            median = sorted(values)[(len(values) - 1) // 2]
            spread = sum(abs(value - median) for value in values) / len(values)
            normal.append([(value - median) / spread for value in values])
        losses.append(sum(abs(a - b) for a, b in zip(*normal, strict=True)) / len(pairs) / 2)
    return sum(losses) / len(losses)


def test_by_hand():
    # medians 2 and 2, spreads 1 and 2: -1 0 1 2 against -0.5 0 0.5 3
    assert scale_shift_invariant(row(1, 2, 3, 4), row(1, 2, 3, 8)).item() == pytest.approx((0.5 + 0 + 0.5 + 1) / 4 / 2)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (2.5, 0.0), (1.0, -7.0), (1e-3, 100.0)])
def test_scale_and_shift_cost_nothing_on_either_side(scale, shift):
    target, other = random(2, 1, 4, 5), random(2, 1, 4, 5, seed=1)
    assert scale_shift_invariant(scale * target + shift, target).item() == pytest.approx(0.0, abs=1e-9)
    expected = scale_shift_invariant(other, target).item()
    assert expected > 0.1
    assert scale_shift_invariant(scale * other + shift, target).item() == pytest.approx(expected)
    assert scale_shift_invariant(other, scale * target + shift).item() == pytest.approx(expected)


def test_what_is_near_must_stay_near():
    target = random(1, 1, 4, 5)
    assert scale_shift_invariant(-target, target).item() > 0.5


def test_agrees_with_a_slow_loop():
    prediction, target = random(3, 1, 5, 4), random(3, 1, 5, 4, seed=1)
    target[1, 0, 2] = NAN
    target[2, 0, 0, 1:] = float("inf")
    assert scale_shift_invariant(prediction, target).item() == pytest.approx(loop(prediction, target))


def test_a_batch_is_the_mean_of_its_images():
    prediction, target = random(2, 1, 4, 5), random(2, 1, 4, 5, seed=1)
    target[0, 0, :3] = NAN
    alone = [scale_shift_invariant(prediction[i : i + 1], target[i : i + 1]).item() for i in (0, 1)]
    assert scale_shift_invariant(prediction, target).item() == pytest.approx(sum(alone) / 2)


def test_unknown_and_masked_pixels_do_not_count():
    expected = scale_shift_invariant(row(1, 2, 3, 4), row(1, 2, 3, 8)).item()
    assert scale_shift_invariant(row(1, 2, 9, 3, 4), row(1, 2, NAN, 3, 8)).item() == pytest.approx(expected)
    mask = row(1, 1, 0, 1, 1)[:, 0]
    assert scale_shift_invariant(row(1, 2, 9, 3, 4), row(1, 2, 5, 3, 8), mask).item() == pytest.approx(expected)


@pytest.mark.parametrize("target", [row(NAN, NAN, NAN), row(NAN, 2, NAN), row(4, 4, 4)], ids=["none", "one", "flat"])
def test_where_nothing_can_be_compared_it_is_zero(target):
    prediction = row(1, 2, 3).requires_grad_()
    loss = scale_shift_invariant(prediction, target)
    loss.backward()
    assert loss.item() == 0.0 and (prediction.grad == 0).all()


def test_a_flat_prediction_has_a_finite_gradient():
    prediction = row(2, 2, 2).requires_grad_()
    loss = scale_shift_invariant(prediction, row(1, 2, 4))
    loss.backward()
    assert loss.item() == pytest.approx(0.5) and prediction.grad.isfinite().all()


def test_gradient():
    target = random(2, 1, 3, 4, seed=1)
    target[0, 0, 0] = NAN
    prediction = random(2, 1, 3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: scale_shift_invariant(values, target), (prediction,))


def test_a_prediction_that_is_not_finite_shows():
    assert scale_shift_invariant(row(1, NAN, 3), row(1, 2, 4)).isnan()


def test_wrong_shapes_are_refused():
    with pytest.raises(ShapeError, match="target"):
        scale_shift_invariant(random(1, 1, 3, 4), random(1, 1, 4, 4))
    with pytest.raises(ShapeError, match="mask"):
        scale_shift_invariant(random(1, 1, 3, 4), random(1, 1, 3, 4), torch.ones(3, 4))


class TestObjective:
    def test_the_term_is_off_until_it_is_asked_for(self):
        assert "pseudo_depth" not in Objective(LossConfig(), CITYSCAPES).active_terms
        with pytest.raises(ConfigError, match="inverse_depth"):
            Objective(DEPTH_ALONE, CITYSCAPES)(make_batch(), make_prediction()[0])

    def test_it_is_the_mean_over_the_scales_enlarged(self):
        prediction, _ = make_prediction()
        batch = make_batch(inverse_depth=random(2, 1, 32, 64, seed=9).float())
        terms = Objective(DEPTH_ALONE, CITYSCAPES)(batch, prediction)
        assert set(terms) == {"pseudo_depth", "depth", "total"}
        each = [
            scale_shift_invariant(
                torch.nn.functional.interpolate(disparity, (32, 64), mode="bilinear"), batch.inverse_depth
            )
            for disparity in prediction.output.disparities
        ]
        assert terms["pseudo_depth"].item() == pytest.approx(sum(each).item() / 4)
        assert terms["total"].item() == pytest.approx(2.0 * 3.0 * terms["pseudo_depth"].item())

    def test_a_sample_without_a_guess_counts_as_zero(self):
        guess = random(2, 1, 32, 64, seed=9).float()
        guess[1] = NAN
        prediction = make_prediction()[0]
        half = Objective(DEPTH_ALONE, CITYSCAPES)(make_batch(inverse_depth=guess), prediction)
        alone = sum(
            scale_shift_invariant(
                torch.nn.functional.interpolate(disparity[:1], (32, 64), mode="bilinear"), guess[:1]
            ).item()
            for disparity in prediction.output.disparities
        )
        assert half["pseudo_depth"].item() == pytest.approx(alone / 4 / 2)


class TestPseudoLabels:
    """Terms of labels that are a teacher's weigh `pseudo_labels`."""

    @pytest.mark.parametrize("term", ["semantic", "center", "offset"])
    def test_each_image_weighs_its_own(self, term):
        config = dataclasses.replace(LABELS_ALONE, pseudo_labels=0.25)
        prediction = make_prediction()[0]
        plain = Objective(LABELS_ALONE, CITYSCAPES)
        both = plain(make_batch(), prediction)[term].item()
        flags = [(False, False), (True, False), (True, True)]
        none, first, all_ = (
            Objective(config, CITYSCAPES)(make_batch(pseudo=torch.tensor(flag)), prediction)[term].item()
            for flag in flags
        )
        assert none == pytest.approx(both)
        assert all_ == pytest.approx(0.25 * both)
        only_first = plain(make_batch(labelled=torch.tensor([True, False])), prediction)[term].item()
        assert first == pytest.approx(both - 0.75 * only_first / 2)

    def test_with_weight_one_they_count_as_true_ones(self):
        prediction = make_prediction()[0]
        flagged = Objective(LossConfig(), CITYSCAPES)(make_batch(pseudo=torch.tensor([True, False])), prediction)
        plain = Objective(LossConfig(), CITYSCAPES)(make_batch(), prediction)
        assert {name: value.item() for name, value in flagged.items()} == pytest.approx(
            {name: value.item() for name, value in plain.items()}
        )

    def test_depth_terms_keep_their_weight(self):
        config = dataclasses.replace(LossConfig(), pseudo_labels=0.0)
        terms = Objective(config, CITYSCAPES)(make_batch(pseudo=torch.tensor([True, True])), make_prediction()[0])
        assert terms["semantic"] == terms["center"] == terms["offset"] == 0
        assert terms["panoptic_smoothness"] > 0 and terms["triplet"] > 0
