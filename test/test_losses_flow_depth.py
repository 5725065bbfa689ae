# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch.autograd import gradcheck

from monodvps_ros.errors import ShapeError
from monodvps_ros.losses import (
    flow_loss,
    flow_photometric_loss,
    flow_smoothness,
    photometric_error,
    scale_invariant_log,
)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def constant_flow(dx, dy, size=(6, 8), batch=1):
    flow = torch.tensor([dx, dy], dtype=torch.float64)[None, :, None, None]
    return flow.expand(batch, 2, *size).clone()


class TestFlowSmoothness:
    def test_by_hand(self):
        # One row: 0 0 1 0 bends by 1 at the second pixel and by -2 at the third, in dx alone; the shorter side is 1.
        flow = torch.zeros(1, 2, 1, 4)
        flow[0, 0, 0, 2] = 1.0
        assert flow_smoothness(flow, torch.zeros(1, 3, 1, 4)).item() == pytest.approx(0.5 * 0.5 * (1 + 2) / 2)

    def test_gives_way_to_image_edges(self):
        flow = torch.zeros(1, 2, 1, 4)
        flow[0, 0, 0, 3] = 1.0  # bends at the third pixel, towards the edge of the image
        image = torch.zeros(1, 3, 1, 4)
        image[..., 3] = 0.2
        assert flow_smoothness(flow, image).item() == pytest.approx(0.5 * 0.5 * math.exp(-2) / 2)

    def test_linear_flow_is_zero_without_gradient(self):
        ramp = torch.arange(5.0)
        flow = torch.stack([ramp[None].expand(5, 5), 2 * ramp[:, None].expand(5, 5)])[None].requires_grad_()
        loss = flow_smoothness(flow, random(1, 3, 5, 5, dtype=torch.float32))
        loss.backward()
        assert loss.item() == 0.0
        assert not flow.grad.any()

    def test_maps_too_small_to_bend(self):
        assert flow_smoothness(torch.ones(1, 2, 2, 1), torch.ones(1, 3, 2, 1)).item() == 0.0


class TestFlowPhotometric:
    def test_shifted_image_fits(self):
        big = random(1, 3, 6, 10)
        image, other = big[..., 2:], big[..., :8]  # image(x) is other(x + 2)
        loss = flow_photometric_loss(constant_flow(2.0, 0.0), image, other)
        wrong = flow_photometric_loss(constant_flow(1.0, 0.0), image, other)
        # The last column inside looks at mirrored neighbours in one image and real ones in the other.
        assert loss < 0.1 * wrong

    def test_only_visible_pixels_count(self):
        image, other = random(1, 3, 6, 8), random(1, 3, 6, 8, seed=1)
        visible = torch.zeros(1, 1, 6, 8, dtype=torch.bool)
        visible[..., 2, 3] = True
        expected = photometric_error(other, image)[0, 0, 2, 3]
        assert flow_photometric_loss(constant_flow(0, 0), image, other, visible).item() == pytest.approx(
            expected.item(), abs=1e-6
        )

    def test_nothing_visible_is_zero_without_gradient(self):
        flow = constant_flow(100.0, 0.0).requires_grad_()
        loss = flow_photometric_loss(flow, random(1, 3, 6, 8), random(1, 3, 6, 8, seed=1))
        loss.backward()
        assert loss.item() == 0.0
        assert not flow.grad.any()


class TestFlowLoss:
    def test_standing_camera_is_zero_without_gradient(self):
        image = random(1, 3, 6, 8)
        flow, back = constant_flow(0, 0).requires_grad_(), constant_flow(0, 0).requires_grad_()
        loss = flow_loss(flow, image, image, back)
        loss.backward()
        assert loss.item() == pytest.approx(0.0, abs=1e-9)
        assert flow.grad.abs().max() < 1e-6
        assert back.grad.abs().max() < 1e-6

    def test_is_the_weighted_sum_of_its_parts(self):
        image, previous = random(1, 3, 6, 8), random(1, 3, 6, 8, seed=1)
        flow = 2 * random(1, 2, 6, 8, seed=2) - 1
        parts = flow_photometric_loss(flow, image, previous) + 3 * flow_smoothness(flow, image)
        assert flow_loss(flow, image, previous, smoothness=3.0).item() == pytest.approx(parts.item())
        alone = flow_photometric_loss(flow, image, previous).item()
        assert flow_loss(flow, image, previous, smoothness=0.0).item() == pytest.approx(alone)

    def test_occluded_pixels_do_not_count(self):
        # There and back again ends two pixels off in the left half, which has the worse error.
        image, previous = torch.full((1, 3, 6, 8), 0.5), torch.full((1, 3, 6, 8), 0.5)
        previous[..., :4] = 0.9
        flow, back = constant_flow(0, 0).float(), constant_flow(0, 0).float()
        assert flow_loss(flow, image, previous, back) > 0.1
        back[:, 0, :, :5] = 2.0
        forward_only = flow_photometric_loss(flow, image, previous, torch.ones(1, 1, 6, 8, dtype=torch.bool))
        assert flow_loss(flow, image, previous, back, smoothness=0.0) < 0.1 * forward_only

    def test_both_directions_count_half_each(self):
        image, previous = random(1, 3, 6, 8), random(1, 3, 6, 8, seed=1)
        flow, back = constant_flow(0.1, 0), constant_flow(-0.1, 0)
        both = flow_loss(flow, image, previous, back).item()
        ones = flow_loss(flow, image, previous).item(), flow_loss(back, previous, image).item()
        assert both == pytest.approx(sum(ones) / 2)
        assert flow_loss(back, previous, image, flow).item() == pytest.approx(both)

    def test_gradients(self):
        image, previous = random(1, 3, 3, 4), random(1, 3, 3, 4, seed=1)
        flow, back = 0.2 * random(1, 2, 3, 4, seed=2) + 0.1, -0.2 * random(1, 2, 3, 4, seed=3) - 0.1
        function = lambda f, b: flow_loss(f, image, previous, b, smoothness=2.0)  # noqa: E731
        assert gradcheck(function, (flow.requires_grad_(), back.requires_grad_()))

    def test_batch_of_two_equals_two_of_one(self):
        image, previous = random(2, 3, 6, 8), random(2, 3, 6, 8, seed=1)
        flow, back = 3 * random(2, 2, 6, 8, seed=2), -3 * random(2, 2, 6, 8, seed=3)
        arguments = (flow, image, previous, back)
        ones = [flow_loss(*(a[b : b + 1] for a in arguments)).item() for b in range(2)]
        assert flow_loss(*arguments).item() == pytest.approx(sum(ones) / 2)

    def test_errors_name_both(self):
        image, flow = torch.zeros(1, 3, 6, 8), torch.zeros(1, 2, 6, 8)
        with pytest.raises(ShapeError, match=r"other is \(1, 3, 6, 7\) but flow_px is \(1, 2, 6, 8\)"):
            flow_loss(flow, image, image[..., :7])
        with pytest.raises(ShapeError, match=r"visible is \(2, 1, 6, 8\) but flow_px is \(1, 2, 6, 8\)"):
            flow_photometric_loss(flow, image, image, torch.ones(2, 1, 6, 8, dtype=torch.bool))
        with pytest.raises(ShapeError, match=r"image is \(1, 3, 6, 8\) but flow_px is \(1, 2, 6, 7\)"):
            flow_smoothness(flow[..., :7], image)
        with pytest.raises(ShapeError, match=r"flow_back_px is \(1, 2, 5, 8\) but flow_px is \(1, 2, 6, 8\)"):
            flow_loss(flow, image, image, torch.zeros(1, 2, 5, 8))


class TestScaleInvariantLog:
    def test_by_hand(self):
        # Logarithms are off by 0, 1 and 2: mean 1, mean square 5/3.
        target = torch.full((1, 1, 1, 3), 2.0, dtype=torch.float64)
        prediction = target * torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64).exp()
        assert scale_invariant_log(prediction, target).item() == pytest.approx(5 / 3 - 1)
        assert scale_invariant_log(prediction, target, scale_invariance=0.5).item() == pytest.approx(5 / 3 - 0.5)
        assert scale_invariant_log(prediction, target, scale_invariance=0.0).item() == pytest.approx(5 / 3)

    def test_a_common_factor_costs_nothing(self):
        prediction, target = random(1, 1, 4, 4) + 0.1, random(1, 1, 4, 4, seed=1) + 0.1
        value = scale_invariant_log(prediction, target).item()
        assert scale_invariant_log(7 * prediction, target).item() == pytest.approx(value)
        assert scale_invariant_log(7 * prediction, target, scale_invariance=0.5).item() > value + 0.1

    def test_perfect_fit_is_zero_without_gradient(self):
        target = random(1, 1, 4, 4) + 0.1
        for share in (0.0, 0.5, 1.0):
            prediction = target.clone().requires_grad_()
            loss = scale_invariant_log(prediction, target, scale_invariance=share)
            loss.backward()
            assert loss.item() == 0.0
            assert not prediction.grad.any()

    @pytest.mark.parametrize("layout", [(1, 1, 1, 5), (1, 1, 5)])
    def test_unmeasured_and_masked_pixels_are_left_out(self, layout):
        nan, inf = float("nan"), float("inf")
        target = torch.tensor([[[[1.0, nan, 0.0, inf, 5.0]]]])
        prediction = torch.tensor([[[[2.0, 9.0, 9.0, 9.0, 1.0]]]]).requires_grad_()
        mask = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0]).reshape(layout)
        loss = scale_invariant_log(prediction, target, mask, scale_invariance=0.0)
        loss.backward()
        assert loss.item() == pytest.approx(math.log(2) ** 2)
        assert prediction.grad.isfinite().all()
        assert not prediction.grad[..., 1:].any()

    def test_nothing_measured_is_zero_without_gradient(self):
        prediction = torch.ones(1, 1, 2, 2, requires_grad=True)
        loss = scale_invariant_log(prediction, torch.zeros(1, 1, 2, 2))
        loss.backward()
        assert loss.item() == 0.0
        assert not prediction.grad.any()

    def test_predictions_that_are_not_positive_stay_finite(self):
        prediction = torch.tensor([[[[0.0, -1.0, 1.0]]]], requires_grad=True)
        loss = scale_invariant_log(prediction, torch.ones(1, 1, 1, 3))
        loss.backward()
        assert loss.isfinite()
        assert prediction.grad.isfinite().all()

    def test_gradients(self):
        target = random(2, 1, 2, 3, seed=1)
        target[0, 0, 0, 0] = float("nan")
        prediction = (random(2, 1, 2, 3) + 0.1).requires_grad_()
        assert gradcheck(lambda p: scale_invariant_log(p, target, scale_invariance=0.5), prediction)

    def test_batch_of_two_equals_two_of_one(self):
        prediction, target = random(2, 1, 3, 3) + 0.1, random(2, 1, 3, 3, seed=1)
        mask = random(2, 1, 3, 3, seed=2) > 0.5
        ones = [scale_invariant_log(*(a[b : b + 1] for a in (prediction, target, mask))).item() for b in range(2)]
        assert scale_invariant_log(prediction, target, mask).item() == pytest.approx(sum(ones) / 2)

    def test_errors(self):
        depth = torch.ones(1, 1, 2, 2)
        with pytest.raises(ShapeError, match=r"target is \(1, 1, 2, 3\) but prediction is \(1, 1, 2, 2\)"):
            scale_invariant_log(depth, torch.ones(1, 1, 2, 3))
        with pytest.raises(ShapeError, match=r"mask is \(1, 1, 3, 2\) but prediction is \(1, 1, 2, 2\)"):
            scale_invariant_log(depth, depth, torch.ones(1, 3, 2))
        with pytest.raises(ShapeError, match="scale_invariance is 2"):
            scale_invariant_log(depth, depth, scale_invariance=2.0)
