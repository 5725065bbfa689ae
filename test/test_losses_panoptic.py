# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from monodvps_ros.errors import ShapeError
from monodvps_ros.losses import center_loss, class_target, offset_loss, semantic_loss, small_instance_weights

VOID = 65535


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class TestTargets:
    def test_classes(self):
        ids = torch.tensor([[[0, 13001, VOID, 18999]]], dtype=torch.int32)
        assert class_target(ids).tolist() == [[[0, 13, 255, 18]]]
        assert class_target(ids[:, None]).tolist() == [[[0, 13, 255, 18]]]

    def test_weights_by_hand(self):
        # Car 1 has 3 pixels, car 2 has 2; the crowd (instance 0), the road and void have none of their own.
        ids = torch.tensor([[[13001, 13001, 13001, 13002, 13002, 13000, 0, VOID]]])
        assert small_instance_weights(ids, (13,), 3).tolist() == [[[1, 1, 1, 3, 3, 1, 1, 1]]]
        assert small_instance_weights(ids, (13,), 4, 2.0).tolist() == [[[2, 2, 2, 2, 2, 1, 1, 1]]]
        assert small_instance_weights(ids, (), 100).tolist() == [[[1] * 8]]

    def test_areas_are_counted_in_each_image(self):
        ids = torch.tensor([[[13001, 13001]], [[13001, 0]]])
        assert small_instance_weights(ids, (13,), 2).tolist() == [[[1, 1]], [[3, 1]]]

    def test_4096_is_not_small(self):
        ids = torch.full((1, 64, 65), 13001)
        ids[..., 64] = 13002
        assert small_instance_weights(ids, (13,))[0, 0].tolist() == [1.0] * 64 + [3.0]

    def test_errors(self):
        for function in (class_target, lambda ids: small_instance_weights(ids, (13,))):
            with pytest.raises(ShapeError, match="integers"):
                function(torch.zeros(1, 2, 2))
            with pytest.raises(ShapeError, match=r"panoptic is \(2, 2\)"):
                function(torch.zeros(2, 2, dtype=torch.int64))


def slow_semantic(logits, target, weights, top):
    """Work bootstrapped cross-entropy out pixel by pixel."""
    batch, _, height, width = logits.shape
    images = []
    for b in range(batch):
        losses = []
        for i, j in np.ndindex(height, width):
            if target[b, i, j] == 255:
                losses.append(0.0)
                continue
            scores = [math.exp(score) for score in logits[b, :, i, j].tolist()]
            losses.append(-math.log(scores[target[b, i, j]] / sum(scores)) * weights[b, i, j].item())
        hardest = sorted(losses, reverse=True)[: max(1, int(top * height * width))]
        images.append(sum(hardest) / len(hardest))
    return sum(images) / batch


class TestSemantic:
    def test_by_hand(self):
        # Ten pixels, the top 20 % are two: cross-entropies log(1 + e^2) and log(1 + e^1); all others are smaller.
        logits = torch.zeros(1, 2, 2, 5)
        logits[0, 0] = 5.0
        logits[0, 0, 0, :2] = torch.tensor([-2.0, -1.0])
        target = torch.zeros(1, 2, 5, dtype=torch.int64)
        expected = (math.log(1 + math.exp(2)) + math.log(1 + math.exp(1))) / 2
        assert semantic_loss(logits, target).item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize("top", [0.2, 0.01, 1.0])
    def test_against_a_loop(self, top):
        logits, weights = random(2, 4, 5, 6, dtype=torch.float32), random(2, 5, 6, seed=1).abs().float()
        target = torch.randint(0, 4, (2, 5, 6), generator=torch.Generator().manual_seed(2))
        target[0, 0], target[1, :4] = 255, 255
        slow = slow_semantic(logits, target, weights, top)
        assert semantic_loss(logits, target, weights, top).item() == pytest.approx(slow, abs=1e-5)

    def test_weights_move_the_choice(self):
        logits = torch.zeros(1, 2, 1, 5)
        target = torch.zeros(1, 1, 5, dtype=torch.int64)
        weights = torch.tensor([[[1.0, 1.0, 1.0, 1.0, 3.0]]])
        assert semantic_loss(logits, target, weights).item() == pytest.approx(3 * math.log(2))

    def test_all_void_is_zero_without_gradient(self):
        logits = random(2, 3, 4, 4).requires_grad_()
        loss = semantic_loss(logits, torch.full((2, 4, 4), 255))
        loss.backward()
        assert loss.item() == 0.0
        assert not logits.grad.any()

    def test_perfect_fit_goes_to_zero(self):
        logits = torch.zeros(1, 3, 4, 4)
        logits[:, 1] = 100.0
        logits.requires_grad_()
        loss = semantic_loss(logits, torch.ones(1, 4, 4, dtype=torch.uint8))
        loss.backward()
        assert loss.item() == pytest.approx(0.0, abs=1e-6)
        assert logits.grad.isfinite().all()

    def test_gradients(self):
        target = torch.tensor([[[0, 1, 255], [2, 2, 0]]])
        assert gradcheck(lambda x: semantic_loss(x, target, top=0.7), random(1, 3, 2, 3).requires_grad_())

    def test_batch_of_two_equals_two_of_one(self):
        logits = random(2, 3, 4, 5)
        target = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(2))
        target[1, :3] = 255
        ones = [semantic_loss(logits[b : b + 1], target[b : b + 1]).item() for b in range(2)]
        assert semantic_loss(logits, target).item() == pytest.approx(sum(ones) / 2)
        assert semantic_loss(logits, target[:, None]).item() == pytest.approx(sum(ones) / 2)

    def test_errors(self):
        logits = torch.zeros(1, 3, 4, 4)
        with pytest.raises(ShapeError, match=r"target is \(1, 4, 5\) but class_logits is \(1, 3, 4, 4\)"):
            semantic_loss(logits, torch.zeros(1, 4, 5, dtype=torch.int64))
        with pytest.raises(ShapeError, match=r"weights is \(1, 4, 5\) but class_logits is \(1, 3, 4, 4\)"):
            semantic_loss(logits, torch.zeros(1, 4, 4, dtype=torch.int64), torch.ones(1, 4, 5))
        for top in (0.0, 1.5, float("nan")):
            with pytest.raises(ShapeError, match="top is"):
                semantic_loss(logits, torch.zeros(1, 4, 4, dtype=torch.int64), top=top)


class TestCenter:
    def test_by_hand(self):
        prediction, target = torch.tensor([[[[0.5, 0.0, 1.0]]]]), torch.tensor([[[[1.0, 0.0, 0.0]]]])
        assert center_loss(prediction, target).item() == pytest.approx(1.25 / 3)
        weights = torch.tensor([[[[1.0, 1.0, 0.0]]]])
        assert center_loss(prediction, target, weights).item() == pytest.approx(0.125)


class TestOffset:
    def test_by_hand(self):
        prediction = torch.tensor([[[[1.0, 5.0]], [[-2.0, 5.0]]]])
        target = torch.zeros(1, 2, 1, 2)
        assert offset_loss(prediction, target, torch.tensor([[[[1.0, 0.0]]]])).item() == pytest.approx(1.5)
        assert offset_loss(prediction, target).item() == pytest.approx(13 / 4)


@pytest.mark.parametrize(("loss", "channels"), [(center_loss, 1), (offset_loss, 2)])
class TestInstanceLosses:
    def test_perfect_fit_and_no_weights_are_zero_without_gradient(self, loss, channels):
        target = random(2, channels, 3, 4)
        prediction = target.clone().requires_grad_()
        value = loss(prediction, target, torch.ones(2, 1, 3, 4))
        value.backward()
        assert value.item() == 0.0
        assert not prediction.grad.any()
        prediction = random(2, channels, 3, 4, seed=1).requires_grad_()
        value = loss(prediction, target, torch.zeros(2, 1, 3, 4))
        value.backward()
        assert value.item() == 0.0
        assert not prediction.grad.any()

    def test_gradients(self, loss, channels):
        weights = torch.tensor([[[[1.0, 0.0, 2.0]]]], dtype=torch.float64)
        target = random(1, channels, 1, 3, seed=1)
        assert gradcheck(lambda p: loss(p, target, weights), random(1, channels, 1, 3).requires_grad_())

    def test_batch_of_two_equals_two_of_one(self, loss, channels):
        arguments = random(2, channels, 3, 4), random(2, channels, 3, 4, seed=1), random(2, 1, 3, 4, seed=2) > 0
        arguments[2][0, :, 1:] = False
        ones = [loss(*(a[b : b + 1] for a in arguments)).item() for b in range(2)]
        assert loss(*arguments).item() == pytest.approx(sum(ones) / 2)

    def test_errors(self, loss, channels):
        prediction = torch.zeros(1, channels, 4, 4)
        with pytest.raises(ShapeError, match=r"target is .* but prediction is \(1, [12], 4, 4\)"):
            loss(prediction, torch.zeros(1, channels, 4, 5))
        with pytest.raises(ShapeError, match=r"weights is \(1, 1, 5, 4\) but prediction is"):
            loss(prediction, prediction, torch.zeros(1, 1, 5, 4))
