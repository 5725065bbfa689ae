# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from monodvps_ros.errors import ShapeError
from monodvps_ros.geometry.resizing import resize_nearest
from monodvps_ros.losses import (
    edge_aware_smoothness,
    panoptic_edge_discontinuity,
    panoptic_smoothness,
    panoptic_triplet,
)

VOID = 65535
#: Two segments side by side with void below the right one.
SEGMENTS = torch.tensor([[[1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 2, 2], [1, 1, VOID, VOID]]])
#: Of mean 1, so normalising changes nothing (but for 1e-7).
DISPARITY = torch.tensor([[[[0.5, 0.5, 1.5, 1.5]] * 4]], dtype=torch.float64)


def random_map(*shape, seed=0, dtype=torch.float64):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype) + 0.1


def random_ids(*shape, seed=0):
    ids = torch.tensor([11001, 11002, 7000, VOID])
    return ids[torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(seed))]


class TestEdgeAwareSmoothness:
    def test_by_hand(self):
        # One step of 1 in each of the 4 rows, among 12 horizontal pairs; there the image steps by 0.2 on average.
        image = torch.zeros(1, 2, 4, 4, dtype=torch.float64)
        image[:, 0, :, 2:] = 0.4
        loss = edge_aware_smoothness(DISPARITY, image)
        assert loss.item() == pytest.approx(4 * math.exp(-0.2) / 12, abs=1e-6)

    def test_adds_both_directions(self):
        disparity, image = random_map(1, 1, 4, 4), random_map(1, 3, 4, 4, seed=1)
        turned = edge_aware_smoothness(disparity.transpose(2, 3), image.transpose(2, 3))
        assert turned.item() == pytest.approx(edge_aware_smoothness(disparity, image).item())
        row = edge_aware_smoothness(disparity[:, :, :1], image[:, :, :1])
        assert row.isfinite()
        assert row > 0

    def test_does_not_depend_on_the_scale_of_the_disparity(self):
        disparity, image = random_map(1, 1, 4, 4), random_map(1, 3, 4, 4, seed=1)
        scaled = edge_aware_smoothness(10 * disparity, image).item()
        assert scaled == pytest.approx(edge_aware_smoothness(disparity, image).item(), rel=1e-5)

    def test_is_the_mean_over_pairs_in_a_loop(self):
        disparity, image = random_map(2, 1, 3, 4), random_map(2, 3, 3, 4, seed=1)
        means = disparity.mean((2, 3), keepdim=True) + 1e-7
        d = disparity / means
        across, down = [], []
        for b, i, j in np.ndindex(2, 3, 4):
            if j < 3:
                weight = torch.exp(-(image[b, :, i, j + 1] - image[b, :, i, j]).abs().mean())
                across.append((d[b, 0, i, j + 1] - d[b, 0, i, j]).abs() * weight)
            if i < 2:
                weight = torch.exp(-(image[b, :, i + 1, j] - image[b, :, i, j]).abs().mean())
                down.append((d[b, 0, i + 1, j] - d[b, 0, i, j]).abs() * weight)
        expected = torch.stack(across).mean() + torch.stack(down).mean()
        assert edge_aware_smoothness(disparity, image).item() == pytest.approx(expected.item())


class TestPanopticSmoothness:
    def test_by_hand(self):
        # The step lies on the edge in three rows; in the fourth it touches void, which makes no edge.
        assert panoptic_smoothness(DISPARITY, SEGMENTS).item() == pytest.approx(1 / 12, abs=1e-6)

    def test_one_segment_is_plain_smoothness(self):
        disparity = random_map(1, 1, 4, 4)
        one = panoptic_smoothness(disparity, torch.full((1, 4, 4), 7000))
        plain = edge_aware_smoothness(disparity, torch.zeros(1, 3, 4, 4, dtype=torch.float64))
        assert one.item() == pytest.approx(plain.item())
        assert panoptic_smoothness(disparity, torch.full((1, 4, 4), VOID)).item() == pytest.approx(plain.item())

    def test_constant_within_segments_is_zero_without_gradient(self):
        disparity = DISPARITY.clone().requires_grad_()
        loss = panoptic_smoothness(disparity, torch.tensor([[[1, 1, 2, 2]] * 4]))
        loss.backward()
        assert loss.item() == 0.0
        assert not disparity.grad.any()


class TestPanopticEdgeDiscontinuity:
    def test_by_hand(self):
        # Three edges with a step of 1 among 12 horizontal pairs; the pairs with void are none.
        expected = 3 * math.exp(-1) / 12
        assert panoptic_edge_discontinuity(DISPARITY, SEGMENTS).item() == pytest.approx(expected, abs=1e-6)

    def test_constant_disparity_gives_the_share_of_edges(self):
        disparity = torch.ones(1, 1, 4, 4, dtype=torch.float64, requires_grad=True)
        loss = panoptic_edge_discontinuity(disparity, SEGMENTS)
        loss.backward()
        assert loss.item() == pytest.approx(3 / 12)
        assert not disparity.grad.any()

    @pytest.mark.parametrize("only", [7000, VOID])
    def test_without_edges_zero_without_gradient(self, only):
        disparity = random_map(1, 1, 4, 4).requires_grad_()
        loss = panoptic_edge_discontinuity(disparity, torch.full((1, 4, 4), only))
        loss.backward()
        assert loss.item() == 0.0
        assert not disparity.grad.any()

    def test_a_larger_step_costs_less(self):
        flatter = 1 + 0.5 * (DISPARITY - 1)
        assert panoptic_edge_discontinuity(DISPARITY, SEGMENTS) < panoptic_edge_discontinuity(flatter, SEGMENTS)


@pytest.mark.parametrize("loss", [panoptic_smoothness, panoptic_edge_discontinuity])
class TestBothGuided:
    def test_is_the_mean_over_pairs_in_a_loop(self, loss):
        disparity, ids = random_map(2, 1, 4, 5), random_ids(2, 4, 5)
        d = disparity / (disparity.mean((2, 3), keepdim=True) + 1e-7)
        sums, numbers = [0.0, 0.0], [0, 0]
        for b, i, j in np.ndindex(2, 4, 5):
            for axis, (row, column) in enumerate(((i, j + 1), (i + 1, j))):
                if row == 4 or column == 5:
                    continue
                numbers[axis] += 1
                one, two = ids[b, i, j].item(), ids[b, row, column].item()
                edge = one != two and VOID not in (one, two)
                step = (d[b, 0, i, j] - d[b, 0, row, column]).abs().item()
                if loss is panoptic_smoothness:
                    sums[axis] += 0.0 if edge else step
                else:
                    sums[axis] += math.exp(-step) if edge else 0.0
        expected = sums[0] / numbers[0] + sums[1] / numbers[1]
        assert loss(disparity, ids).item() == pytest.approx(expected)

    def test_both_layouts_and_integer_types(self, loss):
        expected = loss(DISPARITY, SEGMENTS)
        assert loss(DISPARITY, SEGMENTS[:, None].int()) == expected

    def test_errors(self, loss):
        with pytest.raises(ShapeError, match=r"panoptic is \(1, 1, 4, 5\) but disparity is \(1, 1, 4, 4\)"):
            loss(DISPARITY, torch.zeros(1, 4, 5, dtype=torch.int64))
        with pytest.raises(ShapeError, match="float32"):
            loss(DISPARITY, SEGMENTS.float())
        with pytest.raises(ShapeError, match=r"panoptic is \(4, 4\)"):
            loss(DISPARITY, SEGMENTS[0])


@pytest.mark.parametrize("loss", [edge_aware_smoothness, panoptic_smoothness, panoptic_edge_discontinuity])
class TestAllThree:
    def guide(self, loss, batch=1):
        return random_map(batch, 3, 4, 5, seed=1) if loss is edge_aware_smoothness else random_ids(batch, 4, 5)

    def test_gradients(self, loss):
        guide = self.guide(loss)
        assert gradcheck(lambda d: loss(d, guide), random_map(1, 1, 4, 5).requires_grad_())

    def test_batch_of_two_equals_two_of_one(self, loss):
        disparity, guide = random_map(2, 1, 4, 5), self.guide(loss, 2)
        ones = [loss(disparity[b : b + 1], guide[b : b + 1]).item() for b in range(2)]
        assert loss(disparity, guide).item() == pytest.approx(sum(ones) / 2)

    @pytest.mark.parametrize("value", [0.0, 0.3])
    def test_constant_disparity_has_no_gradient(self, loss, value):
        disparity = torch.full((1, 1, 4, 5), value, requires_grad=True)
        result = loss(disparity, self.guide(loss).float() if loss is edge_aware_smoothness else self.guide(loss))
        result.backward()
        assert result.isfinite()
        assert not disparity.grad.any()

    def test_error_names_both(self, loss):
        with pytest.raises(ShapeError, match=r"is \(2, .* but disparity is \(1, 1, 4, 5\)"):
            loss(random_map(1, 1, 4, 5), self.guide(loss, 2))


def slow_triplet(features, ids, patch, margin, stride, least):
    """Work the triplet loss out patch by patch and pixel by pixel."""
    batch, _, height, width = features.shape
    images = []
    for b in range(batch):
        losses = []
        for top in range(0, height - patch + 1, stride):
            for left in range(0, width - patch + 1, stride):
                row, column = top + patch // 2, left + patch // 2
                anchor_id = ids[b, row, column].item()
                anchor = features[b, :, row, column] / features[b, :, row, column].norm()
                near, far = [], []
                for i in range(top, top + patch):
                    for j in range(left, left + patch):
                        other = features[b, :, i, j] / features[b, :, i, j].norm()
                        distance = max((anchor - other).norm().item(), math.sqrt(1e-9))
                        if ids[b, i, j] == anchor_id:
                            near.append(distance)
                        elif ids[b, i, j] != VOID:
                            far.append(distance)
                if anchor_id != VOID and len(near) >= least and len(far) >= least:
                    losses.append(max(0.0, sum(near) / len(near) + margin - sum(far) / len(far)))
        images.append(sum(losses) / len(losses) if losses else 0.0)
    return sum(images) / batch


class TestTriplet:
    def test_by_hand(self):
        # One patch: the anchor's column and those left of it are (1, 0), the 10 others stand at a right angle.
        ids = torch.tensor([[[1, 1, 1, 2, 2]] * 5])
        features = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
        features[:, 0, :, :3], features[:, 1, :, 3:] = 3.0, 0.5
        assert panoptic_triplet(features, ids).item() == 0.0
        assert panoptic_triplet(features, ids, margin=2.0).item() == pytest.approx(2 - math.sqrt(2) + 3.16e-5, abs=1e-6)
        # Turning 4 of the 10 others to the anchor's side brings the mean distance down to 0.6 sqrt(2).
        features[0, :, :4, 3] = torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None]
        near = 3.16e-5
        expected = max(0, near + 1.0 - (6 * math.sqrt(2) + 4 * near) / 10)
        assert panoptic_triplet(features, ids, margin=1.0).item() == pytest.approx(expected, abs=1e-6)

    @pytest.mark.parametrize(("patch", "stride"), [(5, 5), (5, 1), (3, 2)])
    def test_against_a_loop(self, patch, stride):
        features = random_map(2, 4, 12, 11, dtype=torch.float32) - 0.6
        ids = resize_nearest(random_ids(2, 1, 4, 4), (12, 11))[:, 0]
        slow = slow_triplet(features, ids, patch, 0.3, stride, 2)
        assert slow > 0.1
        assert panoptic_triplet(features, ids, patch, 0.3, stride, 2).item() == pytest.approx(slow, abs=1e-5)

    def test_all_equal_features_give_the_margin_without_gradient(self):
        features = torch.ones(1, 3, 5, 5, requires_grad=True)
        loss = panoptic_triplet(features, torch.tensor([[[1, 1, 1, 2, 2]] * 5]))
        loss.backward()
        assert loss.item() == pytest.approx(0.3, abs=1e-6)
        assert not features.grad.any()

    def test_features_of_zero_have_no_gradient(self):
        features = torch.zeros(1, 3, 5, 5, requires_grad=True)
        panoptic_triplet(features, torch.tensor([[[1, 1, 1, 2, 2]] * 5])).backward()
        assert not features.grad.any()

    @pytest.mark.parametrize(
        "ids",
        [
            torch.full((1, 10, 10), 7000),
            torch.full((1, 10, 10), VOID),
            torch.ones(1, 4, 10, dtype=torch.int64),
            torch.tensor([[[1, 1, VOID, 2, 2]] * 5]),  # the anchor is void
            torch.tensor([[[1, 1, 1, VOID, VOID]] * 5]),  # void is no negative
        ],
    )
    def test_without_patches_zero_without_gradient(self, ids):
        features = random_map(1, 3, *ids.shape[1:]).requires_grad_()
        loss = panoptic_triplet(features, ids)
        loss.backward()
        assert loss.item() == 0.0
        assert not features.grad.any()

    @pytest.mark.parametrize(("negatives", "counts"), [(3, False), (4, True)])
    def test_least_number_of_members(self, negatives, counts):
        ids = torch.ones(1, 5, 5, dtype=torch.int64)
        ids[0, 0, :negatives] = 2
        assert (panoptic_triplet(torch.ones(1, 3, 5, 5), ids) > 0) == counts
        # And with the anchor's segment as the small one; the anchor counts among its own.
        ids = torch.full((1, 5, 5), 2)
        ids.view(-1)[12 : 12 + negatives] = 1
        assert (panoptic_triplet(torch.ones(1, 3, 5, 5), ids) > 0) == counts

    def test_gradients(self):
        features = (random_map(2, 3, 7, 6) - 0.6).requires_grad_()
        ids = resize_nearest(random_ids(2, 1, 3, 3), (7, 6))
        assert gradcheck(lambda f: panoptic_triplet(f, ids, 3, 0.7, 2, 2), features)

    def test_batch_of_two_equals_two_of_one(self):
        features, ids = random_map(2, 3, 10, 10) - 0.6, resize_nearest(random_ids(2, 1, 4, 4), (10, 10))
        ids[1, :, :5] = 7000
        ones = [panoptic_triplet(features[b : b + 1], ids[b : b + 1], stride=1).item() for b in range(2)]
        assert panoptic_triplet(features, ids, stride=1).item() == pytest.approx(sum(ones) / 2)

    def test_errors(self):
        features = torch.ones(1, 3, 5, 5)
        with pytest.raises(ShapeError, match=r"panoptic is \(1, 1, 4, 5\) but features is \(1, 3, 5, 5\)"):
            panoptic_triplet(features, torch.ones(1, 4, 5, dtype=torch.int64))
        with pytest.raises(ShapeError, match="patch is 4"):
            panoptic_triplet(features, torch.ones(1, 5, 5, dtype=torch.int64), patch=4)
        with pytest.raises(ShapeError, match="stride is 0"):
            panoptic_triplet(features, torch.ones(1, 5, 5, dtype=torch.int64), stride=0)
        with pytest.raises(ShapeError, match="float32"):
            panoptic_triplet(features, torch.ones(1, 5, 5))


def test_nearest_resize_takes_the_pixel_under_the_new_centre():
    row = torch.arange(8).reshape(1, 1, 1, 8)
    assert resize_nearest(row, (1, 4)).flatten().tolist() == [1, 3, 5, 7]
    assert resize_nearest(row, (1, 16)).flatten().tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7]
    assert resize_nearest(row, (1, 3)).flatten().tolist() == [1, 4, 6]
