# SPDX-License-Identifier: Apache-2.0
"""Odometry over real DDS: from the pose network of a weights file, and what is said without one."""

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")
pytest.importorskip("nav_msgs.msg")

from dataclasses import replace

from rclpy.parameter import Parameter
from ros_bench import Bench
from small_network import TINY

from monodvps_ros.network import MonoDVPS, PoseNetwork, save_weights
from monodvps_ros.perception.loading import load_model
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.topics.message_packages import loaded_class
from monodvps_ros.ros.topics.odometry import TRANSFORMS_TYPE

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    pose_network = PoseNetwork("mobilenetv3_small_050", metric=True)
    save_weights(file, MonoDVPS(replace(TINY, metric=True)), {}, pose_network=pose_network)
    return str(file)


def place(message):
    position = message.pose.pose.position
    return np.array([position.x, position.y, position.z])


def test_poses_are_composed_and_begin_anew_after_a_gap(weights):
    with Bench(load=load_model, outputs=("odometry",), pipeline__weights=weights, pipeline__engine="torch",
               pipeline__scale__mode="auto") as bench:  # fmt: skip
        bright = np.full((96, 160, 3), 250, np.uint8)
        bench.frame(0)
        first = bench.wait_for("odometry", 0)
        assert (first.header.frame_id, first.child_frame_id) == ("odom", "camera_optical")
        assert not place(first).any() and not first.pose.covariance.any()
        bench.frame(1, bright)
        second = bench.wait_for("odometry", 1)
        assert np.linalg.norm(place(second)) > 1e-3
        assert second.pose.covariance[0] > 0
        velocity = second.twist.twist.linear
        assert np.linalg.norm([velocity.x, velocity.y, velocity.z]) == pytest.approx(10 * np.linalg.norm(place(second)))
        bench.frame(60, bright)  # six seconds later
        assert not place(bench.wait_for("odometry", 60)).any()
        bench.wait_for_status(diagnostics.OK, "frames/s")

        assert bench.node.set_parameters([Parameter("pipeline.odometry.publish_tf", value=True)])[0].successful
        bench.frame(61)
        bench.wait_for("odometry", 61)
        if loaded_class(TRANSFORMS_TYPE) is None:
            bench.wait_for_status(diagnostics.WARN, "no TF: tf2_msgs is not installed")
        else:
            assert bench.node.count_publishers("/tf") == 1


def test_weights_without_a_pose_network_say_so():
    with Bench(outputs=("odometry", "depth/image"), pipeline__weights="random",
               pipeline__odometry__source="network") as bench:  # fmt: skip
        bench.frame(0)
        bench.wait_for("depth/image", 0)
        bench.wait_for_status(diagnostics.WARN, "no odometry: pipeline.odometry.source is 'network'")
        bench.ignore("odometry")
        bench.frame(1)
        bench.wait_for("depth/image", 1)
        bench.wait_for_status(diagnostics.OK, "frames/s")
        assert not bench.received["odometry"]
