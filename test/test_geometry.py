# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from monodvps_ros import geometry
from monodvps_ros.errors import ShapeError

K = np.array([[500.0, 2.0, 310.0], [0.0, 480.0, 90.0], [0.0, 0.0, 1.0]])
SIZE = (192, 640)
POINTS = np.array([[1.0, 0.5, 8.0], [-3.0, -1.0, 20.0], [0.0, 0.0, 2.0], [0.3, 1.4, 3.5]]).T


def pixels_of(intrinsics, points=POINTS):
    batch = torch.from_numpy(points)[None]
    return geometry.project(batch, torch.from_numpy(np.asarray(intrinsics, np.float64))[None])[0].numpy()


def rotation_y(angle):
    c, s = math.cos(angle), math.sin(angle)
    return torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]], dtype=torch.float64)


class TestIntrinsics:
    def test_projection_by_hand(self):
        u, v = pixels_of(K)
        assert u[0] == pytest.approx(500 * 1 / 8 + 2 * 0.5 / 8 + 310)
        assert v[0] == pytest.approx(480 * 0.5 / 8 + 90)

    def test_scale_moves_known_points_as_the_image_moves(self):
        scaled = geometry.scale_intrinsics(K, SIZE, (96, 160))
        u, v = pixels_of(K)
        assert np.allclose(pixels_of(scaled), [0.25 * (u + 0.5) - 0.5, 0.5 * (v + 0.5) - 0.5])

    def test_scale_fits_what_a_resize_does_to_an_image(self):
        # A ramp keeps its meaning (the column) under an area resize: value at u' is u.
        ramp = torch.arange(8.0).expand(1, 1, 8, 8)
        small = torch.nn.functional.interpolate(ramp, scale_factor=0.5, mode="area")[0, 0, 0]
        matrix = geometry.resize_matrix((8, 8), (4, 4))
        assert [matrix[0, 0] * value + matrix[0, 2] for value in small.tolist()] == [0, 1, 2, 3]

    def test_crop_moves_known_points(self):
        u, v = pixels_of(K)
        assert np.allclose(pixels_of(geometry.crop_intrinsics(K, 20, 32)), [u - 32, v - 20])
        assert np.allclose(pixels_of(geometry.crop_intrinsics(K, -4, -5)), [u + 5, v + 4])

    def test_flip_moves_mirrored_points(self):
        u, v = pixels_of(K)
        mirrored = POINTS * np.array([[-1.0], [1.0], [1.0]])
        assert np.allclose(pixels_of(geometry.flip_intrinsics(K, 640), mirrored), [639 - u, v])

    def test_flip_twice_and_scale_back_give_the_same(self):
        assert np.allclose(geometry.flip_intrinsics(geometry.flip_intrinsics(K, 640), 640), K)
        there = geometry.scale_intrinsics(K, SIZE, (77, 801))
        assert np.allclose(geometry.scale_intrinsics(there, (77, 801), SIZE), K)

    def test_the_argument_is_not_changed(self):
        before = K.copy()
        geometry.flip_intrinsics(K, 640)
        geometry.crop_intrinsics(K, 1, 2)
        geometry.scale_intrinsics(K, SIZE, (1, 2))
        assert np.array_equal(K, before)

    @pytest.mark.parametrize(
        "call",
        [
            lambda: geometry.scale_intrinsics(K[:2], SIZE, SIZE),
            lambda: geometry.scale_intrinsics(K, (0, 4), SIZE),
            lambda: geometry.resize_matrix(SIZE, (4, -1)),
            lambda: geometry.crop_intrinsics(K[0], 0, 0),
            lambda: geometry.flip_intrinsics(K[:2], 4),
            lambda: geometry.flip_intrinsics(K, 0),
        ],
    )
    def test_errors(self, call):
        with pytest.raises(ShapeError):
            call()


class TestMotion:
    def test_quarter_turn_about_y(self):
        turn = geometry.axis_angle_to_matrix(torch.tensor([[0.0, math.pi / 2, 0.0]], dtype=torch.float64))
        assert torch.allclose(turn[0], rotation_y(math.pi / 2), atol=1e-12)

    @pytest.mark.parametrize("angle", [0.0, 1e-8, 1e-3, 0.0099999, 0.0100001, 0.5, 3.0, math.pi, 6.0])
    def test_is_the_matrix_exponential(self, angle):
        axis = torch.tensor([0.6, -0.64, 0.48], dtype=torch.float64)
        x, y, z = (axis * angle).tolist()
        cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
        got = geometry.axis_angle_to_matrix((axis * angle)[None])[0]
        assert torch.allclose(got, torch.linalg.matrix_exp(cross), atol=1e-13)

    def test_gradient_is_finite_and_right_at_zero_and_elsewhere(self):
        for values in ([0.0, 0.0, 0.0], [1e-9, 0.0, 0.0], [0.3, -0.2, 0.9]):
            vector = torch.tensor([values], dtype=torch.float64, requires_grad=True)
            assert gradcheck(geometry.axis_angle_to_matrix, vector)
        vector = torch.zeros(1, 3, requires_grad=True)
        geometry.axis_angle_to_matrix(vector)[0, 2, 1].backward()
        assert vector.grad.tolist() == [[1.0, 0.0, 0.0]]

    def test_transform_and_its_inverse(self):
        torch.manual_seed(0)
        vector, shift = torch.randn(2, 4, 3, dtype=torch.float64)
        there = geometry.transform_from_axis_angle(vector, shift)
        back = geometry.transform_from_axis_angle(vector, shift, invert=True)
        identity = torch.eye(4, dtype=torch.float64).expand(4, 4, 4)
        assert torch.allclose(there @ back, identity, atol=1e-12)
        assert torch.allclose(geometry.invert_transform(there), torch.linalg.inv(there), atol=1e-12)

    def test_translation_is_added_after_the_turn(self):
        matrix = geometry.transform_from_axis_angle(
            torch.tensor([[0.0, math.pi / 2, 0.0]]), torch.tensor([[1.0, 2.0, 3.0]])
        )
        moved = geometry.transform_points(matrix, torch.tensor([[0.0, 0.0, 5.0]]))
        assert torch.allclose(moved, torch.tensor([[6.0, 2.0, 3.0]]), atol=1e-6)

    def test_points_of_any_layout(self):
        torch.manual_seed(0)
        matrix = geometry.transform_from_axis_angle(torch.randn(2, 3), torch.randn(2, 3))
        points = torch.randn(2, 3, 4, 5)
        moved = geometry.transform_points(matrix, points)
        assert moved.shape == points.shape
        homogeneous = torch.cat([points.flatten(2), torch.ones(2, 1, 20)], 1)
        assert torch.allclose(moved.flatten(2), (matrix @ homogeneous)[:, :3], atol=1e-5)

    def test_errors_name_both_tensors(self):
        with pytest.raises(ShapeError, match=r"translation is \(3, 3\) but axis_angle is \(2, 3\)"):
            geometry.transform_from_axis_angle(torch.zeros(2, 3), torch.zeros(3, 3))
        with pytest.raises(ShapeError, match=r"points is \(3, 3, 4\) but matrix is \(2, 4, 4\)"):
            geometry.transform_points(torch.zeros(2, 4, 4), torch.zeros(3, 3, 4))
        with pytest.raises(ShapeError, match="points"):
            geometry.transform_points(torch.zeros(2, 4, 4), torch.zeros(2, 4))
        with pytest.raises(ShapeError, match="axis_angle"):
            geometry.axis_angle_to_matrix(torch.zeros(3))
        with pytest.raises(ShapeError, match="matrix"):
            geometry.invert_transform(torch.zeros(4, 4))


class TestDepth:
    def test_ends_and_middle_of_the_range(self):
        depth = geometry.disparity_to_depth(torch.tensor([0.0, 1.0, 0.5], dtype=torch.float64), 0.1, 100.0)
        assert depth.tolist() == pytest.approx([100.0, 0.1, 1 / (0.01 + 9.99 * 0.5)])

    def test_there_and_back(self):
        disparity = torch.linspace(0, 1, 11, dtype=torch.float64)
        depth = geometry.disparity_to_depth(disparity, 0.1, 100.0)
        assert torch.allclose((1 / depth - 1 / 100) / (1 / 0.1 - 1 / 100), disparity)

    @pytest.mark.parametrize("limits", [(0.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)])
    def test_errors(self, limits):
        with pytest.raises(ShapeError, match="depth range"):
            geometry.disparity_to_depth(torch.zeros(1), *limits)


class TestProjection:
    def test_back_projection_by_hand(self):
        intrinsics = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 4.0, 0.0], [0.0, 0.0, 1.0]]])
        points = geometry.back_project(torch.full((1, 1, 2, 3), 8.0), intrinsics)
        assert points[0, :, 1, 2].tolist() == [4.0, 2.0, 8.0]
        assert points[0, :, 0, 1].tolist() == [0.0, 0.0, 8.0]

    def test_projecting_what_was_lifted_gives_the_pixel_centres(self):
        torch.manual_seed(0)
        depth = torch.rand(2, 1, 5, 7, dtype=torch.float64) * 50 + 0.1
        intrinsics = torch.stack([torch.from_numpy(K), torch.from_numpy(geometry.crop_intrinsics(K, 3, 4))])
        pixels = geometry.project(geometry.back_project(depth, intrinsics), intrinsics)
        assert torch.allclose(pixels, geometry.pixel_grid(5, 7, dtype=torch.float64).expand(2, 2, 5, 7), atol=1e-9)

    def test_depth_that_is_none_lifts_to_nan(self):
        depth = torch.tensor([[[[1.0, 0.0, -2.0, float("nan"), float("inf")]]]])
        points = geometry.back_project(depth, torch.eye(3)[None])
        assert points.isfinite().all(1).flatten().tolist() == [True, False, False, False, False]
        assert points[..., 1:].isnan().all()

    def test_points_behind_or_at_the_camera_project_to_something_finite(self):
        points = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [-5.0, 0.0, float("nan")]]])
        points.requires_grad_()
        pixels = geometry.project(points, torch.eye(3)[None])
        assert pixels[..., :2].isfinite().all()
        assert pixels[..., 2].isnan().all()
        pixels[..., :2].sum().backward()
        assert points.grad[..., :2].isfinite().all()

    def test_gradients(self):
        torch.manual_seed(0)
        depth = (torch.rand(1, 1, 2, 3, dtype=torch.float64) + 1).requires_grad_()
        intrinsics = torch.from_numpy(K)[None].requires_grad_()
        assert gradcheck(lambda d, k: geometry.project(geometry.back_project(d, k) + 0.1, k), (depth, intrinsics))

    def test_errors_name_both_tensors(self):
        with pytest.raises(ShapeError, match=r"intrinsics is \(3, 3, 3\) but depth_m is \(2, 1, 4, 4\)"):
            geometry.back_project(torch.ones(2, 1, 4, 4), torch.ones(3, 3, 3))
        with pytest.raises(ShapeError, match="points"):
            geometry.project(torch.ones(2, 2, 4, 4), torch.ones(2, 3, 3))
        with pytest.raises(ShapeError, match=r"intrinsics is \(3, 3, 3\) but points is \(2, 3, 16\)"):
            geometry.project(torch.ones(2, 3, 4, 4), torch.ones(3, 3, 3))


def slow_bilinear(image, pixels, padding):
    """Sample pixel by pixel, straight from the definition."""
    batch, channels, height, width = image.shape
    result = torch.zeros(batch, channels, *pixels.shape[2:], dtype=image.dtype)
    for b, i, j in np.ndindex(batch, *pixels.shape[2:]):
        u, v = pixels[b, :, i, j].tolist()
        if padding == "border":
            u, v = min(max(u, 0.0), width - 1.0), min(max(v, 0.0), height - 1.0)
        for column in (math.floor(u), math.floor(u) + 1):
            for row in (math.floor(v), math.floor(v) + 1):
                weight = (1 - abs(u - column)) * (1 - abs(v - row))
                if 0 <= column < width and 0 <= row < height:
                    result[b, :, i, j] += weight * image[b, :, row, column]
    return result


class TestWarp:
    @pytest.mark.parametrize("padding", ["border", "zeros"])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_bilinear_against_a_loop(self, padding, dtype):
        torch.manual_seed(0)
        image = torch.rand(2, 3, 5, 7, dtype=dtype)
        pixels = torch.rand(2, 2, 6, 4, dtype=dtype) * torch.tensor([11.0, 9.0])[:, None, None] - 2.0
        got = geometry.warp(image, pixels, padding=padding)
        assert got.dtype == dtype
        assert torch.allclose(got, slow_bilinear(image, pixels, padding), atol=1e-5)

    def test_whole_pixels_by_hand(self):
        image = torch.arange(16.0).reshape(1, 1, 4, 4)
        pixels = torch.tensor([[[[0.0, 3.0, 1.5]], [[0.0, 2.0, 0.5]]]])
        assert torch.allclose(geometry.warp(image, pixels), torch.tensor([[[[0.0, 11.0, 3.5]]]]), atol=1e-5)

    def test_nearest_keeps_integers_and_rounds_half_up(self):
        image = torch.tensor([[[[11001, 65535, 7000]]]])
        pixels = torch.tensor([[[[0.49, 0.5, 1.49, 2.4, -0.5, 9.0]], [[0.0, 0.4, -0.4, 0.0, 0.0, 0.0]]]])
        got = geometry.warp(image, pixels, "nearest")
        assert got.dtype == torch.int64
        assert got.flatten().tolist() == [11001, 65535, 65535, 7000, 11001, 7000]
        outside = geometry.warp(image, pixels, "nearest", "zeros")
        assert outside.flatten().tolist() == [11001, 65535, 65535, 7000, 11001, 0]

    @pytest.mark.parametrize("mode", ["bilinear", "nearest"])
    @pytest.mark.parametrize("padding", ["border", "zeros"])
    def test_nan_and_infinity(self, mode, padding):
        nan, inf = float("nan"), float("inf")
        pixels = torch.tensor([[[[nan, 0.0, inf, -1e30]], [[0.0, nan, 0.0, 0.0]]]])
        got = geometry.warp(torch.tensor([[[[5.0, 7.0]]]]), pixels, mode, padding).flatten().tolist()
        assert got == ([0.0, 0.0, 7.0, 5.0] if padding == "border" else [0.0, 0.0, 0.0, 0.0])

    def test_gradients(self):
        torch.manual_seed(0)
        image = torch.rand(1, 2, 4, 5, dtype=torch.float64, requires_grad=True)
        pixels = (torch.rand(1, 2, 3, 3, dtype=torch.float64) * 0.8 + 1.1).requires_grad_()
        assert gradcheck(geometry.warp, (image, pixels))

    def test_inside_is_the_squares_of_all_pixels(self):
        pixels = torch.tensor([[[[-0.5, -0.51, 3.49, 3.5, float("nan")]], [[0.0, 0.0, 0.0, 0.0, 0.0]]]])
        assert geometry.inside_image(pixels, (1, 4)).flatten().tolist() == [True, False, True, False, False]

    def test_errors(self):
        image, pixels = torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 4, 4)
        with pytest.raises(ShapeError, match=r"pixels is \(2, 2, 4, 4\) but image is \(1, 3, 4, 4\)"):
            geometry.warp(image, pixels.expand(2, -1, -1, -1))
        with pytest.raises(ShapeError, match="mode 'cubic'"):
            geometry.warp(image, pixels, "cubic")
        with pytest.raises(ShapeError, match="padding 'mirror'"):
            geometry.warp(image, pixels, padding="mirror")
        with pytest.raises(ShapeError, match="int64"):
            geometry.warp(image.long(), pixels)
        with pytest.raises(ShapeError, match="pixels"):
            geometry.inside_image(pixels[0], (4, 4))


class TestWarpByDepth:
    def setup_method(self):
        self.k = torch.tensor([[[4.0, 0.0, 2.0], [0.0, 4.0, 1.5], [0.0, 0.0, 1.0]]])
        self.still = torch.eye(4)[None]
        torch.manual_seed(0)
        self.image = torch.rand(1, 3, 4, 5)

    def test_standing_camera_gives_the_source(self):
        warped, valid = geometry.warp_by_depth(self.image, torch.full((1, 1, 4, 5), 3.0), self.still, self.k)
        assert torch.allclose(warped, self.image, atol=1e-5)
        assert valid.all()

    def test_sideways_motion_by_hand(self):
        # fx * t / z = 4 * 2 / 8 = 1 pixel to the right.
        motion = self.still.clone()
        motion[0, 0, 3] = 2.0
        warped, valid = geometry.warp_by_depth(self.image, torch.full((1, 1, 4, 5), 8.0), motion, self.k)
        assert torch.allclose(warped[..., :4], self.image[..., 1:], atol=1e-5)
        assert valid[..., :4].all()
        assert not valid[..., 4].any()

    def test_source_of_another_size_with_its_own_k(self):
        big = torch.nn.functional.interpolate(self.image, scale_factor=3, mode="nearest")
        matrix = torch.from_numpy(geometry.resize_matrix((4, 5), (12, 15))).float()
        depth = torch.full((1, 1, 4, 5), 3.0)
        warped, valid = geometry.warp_by_depth(big, depth, self.still, self.k, matrix @ self.k)
        assert torch.allclose(warped, self.image, atol=1e-5)
        assert valid.all()

    def test_behind_the_camera_and_without_depth(self):
        motion = self.still.clone()
        motion[0, 2, 3] = -0.5
        depth = torch.full((1, 1, 4, 5), 8.0)
        depth[..., 0, :] = torch.tensor([0.4, 0.0, -1.0, float("nan"), float("inf")])
        depth.requires_grad_()
        warped, valid = geometry.warp_by_depth(self.image, depth, motion, self.k)
        assert not valid[..., 0, :].any()
        assert valid[..., 1:3, 1:4].all()
        assert warped.isfinite().all()
        warped.sum().backward()
        assert depth.grad.isfinite().all()
        assert not depth.grad[..., 0, :].any()

    def test_gradients(self):
        depth = (torch.rand(1, 1, 4, 5, dtype=torch.float64) + 6).requires_grad_()
        vector = torch.tensor([[0.01, -0.02, 0.01]], dtype=torch.float64, requires_grad=True)
        shift = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64, requires_grad=True)
        image, k = self.image.double(), self.k.double()

        def synthesise(depth_m, axis_angle, translation):
            motion = geometry.transform_from_axis_angle(axis_angle, translation)
            return geometry.warp_by_depth(image, depth_m, motion, k)[0]

        assert gradcheck(synthesise, (depth, vector, shift))

    def test_batch_of_two_equals_two_of_one(self):
        motion = geometry.transform_from_axis_angle(torch.randn(2, 3) * 0.1, torch.randn(2, 3))
        image, depth, k = torch.rand(2, 3, 4, 5), torch.rand(2, 1, 4, 5) + 4, self.k.expand(2, 3, 3)
        both = geometry.warp_by_depth(image, depth, motion, k)
        for b in range(2):
            one = geometry.warp_by_depth(*(a[b : b + 1] for a in (image, depth, motion, k)))
            assert torch.allclose(both[0][b : b + 1], one[0])
            assert torch.equal(both[1][b : b + 1], one[1])

    def test_error_names_both(self):
        with pytest.raises(ShapeError, match=r"source_from_target is \(2, 4, 4\) but source is \(1, 3, 4, 5\)"):
            geometry.warp_by_depth(self.image, torch.ones(1, 1, 4, 5), self.still.expand(2, 4, 4), self.k)


class TestWarpByFlow:
    def test_follows_the_flow(self):
        image = torch.arange(12.0).reshape(1, 1, 3, 4)
        flow = torch.zeros(1, 2, 3, 4)
        flow[:, 0] = 1.0
        flow[:, 1, 1] = -1.0
        warped, valid = geometry.warp_by_flow(image, flow)
        assert warped[0, 0, :, :3].round().tolist() == [[1, 2, 3], [1, 2, 3], [9, 10, 11]]
        assert valid[0, 0].tolist() == [[True, True, True, False]] * 3

    def test_half_precision_keeps_coordinates_exact(self):
        image = torch.arange(2048.0).expand(1, 1, 1, 2048)
        flow = torch.full((1, 2, 1, 2048), 0.25, dtype=torch.float16)
        flow[:, 1] = 0.0
        warped, _ = geometry.warp_by_flow(image, flow)
        assert warped[0, 0, 0, 2000].item() == pytest.approx(2000.25, abs=1e-3)

    def test_unknown_flow_is_not_valid(self):
        flow = torch.zeros(1, 2, 2, 2)
        flow[0, 1, 0, 0] = float("nan")
        warped, valid = geometry.warp_by_flow(torch.ones(1, 1, 2, 2), flow)
        assert valid.flatten().tolist() == [False, True, True, True]
        assert warped.flatten().tolist() == [0, 1, 1, 1]

    def test_visible_both_ways(self):
        # One row of six: pixels 0-1 move right by 2 and cover pixels 2-3 of the other frame; the rest stands.
        flow = torch.zeros(1, 2, 1, 6)
        flow[0, 0, 0, :2] = 2.0
        back = torch.zeros(1, 2, 1, 6)
        back[0, 0, 0, 2:4] = -2.0
        visible = geometry.visible_both_ways(flow, back)
        assert visible.flatten().tolist() == [True, True, False, False, True, True]

    def test_leaving_the_image_is_not_visible(self):
        flow = torch.zeros(1, 2, 1, 3)
        flow[0, 0, 0, 2] = 1.0
        back = torch.zeros(1, 2, 1, 3)
        back[0, 0, 0, 0] = float("nan")
        assert geometry.visible_both_ways(flow, back).flatten().tolist() == [False, True, False]

    def test_errors_name_both(self):
        with pytest.raises(ShapeError, match=r"flow_px is \(1, 2, 3, 5\) but source is \(1, 1, 3, 4\)"):
            geometry.warp_by_flow(torch.zeros(1, 1, 3, 4), torch.zeros(1, 2, 3, 5))
        with pytest.raises(ShapeError, match=r"flow_back_px is \(1, 2, 3, 5\) but flow_px is \(1, 2, 3, 4\)"):
            geometry.visible_both_ways(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 5))
