# SPDX-License-Identifier: Apache-2.0
"""Odometry: known motions composed, in metres or not at all, and as messages."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from test_perception_pipeline import FlatWorld

from monodvps_ros.config import OdometryConfig, PipelineConfig, load
from monodvps_ros.data.message_fields import output_fields, transforms_of
from monodvps_ros.errors import ConfigError
from monodvps_ros.outputs import OUTPUT_TOPICS, Output, ScaleEstimate, ScaleState
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.odometry import NetworkMotion, OdometryEstimator
from monodvps_ros.perception.views import View
from monodvps_ros.types import CameraFrame

IMAGE = torch.zeros(1, 3, 32, 64)
METRES = ScaleEstimate(1.0, 1.0, ScaleState.METRIC)
UNKNOWN = ScaleEstimate(1.0, 0.0, ScaleState.UNKNOWN, problem="nobody knows")
ROW = next(row for row in OUTPUT_TOPICS if row.output is Output.ODOMETRY)


class Motion:
    """Says the same motion of each pair: points of the first camera in the second one."""

    def __init__(self, rotation=(0.0, 0, 0), translation=(0.0, 0, -1)):
        self.found = torch.tensor([rotation], dtype=torch.float32), torch.tensor([translation], dtype=torch.float32)

    def __call__(self, first, second):
        assert first.shape == second.shape
        return self.found


def _follow(estimator, count, scale=METRES, intrinsics=None, first=0, **config):
    nothing, everywhere = torch.zeros(1, 1, 32, 64), torch.ones(32, 64, dtype=torch.bool)
    views = [
        View((first + number) * 10**8, IMAGE, nothing, everywhere, everywhere, intrinsics) for number in range(count)
    ]
    return [estimator.update(view, scale, OdometryConfig(**config), "optical") for view in views]


def _estimator(motion, canonical_focal_px=0.0):
    return OdometryEstimator(NetworkMotion(motion, canonical_focal_px))


def test_a_camera_that_drives_ahead_goes_along_x():
    poses = _follow(_estimator(Motion()), 4)
    assert [pose.pose[:3, 3].tolist() for pose in poses] == [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]
    assert (poses[0].frame_id, poses[0].child_frame_id) == ("odom", "optical")
    assert poses[0].linear_m_s.tolist() == [0, 0, 0]
    assert poses[3].linear_m_s == pytest.approx([0, 0, 10])  # along the optical axis, at 10 Hz
    np.testing.assert_allclose(poses[3].pose[:3, :3] @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_a_square_to_the_left_ends_where_it_began():
    """Each step a metre ahead, then a quarter turn left: seen from the camera, points turn right, about +y."""
    turn = Motion((0, math.pi / 2, 0), (-1.0, 0, 0))  # what lay a metre ahead lies at the camera, turned
    poses = _follow(_estimator(turn), 5, child_frame="base_link")
    places = [pose.pose[:3, 3].round(6).tolist() for pose in poses]
    assert places == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]
    np.testing.assert_allclose(poses[4].pose, np.eye(4), atol=1e-6)
    assert poses[1].child_frame_id == "base_link"
    assert poses[1].angular_rad_s == pytest.approx([0, 0, 10 * math.pi / 2], abs=1e-5)  # to the left, about z
    assert poses[1].linear_m_s == pytest.approx([10, 0, 0], abs=1e-5)


def test_a_motion_that_is_not_finite_is_left_out_and_the_next_is_from_the_frame_before():
    motion = Motion()
    estimator = _estimator(motion)
    _follow(estimator, 2)
    found, motion.found = motion.found, (torch.zeros(1, 3), torch.full((1, 3), torch.nan))
    assert _follow(estimator, 1, first=2) == [None]
    assert "NaN or infinite motion" in estimator.problem
    motion.found = found
    (pose,) = _follow(estimator, 1, first=3)
    assert pose.pose[:3, 3].tolist() == [2, 0, 0] and estimator.problem == ""
    assert pose.linear_m_s == pytest.approx([0, 0, 5])  # a metre in the 0.2 s since the frame before the NaN


def test_the_covariance_grows():
    variances = [pose.covariance for pose in _follow(_estimator(Motion()), 6)]
    assert (variances[0] == 0).all()
    for before, after in pairwise(variances):
        assert (np.diag(after) > np.diag(before)).all()
        assert (np.linalg.eigvalsh(after) > 0).all()
    # After two steps of 1 m: two errors of 0.21 m, and the attitude's error after the first, 2 mrad, over 1 m.
    np.testing.assert_allclose(np.diag(variances[2])[:3], 2 * 0.21**2 + np.array([0, 1, 1]) * 0.002**2)


def test_motions_are_in_the_metres_of_the_scale():
    intrinsics = np.array([[200.0, 0, 32], [0, 200, 16], [0, 0, 1]])
    metric = _estimator(Motion(translation=(0, 0, -2.0)), 400.0)  # half as far for half the focal length
    assert _follow(metric, 2, ScaleEstimate(0.5, 1.0, ScaleState.METRIC), intrinsics)[1].pose[0, 3] == 1.0
    metric.reset()
    assert _follow(metric, 2, ScaleEstimate(0.6, 1.0, ScaleState.ROAD), intrinsics)[1].pose[0, 3] == pytest.approx(1.2)
    up_to_scale = _estimator(Motion(translation=(0, 0, -0.1)))
    assert _follow(up_to_scale, 2, ScaleEstimate(15.0, 1.0, ScaleState.ROAD))[1].pose[0, 3] == pytest.approx(1.5)


def test_without_metres_there_is_none_and_it_begins_anew():
    estimator = _estimator(Motion())
    assert _follow(estimator, 3)[2].pose[0, 3] == 2
    assert _follow(estimator, 2, UNKNOWN, first=3) == [None, None]
    again = _follow(estimator, 2, first=5)
    assert [pose.pose[0, 3] for pose in again] == [0, 1]
    assert (again[0].covariance == 0).all()


def test_a_motion_that_is_not_seen_goes_on_as_before_and_is_uncertain():
    class Sometimes:
        needs_intrinsics, problem = False, ""

        def reset(self):
            ahead = np.eye(4)
            ahead[2, 3] = 1.0
            self.motions = iter([None, ahead, None])

        def since_last(self, view, scale):
            return next(self.motions)

    places = _follow(OdometryEstimator(Sometimes()), 3)
    assert [pose.pose[0, 3] for pose in places] == [0, 1, 2]
    seen, guessed = places[1].covariance[0, 0], places[2].covariance[0, 0] - places[1].covariance[0, 0]
    assert seen == pytest.approx(0.21**2)
    assert guessed == pytest.approx(1.01**2)


def _pipeline(pose_network, source="auto"):
    settings = {
        "device": "cpu",
        "scale.mode": "fixed",
        "scale.fixed_factor": 2.0,
        "tracker.flow": "none",
        "odometry.source": source,
    }
    return Pipeline(FlatWorld(), load(PipelineConfig, None, settings), pose_network)


def _steps(pipeline, stamps, wanted=(Output.ODOMETRY,)):
    image = np.zeros((32, 64, 3), np.uint8)
    return [pipeline.step(CameraFrame(image, stamp, "optical"), frozenset(wanted)) for stamp in stamps]


def test_the_pipeline_begins_anew_after_a_jump_back_and_after_frames_without_demand():
    pipeline = _pipeline(Motion())
    assert pipeline.has_odometry

    def way(stamps, *wanted):
        return [result.odometry and result.odometry.pose[0, 3] for result in _steps(pipeline, stamps, *wanted)]

    assert way((1, 2, 3)) == [0, 2, 4]
    assert way((2, 3)) == [0, 2]  # back
    assert way((4,), (Output.DEPTH,)) == [None]
    assert way((5, 6)) == [0, 2]
    pipeline.reset()  # as the node does after a gap
    assert way((7, 8)) == [0, 2]
    without = _pipeline(None, "network")
    assert not without.has_odometry
    assert _steps(without, (1, 2))[1].odometry is None


def test_without_a_pose_network_corners_are_followed_where_k_is_known():
    pipeline = _pipeline(None)
    assert pipeline.has_odometry
    assert _steps(pipeline, (1, 2))[1].odometry is None  # no K
    intrinsics = np.array([[64.0, 0, 32], [0, 64, 16], [0, 0, 1]])
    image = np.zeros((32, 64, 3), np.uint8)
    places = [
        pipeline.step(CameraFrame(image, stamp, "optical", intrinsics=intrinsics), frozenset({Output.ODOMETRY}))
        for stamp in (3, 4)
    ]
    assert places[1].odometry.pose[0, 3] == 0.0


def test_messages_hold_the_pose_in_the_fixed_frame():
    turn = Motion((0, math.pi / 2, 0), (-1.0, 0, 0))
    pipeline = _pipeline(turn)
    pipeline.configure(load(PipelineConfig, None, {
        "device": "cpu", "scale.mode": "fixed", "scale.fixed_factor": 2.0, "tracker.flow": "none",
        "odometry.child_frame": "base_link"}))  # fmt: skip
    last = _steps(pipeline, (0, 5_000_000_007))[1]
    fields, transform = output_fields(ROW, last), transforms_of(last)["transforms"][0]
    assert fields["header"] == {"stamp": {"sec": 5, "nanosec": 7}, "frame_id": "odom"} == transform["header"]
    assert fields["child_frame_id"] == transform["child_frame_id"] == "base_link"
    pose = fields["pose"]["pose"]
    assert (
        pose["position"] == transform["transform"]["translation"] == pytest.approx({"x": 2, "y": 0, "z": 0}, abs=1e-6)
    )
    half = math.sqrt(0.5)  # a quarter turn about z
    assert pose["orientation"] == pytest.approx({"x": 0, "y": 0, "z": half, "w": half}, abs=1e-6)
    assert fields["pose"]["covariance"].shape == fields["twist"]["covariance"].shape == (36,)


def test_frames_must_differ():
    with pytest.raises(ConfigError, match=r"child_frame.*odom"):
        OdometryConfig(child_frame="odom")
    with pytest.raises(ConfigError, match="name a frame"):
        OdometryConfig(frame="")
