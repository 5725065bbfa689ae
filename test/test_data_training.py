# SPDX-License-Identifier: Apache-2.0
"""Targets and transforms: hand-worked maps, re-projected points."""

import numpy as np
import pytest

from monodvps_ros.data.targets import panoptic_targets
from monodvps_ros.data.transforms import (
    ColorJitter,
    ImageGeometry,
    apply_color_jitter,
    apply_geometry,
    draw_color_jitter,
    draw_geometry,
    fit_geometry,
)
from monodvps_ros.errors import DataError, ShapeError
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.types import CameraFrame, FrameTruth, Sample

CAR, PERSON = 13, 11
K = np.array([[50.0, 0, 15.5], [0, 60.0, 9.5], [0, 0, 1]])


def test_targets_of_a_hand_made_map():
    panoptic = np.zeros((5, 6), np.uint16)
    panoptic[1:4, 1:3] = CAR * 1000 + 7  # mean row 2, mean column 1.5
    panoptic[0, 5] = PERSON * 1000  # a crowd: no instance id
    panoptic[4, 5] = 65535
    targets = panoptic_targets(panoptic, CITYSCAPES, sigma_px=1.0)
    assert targets.centers.shape == (1, 5, 6)
    assert targets.centers[0, 2, 2] == 1.0  # 1.5 is rounded to the even column
    assert targets.centers[0, 2, 3] == pytest.approx(np.exp(-0.5))
    assert targets.centers[0, 1, 3] == pytest.approx(np.exp(-1.0))
    assert targets.offsets_px[:, 1, 1].tolist() == [1.0, 0.5]
    assert targets.offsets_px[:, 3, 2].tolist() == [-1.0, -0.5]
    assert np.array_equal(targets.offset_weights[0] > 0, panoptic == CAR * 1000 + 7)
    assert (targets.offsets_px * (targets.offset_weights == 0) == 0).all()
    assert (targets.center_weights[0] == 0).nonzero()[0].tolist() == [0, 4]


def test_targets_agree_with_a_slow_loop():
    generator = np.random.default_rng(0)
    panoptic = generator.choice(np.array([0, 11001, 11002, 13001, 13000, 65535], np.uint16), (14, 20))
    targets = panoptic_targets(panoptic, CITYSCAPES, sigma_px=2.0)
    heat = np.zeros((14, 20))
    for label in (11001, 11002, 13001):
        rows, columns = np.nonzero(panoptic == label)
        center = rows.mean(), columns.mean()
        for y in range(14):
            for x in range(20):
                dy, dx = y - round(center[0]), x - round(center[1])
                if max(abs(dy), abs(dx)) <= 7:
                    heat[y, x] = max(heat[y, x], np.exp(-(dy**2 + dx**2) / 8.0))
                if panoptic[y, x] == label:
                    assert targets.offsets_px[:, y, x] == pytest.approx([center[0] - y, center[1] - x], abs=1e-5)
    assert np.allclose(targets.centers[0], heat, atol=1e-6)


def test_a_map_without_instances_has_empty_targets():
    for value in (0, 65535):
        targets = panoptic_targets(np.full((4, 4), value, np.uint16), CITYSCAPES)
        assert not targets.centers.any() and not targets.offset_weights.any()
        assert targets.center_weights.all() == (value == 0)


def test_wrong_targets_are_refused():
    with pytest.raises(DataError, match="19"):
        panoptic_targets(np.full((2, 2), 19000, np.uint16), CITYSCAPES)
    with pytest.raises(DataError, match="sigma_px"):
        panoptic_targets(np.zeros((2, 2), np.uint16), CITYSCAPES, 0.0)
    with pytest.raises(ShapeError, match="panoptic"):
        panoptic_targets(np.zeros((1, 2, 2), np.uint16), CITYSCAPES)


def sample(stamp_ns=0, sequence="a", seed=0, size=(20, 32)):
    generator = np.random.default_rng(seed)
    image = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
    truth = FrameTruth(
        panoptic=generator.choice(np.array([0, 11001, 65535], np.uint16), size),
        depth_m=generator.uniform(1, 50, size).astype(np.float32),
        flow_px=generator.normal(size=(*size, 2)).astype(np.float32),
        flow_visible=generator.random(size) < 0.5,
        world_from_camera=np.eye(4),
    )
    return Sample(CameraFrame(image, stamp_ns, "cam", K), truth, sequence)


@pytest.mark.parametrize("mirror", [False, True])
def test_points_land_where_their_pixels_go(mirror):
    """A point seen at the centre of a pixel that becomes 2 x 2 pixels is seen at the middle of those."""
    before = sample()
    geometry = ImageGeometry((40, 64), 6, 10, (24, 32), mirror)
    after = apply_geometry(before, geometry)
    assert after.frame.size == after.truth.depth_m.shape == (24, 32)
    for v, u in ((5, 8), (10, 12), (14, 20)):
        depth = before.truth.depth_m[v, u]
        point = np.linalg.inv(K) @ [u, v, 1] * depth
        if mirror:
            point[0] *= -1
        projected = after.frame.intrinsics @ point
        new_u, new_v = projected[:2] / projected[2]
        left, top = int(np.floor(new_u)), int(np.floor(new_v))
        assert (new_u - left, new_v - top) == pytest.approx((0.5, 0.5))
        assert (after.truth.depth_m[top : top + 2, left : left + 2] == depth).all()
        assert (after.truth.panoptic[top : top + 2, left : left + 2] == before.truth.panoptic[v, u]).all()


def test_flow_scales_with_the_image_and_mirrors():
    before = sample()
    after = apply_geometry(before, ImageGeometry((20, 64), 0, 0, (20, 64), True))
    assert np.allclose(after.truth.flow_px[3, 63 - 2 * 5], before.truth.flow_px[3, 5] * [-2, 1])
    assert after.truth.flow_visible[3, 63 - 2 * 5] == before.truth.flow_visible[3, 5]


def test_mirrored_poses_move_mirrored_points():
    motion = np.eye(4)
    motion[:3, 3] = [0.5, 0.1, 2.0]
    angle = 0.1
    motion[:3, :3] = [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
    first, second = sample(), sample()
    second = Sample(second.frame, FrameTruth(world_from_camera=motion))
    geometry = ImageGeometry((20, 32), 0, 0, (20, 32), True)
    poses = [apply_geometry(each, geometry).truth.world_from_camera for each in (first, second)]
    point = np.array([1.0, 2.0, 9.0, 1.0])
    expected = np.linalg.inv(motion) @ point
    mirrored = np.linalg.inv(poses[1]) @ poses[0] @ (point * [-1, 1, 1, 1])
    assert np.allclose(mirrored * [-1, 1, 1, 1], expected)
    assert np.linalg.det(poses[1][:3, :3]) == pytest.approx(1.0)


def test_no_label_or_depth_is_invented():
    before = sample()
    after = apply_geometry(before, draw_geometry((16, 24), np.random.default_rng(1), (1.0, 1.6)))
    assert set(np.unique(after.truth.panoptic)) <= set(np.unique(before.truth.panoptic))
    assert set(np.unique(after.truth.depth_m)) <= set(np.unique(before.truth.depth_m))


def test_missing_truth_stays_missing_and_the_plain_geometry_resizes():
    bare = Sample(CameraFrame(np.zeros((20, 32, 3), np.uint8), 5))
    after = apply_geometry(bare, fit_geometry((10, 16)))
    assert after.frame.size == (10, 16) and after.frame.intrinsics is None and after.truth.panoptic is None
    assert after.frame.stamp_ns == 5


def test_geometry_is_drawn_within_the_image_and_by_the_seed():
    drawn = [draw_geometry((16, 24), np.random.default_rng(seed)) for seed in range(50)]
    assert drawn[3] == draw_geometry((16, 24), np.random.default_rng(3))
    assert {geometry.mirror for geometry in drawn} == {True, False}
    with pytest.raises(DataError, match="scales"):
        draw_geometry((16, 24), np.random.default_rng(0), (0.5, 1.0))
    with pytest.raises(DataError, match="max_stretch"):
        draw_geometry((16, 24), np.random.default_rng(0), max_stretch=0.5)
    with pytest.raises(DataError, match="does not lie"):
        ImageGeometry((16, 24), 1, 0, (16, 24), False)


def test_half_the_geometries_stretch_the_width_alone():
    drawn = [draw_geometry((100, 200), np.random.default_rng(seed), (1.0, 1.0), max_stretch=2.0) for seed in range(400)]
    stretches = np.array([geometry.resized[1] / 200 for geometry in drawn])
    assert all(geometry.resized[0] == 100 for geometry in drawn)
    assert 0.4 < np.mean(stretches == 1.0) < 0.6
    assert stretches.max() <= 2.0 and np.median(stretches[stretches > 1.0]) == pytest.approx(2**0.5, abs=0.1)


def test_colour_jitter_by_hand():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 0] = [100, 50, 200]
    assert apply_color_jitter(image, ColorJitter()) is image
    brighter = apply_color_jitter(image, ColorJitter(brightness=1.2))
    assert brighter[0, 0].tolist() == [120, 60, 240]
    gray = apply_color_jitter(image, ColorJitter(saturation=0.0))
    luma = 0.299 * 100 + 0.587 * 50 + 0.114 * 200
    assert gray[0, 0].tolist() == [round(luma)] * 3
    pair = np.array([[[100, 100, 100], [140, 140, 140]]], np.uint8)
    assert apply_color_jitter(pair, ColorJitter(contrast=0.5)).tolist() == [[[110] * 3, [130] * 3]]
    assert apply_color_jitter(pair, ColorJitter(hue_shift=0.3)).tolist() == pair.tolist()  # grey has no hue
    thrice = image
    for _ in range(3):
        thrice = apply_color_jitter(thrice, ColorJitter(hue_shift=1 / 3, saturation=0.5))
    fade = luma + 0.125 * (image[0, 0] - luma)
    assert np.abs(thrice[0, 0] - fade).max() < 1.5  # rounded three times
    turned = apply_color_jitter(np.full((1, 1, 3), [255, 0, 0], np.uint8), ColorJitter(hue_shift=1 / 3))
    assert turned[0, 0].argmax() == 1
    assert draw_color_jitter(np.random.default_rng(0), probability=0.0) == ColorJitter()
    for probability in (0.0, 1.0):
        drawn = [draw_color_jitter(np.random.default_rng(seed), probability, gray=0.3) for seed in range(200)]
        assert np.mean([jitter.saturation == 0.0 for jitter in drawn]) == pytest.approx(0.3, abs=0.1)
