# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from monodvps_ros.errors import ShapeError
from monodvps_ros.losses import minimum_reprojection_loss, photometric_error


def slow_ssim_error(x, y):
    """Work out SSIM pixel by pixel from its definition, mirrored at the border."""
    batch, channels, height, width = x.shape
    result = torch.zeros_like(x)

    def mirrored(place, size):
        return -place if place < 0 else 2 * (size - 1) - place if place >= size else place

    for b, c, i, j in np.ndindex(batch, channels, height, width):
        window = [(mirrored(i + di, height), mirrored(j + dj, width)) for di in (-1, 0, 1) for dj in (-1, 0, 1)]
        p = torch.stack([x[b, c, row, column] for row, column in window])
        q = torch.stack([y[b, c, row, column] for row, column in window])
        above = (2 * p.mean() * q.mean() + 1e-4) * (2 * ((p - p.mean()) * (q - q.mean())).mean() + 9e-4)
        below = (p.mean() ** 2 + q.mean() ** 2 + 1e-4) * (p.var(unbiased=False) + q.var(unbiased=False) + 9e-4)
        result[b, c, i, j] = min(max((1 - above / below) / 2, 0), 1)
    return result


def random_images(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


class TestPhotometricError:
    def test_constant_images_by_hand(self):
        # No variance, so SSIM is (2 * 0.2 * 0.6 + c1) / (0.2^2 + 0.6^2 + c1).
        low, high = torch.full((1, 3, 4, 4), 0.2), torch.full((1, 3, 4, 4), 0.6)
        ssim = (0.24 + 1e-4) / (0.4 + 1e-4)
        expected = 0.85 * (1 - ssim) / 2 + 0.15 * 0.4
        assert torch.allclose(photometric_error(low, high), torch.full((1, 1, 4, 4), expected), atol=1e-6)
        assert torch.allclose(photometric_error(low, high, alpha=0.0), torch.full((1, 1, 4, 4), 0.4))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_against_a_loop(self, dtype):
        x, y = random_images(2, 2, 4, 5, dtype=dtype), random_images(2, 2, 4, 5, seed=1, dtype=dtype)
        slow = slow_ssim_error(x, y)
        assert torch.allclose(photometric_error(x, y, alpha=1.0), slow.mean(1, keepdim=True), atol=1e-5)
        expected = 0.85 * slow.mean(1, keepdim=True) + 0.15 * (x - y).abs().mean(1, keepdim=True)
        assert torch.allclose(photometric_error(x, y), expected, atol=1e-5)

    def test_perfect_fit_is_zero_without_gradient(self):
        image = random_images(1, 3, 4, 5)
        prediction = image.clone().requires_grad_()
        error = photometric_error(prediction, image)
        error.sum().backward()
        assert error.abs().max() < 1e-6
        assert prediction.grad.abs().max() < 1e-5

    def test_stays_in_range_for_opposite_images(self):
        checkers = (torch.arange(25).reshape(1, 1, 5, 5) % 2).float()
        error = photometric_error(checkers, 1 - checkers)
        assert error.min() >= 0.85 * 0.9
        assert error.max() <= 1.0

    def test_gradients(self):
        x, y = random_images(1, 2, 3, 4, dtype=torch.float64), random_images(1, 2, 3, 4, seed=1, dtype=torch.float64)
        assert gradcheck(photometric_error, (x.requires_grad_(), y.requires_grad_()))

    def test_batch_of_two_equals_two_of_one(self):
        x, y = random_images(2, 3, 4, 4), random_images(2, 3, 4, 4, seed=1)
        both = photometric_error(x, y)
        assert torch.allclose(both, torch.cat([photometric_error(x[:1], y[:1]), photometric_error(x[1:], y[1:])]))

    def test_errors(self):
        with pytest.raises(ShapeError, match=r"target is \(1, 3, 4, 5\) but prediction is \(1, 3, 4, 4\)"):
            photometric_error(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5))
        with pytest.raises(ShapeError, match="at least 2 x 2"):
            photometric_error(torch.zeros(1, 3, 1, 4), torch.zeros(1, 3, 1, 4))


def flat(*values, size=(3, 3)):
    """Make images (B, 3, ...), each of one grey."""
    return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 3, *size).clone()


def grey_error(a, b):
    """Return the photometric error of two grey images, from Eq. 3."""
    return 0.85 * (1 - (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)) / 2 + 0.15 * abs(a - b)


class TestMinimumReprojection:
    def test_takes_the_better_source(self):
        loss = minimum_reprojection_loss([flat(0.2), flat(0.5)], [flat(0.9), flat(0.9)], flat(0.4))
        assert loss.item() == pytest.approx(grey_error(0.5, 0.4), abs=1e-6)

    def test_takes_the_better_source_in_each_pixel(self):
        # The left half fits source 0, the right half source 1; only windows across the middle see both.
        target = flat(0.5, size=(4, 8))
        one, two = target.clone(), target.clone()
        one[..., 4:] = 0.9
        two[..., :4] = 0.1
        errors = torch.cat([photometric_error(one, target), photometric_error(two, target)], 1)
        best = errors.min(1).values
        assert best[..., :3].abs().max() < 1e-6
        assert best[..., 5:].abs().max() < 1e-6
        loss = minimum_reprojection_loss([one, two], (), target)
        assert loss.item() == pytest.approx(best[..., 3:5].sum().item() / 32, abs=1e-6)

    def test_standing_pixels_give_their_constant_and_no_gradient(self):
        warped = flat(0.1).requires_grad_()
        loss = minimum_reprojection_loss([warped], [flat(0.5)], flat(0.4))
        loss.backward()
        assert loss.item() == pytest.approx(grey_error(0.5, 0.4), abs=1e-6)
        assert not warped.grad.any()

    def test_without_sources_nothing_is_taken_for_standing(self):
        warped = flat(0.1).requires_grad_()
        minimum_reprojection_loss([warped], (), flat(0.4)).backward()
        assert warped.grad.any()

    def test_standing_camera_and_perfect_fit_are_zero(self):
        image = random_images(2, 3, 5, 6)
        warped = image.clone().requires_grad_()
        generator = torch.Generator().manual_seed(0)
        for options in ({}, {"generator": generator}):
            loss = minimum_reprojection_loss([warped, warped], [image, image], image, **options)
            loss.backward()
            assert loss.abs() < 1e-6
            assert warped.grad.abs().max() < 1e-5

    def test_noise_breaks_ties_both_ways(self):
        # Warped and unwarped fit equally badly: without noise all stand, with noise about half of the pixels train.
        warped = flat(0.1, size=(20, 20)).requires_grad_()
        arguments = ([warped], [flat(0.1, size=(20, 20))], flat(0.4, size=(20, 20)))
        minimum_reprojection_loss(*arguments).backward()
        assert not warped.grad.any()
        first = minimum_reprojection_loss(*arguments, generator=torch.Generator().manual_seed(3))
        first.backward()
        share = warped.grad[0, 0].count_nonzero() / 400
        assert 0.3 < share < 1.0
        again = minimum_reprojection_loss(*arguments, generator=torch.Generator().manual_seed(3))
        assert first.item() == again.item() == pytest.approx(grey_error(0.1, 0.4), abs=1e-6)

    @pytest.mark.parametrize("layout", [(1, 1, 4, 4), (1, 4, 4)])
    @pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
    def test_mask_is_taken_out_before_averaging(self, layout, dtype):
        target = flat(0.5, size=(4, 4))
        warped = target.clone()
        warped[..., 2:] = 0.9
        mask = torch.ones(1, 1, 4, 4)
        mask[..., 1:] = 0
        masked = minimum_reprojection_loss([warped], (), target, mask.reshape(layout).to(dtype))
        assert masked.abs() < 1e-6
        mask[..., 3] = 1
        expected = 0.5 * grey_error(0.9, 0.5)
        assert minimum_reprojection_loss([warped], (), target, mask).item() == pytest.approx(expected, abs=1e-6)

    def test_mask_of_zeros_is_zero_without_gradient(self):
        warped = flat(0.1).requires_grad_()
        loss = minimum_reprojection_loss([warped], [flat(0.9)], flat(0.4), torch.zeros(1, 1, 3, 3))
        loss.backward()
        assert loss.item() == 0.0
        assert not warped.grad.any()

    def test_invalid_pixels_are_no_candidates(self):
        good, bad = flat(0.4), flat(0.9)
        yes, no = torch.ones(1, 1, 3, 3, dtype=torch.bool), torch.zeros(1, 1, 3, 3, dtype=torch.bool)
        fits = minimum_reprojection_loss([good, bad], (), flat(0.4), valid=[yes, yes])
        hidden = minimum_reprojection_loss([good, bad], (), flat(0.4), valid=[no, yes])
        assert fits.item() == pytest.approx(0, abs=1e-6)
        assert hidden.item() == pytest.approx(grey_error(0.9, 0.4), abs=1e-6)
        warped = flat(0.1).requires_grad_()
        nothing = minimum_reprojection_loss([warped, warped], (), flat(0.4), valid=[no, no])
        nothing.backward()
        assert nothing.item() == 0.0
        assert not warped.grad.any()

    def test_stacked_and_single_tensors_are_taken_too(self):
        warped, sources = random_images(2, 1, 3, 4, 4), random_images(2, 1, 3, 4, 4, seed=1)
        target = random_images(1, 3, 4, 4, seed=2)
        listed = minimum_reprojection_loss(list(warped), list(sources), target)
        assert minimum_reprojection_loss(warped, sources, target) == listed
        single = minimum_reprojection_loss(warped[0], sources[0], target)
        assert single == minimum_reprojection_loss([warped[0]], [sources[0]], target)

    def test_batch_of_two_equals_two_of_one(self):
        warped, sources = random_images(2, 2, 3, 4, 5), random_images(2, 2, 3, 4, 5, seed=1)
        target = random_images(2, 3, 4, 5, seed=2)
        mask = random_images(2, 1, 4, 5, seed=3) > 0.4
        mask[1, :, :3] = False
        both = minimum_reprojection_loss(warped, sources, target, mask)
        ones = [
            minimum_reprojection_loss(warped[:, b : b + 1], sources[:, b : b + 1], target[b : b + 1], mask[b : b + 1])
            for b in range(2)
        ]
        assert both.item() == pytest.approx(sum(ones).item() / 2, abs=1e-7)

    def test_gradients(self):
        double = {"dtype": torch.float64}
        warped = random_images(2, 1, 3, 3, 4, **double).requires_grad_()
        sources, target = random_images(2, 1, 3, 3, 4, seed=1, **double), random_images(1, 3, 3, 4, seed=2, **double)
        mask = random_images(1, 1, 3, 4, seed=3) > 0.3
        assert gradcheck(lambda w: minimum_reprojection_loss(w, sources, target, mask), warped)

    def test_errors(self):
        image = torch.zeros(1, 3, 4, 4)
        with pytest.raises(ShapeError, match=r"warped\[1\] is \(1, 3, 4, 5\) but target is \(1, 3, 4, 4\)"):
            minimum_reprojection_loss([image, torch.zeros(1, 3, 4, 5)], (), image)
        with pytest.raises(ShapeError, match=r"sources\[0\] is \(1, 3, 5, 4\) but target is \(1, 3, 4, 4\)"):
            minimum_reprojection_loss([image], [torch.zeros(1, 3, 5, 4)], image)
        with pytest.raises(ShapeError, match=r"mask is \(1, 1, 4, 5\) but target is \(1, 3, 4, 4\)"):
            minimum_reprojection_loss([image], (), image, torch.ones(1, 4, 5))
        with pytest.raises(ShapeError, match=r"mask is \(4, 4\)"):
            minimum_reprojection_loss([image], (), image, torch.ones(4, 4))
        with pytest.raises(ShapeError, match="contains 2 images but sources contains 1"):
            minimum_reprojection_loss([image, image], [image], image)
        with pytest.raises(ShapeError, match="one or more"):
            minimum_reprojection_loss([], [], image)
        with pytest.raises(ShapeError, match="valid contains 1"):
            minimum_reprojection_loss([image, image], (), image, valid=[torch.ones(1, 1, 4, 4, dtype=torch.bool)])
        with pytest.raises(ShapeError, match=r"valid\[0\] is \(1, 1, 4, 5\) but target"):
            minimum_reprojection_loss([image], (), image, valid=[torch.ones(1, 1, 4, 5, dtype=torch.bool)])
        with pytest.raises(ShapeError, match=r"warped is \(3, 4, 4\)"):
            minimum_reprojection_loss(image[0], (), image)
