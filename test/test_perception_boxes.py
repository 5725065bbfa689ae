# SPDX-License-Identifier: Apache-2.0
"""Boxes of instances against boxes that are known: one seen by rays, all those of synthetic drives."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from monodvps_ros.config import SceneConfig
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.perception.boxes import fit_box, ground_of, instance_points
from monodvps_ros.scenes import Drive

HEIGHT_M = 1.5
LEVEL = np.array([0.0, 1.0 / HEIGHT_M, 0.0])
SIZE = (4.4, 1.8, 1.5)


def seen_points(center, yaw_deg, size=SIZE):
    """Points that the pixels of a 640 x 192 camera see of a box on level ground; optical frame."""
    rows, columns = np.mgrid[0:192, 0:640]
    rays = np.stack(((columns - 319.5) / 400.0, (rows - 95.5) / 400.0, np.ones(rows.shape)), axis=-1).reshape(-1, 3)
    cos, sin = np.cos(np.deg2rad(yaw_deg)), np.sin(np.deg2rad(yaw_deg))
    axes = np.array([[cos, 0, sin], [-sin, 0, cos], [0, -1, 0]])
    middle = np.array([center[0], HEIGHT_M - size[2] / 2, center[1]])
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(side * np.array(size) / 2 + axes @ middle) / (rays @ axes.T) for side in (-1.0, 1.0)])
    enters, leaves = ends.min(0).max(1), ends.max(0).min(1)
    seen = (enters < leaves) & (enters > 0)
    return rays[seen] * enters[seen, None], middle, axes[0]


def off_by_deg(rotation, length_axis):
    """Angle between a box's length and a direction, front and back alike."""
    return np.degrees(np.arccos(np.clip(abs(Rotation.from_quat(rotation).as_matrix()[:, 0] @ length_axis), 0, 1)))


@pytest.mark.parametrize("yaw_deg", [0, 20, 45, 70, 90, 135])
@pytest.mark.parametrize("place", [(0, 8), (4, 12), (-6, 20), (2, 35)])
def test_a_car_whose_box_is_known(place, yaw_deg):
    points, middle, length_axis = seen_points(place, yaw_deg)
    center, size, rotation = fit_box(points, "car", ground_of(LEVEL))
    assert np.linalg.norm(np.array(center) - middle) < 0.4
    assert off_by_deg(rotation, length_axis) < 7
    np.testing.assert_allclose(size, SIZE, atol=0.5)
    axes = Rotation.from_quat(rotation).as_matrix()
    np.testing.assert_allclose(axes[:, 2], [0, -1, 0], atol=1e-9)
    assert axes[:, 0] @ center > -1e-9, "the length points away from the camera"


def test_what_is_hidden_is_completed_by_the_usual_size():
    """Straight from behind only the rear is seen: 1.8 m wide, at 7.8 m; the usual length lies behind it."""
    points, *_ = seen_points((0, 10), 90)
    rear = points[points[:, 2] < 7.81]
    center, size, _ = fit_box(rear, "car", ground_of(LEVEL))
    np.testing.assert_allclose(size, [4.4, 1.8, 1.5], atol=0.1)
    np.testing.assert_allclose(center, [0.0, HEIGHT_M - 0.75, 7.8 + 2.2], atol=0.1)


def test_another_class_has_the_size_that_is_seen():
    points, middle, _ = seen_points((3, 12), 30, (3.0, 1.5, 1.0))
    center, size, _ = fit_box(points, "crate", ground_of(LEVEL))
    np.testing.assert_allclose(size, [3.0, 1.5, 1.0], atol=0.35)
    assert np.linalg.norm(np.array(center) - middle) < 0.4


def test_background_behind_an_instance_does_not_matter():
    points, middle, length_axis = seen_points((0, 8), 20)
    wall = np.column_stack((np.linspace(-2, 2, 400), np.zeros(400), np.full(400, 30.0)))
    center, _, rotation = fit_box(np.vstack((points[::20], wall[:100])), "car", ground_of(LEVEL))
    assert np.linalg.norm(np.array(center) - middle) < 0.5
    assert off_by_deg(rotation, length_axis) < 10


def test_boxes_stand_upright_on_a_tilted_road():
    """The camera looks 10 degrees down: the scene turned about x, and the road's plane with it."""
    turn = Rotation.from_euler("x", 10, degrees=True).as_matrix()
    points, middle, length_axis = seen_points((2, 12), 60)
    plane = turn @ LEVEL
    center, size, rotation = fit_box(points @ turn.T, "car", ground_of(plane))
    assert np.linalg.norm(np.array(center) - turn @ middle) < 0.4
    assert off_by_deg(rotation, turn @ length_axis) < 7
    np.testing.assert_allclose(size, SIZE, atol=0.5)
    np.testing.assert_allclose(Rotation.from_quat(rotation).as_matrix()[:, 2], turn @ [0, -1, 0], atol=1e-9)


def test_without_a_road_the_lowest_point_is_the_bottom():
    points, *_ = seen_points((0, 10), 0)
    center, size, _ = fit_box(points, "car", ground_of(None))
    assert center[1] + size[2] / 2 == pytest.approx(HEIGHT_M, abs=0.05)


def test_points_by_instance_without_their_edges():
    codes = np.zeros((20, 30), np.int64)
    codes[2:10, 3:13], codes[12:14, 3:5], codes[15:18, 20:28] = 1, 2, 300
    points = np.ones((20, 30, 3), np.float32)
    points[5, 5] = np.nan
    found = instance_points(codes, points, capacity=200)
    assert set(found) == {1}, "2 has fewer than LEAST_POINTS, 300 is stuff"
    assert found[1].shape == (6 * 8 - 1, 3)
    codes[:] = 0
    codes[2:4] = 1
    assert len(instance_points(codes, points, 200)[1]) == 60, "two rows are all edge"


def true_box(drive, index, panoptic_id):
    """Middle, length axis (optical frame) and size of the box around an instance; None where it is absent."""
    solids, bodies = drive.solids, drive.stage.world_from_body(index)
    rows = np.flatnonzero(solids.panoptic == panoptic_id)
    poses = bodies[solids.body[rows]]
    if np.isnan(poses).any():
        return None
    corners = np.einsum("pij,pkj->pki", poses[:, :3, :3], solids.corners[rows]) + poses[:, None, :3, 3]
    largest = rows[solids.half[rows].prod(1).argmax()]
    along = (bodies[solids.body[largest]][:3, :3] @ solids.turn[largest])[:, 0] * [1, 1, 0]
    along /= np.linalg.norm(along)
    axes = np.stack((along, np.cross([0, 0, 1], along), [0, 0, 1]))
    local = corners.reshape(-1, 3) @ axes.T
    camera = np.linalg.inv(drive.world_from_camera(index))
    middle = axes.T @ (local.min(0) + local.max(0)) / 2
    return camera[:3, :3] @ middle + camera[:3, 3], camera[:3, :3] @ along, np.ptp(local, axis=0)


@pytest.mark.slow
def test_cars_of_a_synthetic_drive():
    """With the exact depth and masks of drives: half of the cars within 0.5 m and 2 degrees, nine of ten within 2 m."""
    off_m, off_deg, off_height = [], [], []
    for seed in (1, 2, 3):
        drive = Drive(SceneConfig(frames=30, antialias=False), seed)
        for index in (3, 15, 27):
            sample = drive[index]
            k, depth = sample.frame.intrinsics, sample.truth.depth_m
            rows, columns = np.indices(depth.shape)
            rays = np.stack(((columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1], np.ones(depth.shape)), axis=-1)
            codes = sample.truth.panoptic.astype(np.int64)
            codes = np.where(codes // 1000 == CITYSCAPES.class_id("car"), codes % 1000, 0)
            for instance, points in instance_points(codes, rays * depth[..., None], 999).items():
                truth = true_box(drive, index, 13000 + instance)
                if truth is None or len(points) < 80 or truth[0][2] > 60:
                    continue
                center, size, rotation = fit_box(points, "car", ground_of(LEVEL))
                off_m.append(np.linalg.norm((np.array(center) - truth[0])[[0, 2]]))
                off_deg.append(off_by_deg(rotation, truth[1]))
                off_height.append(abs(size[2] - truth[2][2]))
    assert len(off_m) > 30
    assert np.median(off_m) < 0.5
    assert np.percentile(off_m, 90) < 2.0
    assert np.median(off_deg) < 2.0
    assert np.median(off_height) < 0.2
