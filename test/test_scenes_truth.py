# SPDX-License-Identifier: Apache-2.0
"""The truth checked by itself, by warping, and by a slow reference that shares no code with the rasteriser."""

import numpy as np
import pytest
import torch

from monodvps_ros import geometry
from monodvps_ros.config import SceneConfig
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.scenes import Drive
from monodvps_ros.scenes.camera import rigid_inverse
from monodvps_ros.scenes.solids import Material, Shape
from monodvps_ros.scenes.street import CURB_M

#: Least quality of a warped frame t-1 as frame t, where nothing moves and the flow is visible.
LEAST_PSNR_DB = 30.0


def image_of(sample):
    return torch.from_numpy(sample.frame.image).permute(2, 0, 1)[None].float() / 255.0


def psnr_db(one, other, mask):
    return float(-10.0 * torch.log10(((one - other) ** 2).mean(1)[0][mask].mean()))


@pytest.fixture(scope="module", params=[1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 12))])
def still_pair(request):
    """Two frames of a drive in which nothing but the camera moves."""
    drive = Drive(SceneConfig(frames=13, traffic=0.0, view_distance_m=150.0), request.param)
    return drive[11], drive[12]


@pytest.fixture(scope="module")
def busy_pair():
    """A drive with traffic and two frames of it."""
    drive = Drive(SceneConfig(frames=13), 1)
    return drive, drive[11], drive[12]


class TestWarping:
    def test_flow_finds_the_frame_before(self, still_pair):
        before, now = still_pair
        visible = torch.from_numpy(now.truth.flow_visible)
        flow = torch.from_numpy(now.truth.flow_px).permute(2, 0, 1)[None]
        warped, _ = geometry.warp_by_flow(image_of(before), flow)
        still = psnr_db(image_of(before), image_of(now), visible)
        assert visible.float().mean() > 0.8
        assert psnr_db(warped, image_of(now), visible) >= max(LEAST_PSNR_DB, still + 6.0)

    def test_depth_and_pose_find_the_frame_before(self, still_pair):
        before, now = still_pair
        motion = np.linalg.inv(before.truth.world_from_camera) @ now.truth.world_from_camera
        depth = torch.from_numpy(now.truth.depth_m)[None, None]
        warped, valid = geometry.warp_by_depth(
            image_of(before),
            depth,
            torch.from_numpy(motion).float()[None],
            torch.from_numpy(now.frame.intrinsics).float()[None],
        )
        mask = torch.from_numpy(now.truth.flow_visible) & valid[0, 0]
        assert mask.float().mean() > 0.6
        assert psnr_db(warped, image_of(now), mask) >= LEAST_PSNR_DB

    def test_flow_is_what_depth_and_pose_say(self, still_pair):
        before, now = still_pair
        motion = torch.from_numpy(np.linalg.inv(before.truth.world_from_camera) @ now.truth.world_from_camera)[None]
        k = torch.from_numpy(now.frame.intrinsics)[None]
        depth = torch.from_numpy(now.truth.depth_m)[None, None].double()
        points = geometry.transform_points(motion, geometry.back_project(depth, k))
        flow = geometry.project(points, k)[0] - geometry.pixel_grid(*now.frame.size, dtype=torch.float64)
        true = torch.from_numpy(now.truth.flow_px).permute(2, 0, 1)
        known = depth[0, 0].isfinite() & true[0].isfinite() & (points[0, 2] > 1.0)
        assert float((flow - true)[:, known].abs().max()) < 0.01


class TestMovingThings:
    def test_visible_flow_lands_on_the_same_id_at_its_depth(self, busy_pair):
        _, before, now = busy_pair
        truth = now.truth
        rows, columns = np.nonzero(truth.flow_visible & (truth.panoptic >= 11000))
        there = np.rint(truth.flow_px[rows, columns] + np.stack([columns, rows], 1)).astype(int)
        height, width = now.frame.size
        there = np.clip(there, 0, [width - 1, height - 1])
        same = before.truth.panoptic[there[:, 1], there[:, 0]] == truth.panoptic[rows, columns]
        assert len(rows) > 1000
        assert same.mean() > 0.98

    def test_flow_of_a_moving_car_is_its_own(self, busy_pair):
        """A leading car moves with the camera: its flow differs from that of a still surface at its place."""
        drive, before, now = busy_pair
        motion = rigid_inverse(before.truth.world_from_camera) @ now.truth.world_from_camera
        poses = [drive.stage.world_from_body(index) for index in (11, 12)]
        body_of = {int(p): int(b) for p, b in zip(drive.solids.panoptic, drive.solids.body, strict=True)}
        k, checked = now.frame.intrinsics, 0
        for number in np.unique(now.truth.panoptic[now.truth.panoptic // 1000 == CITYSCAPES.class_id("car")]):
            body = body_of[int(number)]
            if not body:
                continue
            rows, columns = np.nonzero(now.truth.panoptic == number)
            depth = now.truth.depth_m[rows, columns].astype(np.float64)
            points = np.stack([(columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1], np.ones(len(rows))]) * depth
            carried = poses[0][body] @ np.linalg.inv(poses[1][body]) @ now.truth.world_from_camera
            moved = np.linalg.inv(before.truth.world_from_camera) @ carried @ np.vstack([points, np.ones(len(rows))])
            flow = (k @ (moved[:3] / moved[2]))[:2].T - np.stack([columns, rows], 1)
            np.testing.assert_allclose(now.truth.flow_px[rows, columns], flow, atol=0.01)
            still = motion[:3, :3] @ points + motion[:3, 3:]
            still_flow = (k @ (still / still[2]))[:2].T - np.stack([columns, rows], 1)
            checked += bool(np.abs(still_flow - flow).max() > 0.5)
        assert checked >= 1

    def test_visibility_is_lost_behind_others(self, busy_pair):
        _, _, now = busy_pair
        assert 0.01 < (~now.truth.flow_visible).mean() < 0.3

    def test_visibility_is_lost_outside(self):
        """In a curve a margin of the image was outside of the one before."""
        config = SceneConfig(frames=120, rate_hz=5.0, height=48, width=160, view_distance_m=80.0)
        drive = Drive(config, 11)
        heading = [np.arctan2(*drive.world_from_camera(index)[[1, 0], 2]) for index in range(120)]
        now = drive[int(np.abs(np.diff(np.unwrap(heading))).argmax()) + 1].truth
        u = np.arange(160) + now.flow_px[..., 0]
        outside = (u > 159.5) | (u < -0.5)
        assert outside.mean() > 0.005
        assert not now.flow_visible[outside].any()


class TestSlowReference:
    @pytest.mark.parametrize("seed", [1, pytest.param(4, marks=pytest.mark.slow)])
    def test_depth_and_ids(self, seed):
        drive = Drive(SceneConfig(frames=9, view_distance_m=150.0), seed)
        sample = drive[8]
        generator = np.random.default_rng(0)
        things = np.argwhere(sample.truth.panoptic >= 11000)
        pixels = [(int(generator.integers(192)), int(generator.integers(640))) for _ in range(150)]
        pixels += [tuple(map(int, row)) for row in generator.choice(things, 50)]
        compared = 0
        for row, column in pixels:
            found = nearest(drive, sample, 8, row, column)
            if found is None:
                continue
            depth, panoptic = found
            compared += 1
            assert sample.truth.panoptic[row, column] == panoptic, (row, column)
            if np.isfinite(depth):
                assert sample.truth.depth_m[row, column] == pytest.approx(depth, rel=2e-5), (row, column)
            else:
                assert np.isnan(sample.truth.depth_m[row, column])
        assert compared > 120

    def test_sky_is_where_there_is_no_depth(self):
        truth = Drive(SceneConfig(frames=1, height=96, width=320), 2)[0].truth
        np.testing.assert_array_equal(np.isnan(truth.depth_m), truth.panoptic == CITYSCAPES.class_id("sky") * 1000)


def nearest(drive, sample, frame, row, column):
    """Cast one ray at all solids and the ground in float64; None where leaves or a curb would need more than that."""
    solids, k = drive.solids, sample.frame.intrinsics
    pose = sample.truth.world_from_camera
    world_ray = pose[:3, :3] @ np.array([(column - k[0, 2]) / k[0, 0], (row - k[1, 2]) / k[1, 1], 1.0])
    bodies = drive.stage.world_from_body(frame)[solids.body]
    rotation = bodies[:, :3, :3].transpose(0, 2, 1)
    ray = rotation @ world_ray
    origin = (rotation @ (pose[:3, 3] - bodies[:, :3, 3])[..., None])[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        enter, leave = slabs(solids.planes, origin, ray)
        round_ = solids.shape != Shape.BOX
        enter[round_], leave[round_] = quadrics(solids, origin, ray, round_)
    hit = (enter < leave) & (enter > 0.15) & (enter < drive.config.view_distance_m)
    leafy = (solids.material == Material.FOLIAGE) & round_
    depth = np.where(hit, enter, np.inf)
    first = int(depth.argmin())
    flat = pose[2, 3] / -world_ray[2] if world_ray[2] < 0 else np.inf
    raised = (pose[2, 3] - CURB_M) / -world_ray[2] if world_ray[2] < 0 else np.inf
    near_limit = min(depth[first], raised) > 0.9 * drive.config.view_distance_m and world_ray[2] < 0
    if leafy[hit & (enter <= min(depth.min(), flat) + 1e-9)].any() or solids.inner[hit].any() or near_limit:
        return None
    if min(depth[first], flat) == np.inf:
        return np.inf, CITYSCAPES.class_id("sky") * 1000
    if depth[first] < raised:
        return depth[first], solids.panoptic[first]
    panoptic = sample.truth.panoptic[row, column]
    if panoptic == 0 and flat < depth[first]:
        return flat, panoptic
    seen = sample.truth.depth_m[row, column]
    return (raised, panoptic) if panoptic in (1000, 9000) and abs(seen / raised - 1) < 1e-4 else None


def slabs(planes, origin, ray):
    along = (planes[..., :3] @ ray[..., None])[..., 0]
    at = (planes[..., 3] - (planes[..., :3] @ origin[..., None])[..., 0]) / along
    return np.where(along < 0, at, -np.inf).max(1), np.where(along > 0, at, np.inf).min(1)


def quadrics(solids, origin, ray, chosen):
    turn = solids.turn[chosen].transpose(0, 2, 1)
    half = solids.half[chosen]
    o = (turn @ (origin - solids.center)[chosen][..., None])[..., 0] / half
    d = (turn @ ray[chosen][..., None])[..., 0] / half
    cylinder = solids.shape[chosen] == Shape.CYLINDER
    weight = np.where(cylinder[:, None], [1.0, 1.0, 0.0], 1.0)
    a, b, c = (weight * d * d).sum(1), (weight * o * d).sum(1), (weight * o * o).sum(1) - 1.0
    root = np.sqrt(b * b - a * c)
    ends = np.sort(np.stack([(-1 - o[:, 2]) / d[:, 2], (1 - o[:, 2]) / d[:, 2]]), axis=0)
    enter, leave = (-b - root) / a, (-b + root) / a
    enter = np.where(cylinder, np.maximum(enter, ends[0]), enter)
    leave = np.where(cylinder, np.minimum(leave, ends[1]), leave)
    return np.where(np.isnan(root), np.inf, enter), np.where(np.isnan(root), -np.inf, leave)
