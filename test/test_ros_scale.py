# SPDX-License-Identifier: Apache-2.0
"""Metres or nothing, over real DDS: what is published while nobody knows the scale, and what is said of it."""

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from rcl_interfaces.msg import Log
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_bench import NETWORK, ROAD, SKY, Bench, BoxModel, K, stamp_of, wait_until

from monodvps_ros.msg import DepthScale
from monodvps_ros.outputs import POINT_DTYPE
from monodvps_ros.perception import metric_scale
from monodvps_ros.ros.management import diagnostics

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

OUTPUTS = ("depth/image", "points", "panoptic/image", "panoptic/segments")
LOG = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def depth_of(bench, index):
    return np.frombuffer(bench.wait_for("depth/image", index).data, np.float32)


def depths_of(segments):
    return [[s.median_depth_m, s.centroid_m.x, s.centroid_m.y, s.centroid_m.z] for s in segments.segments]


def scales(bench):
    """Messages for a subscriber that comes now."""
    received = []
    bench.peer.create_subscription(DepthScale, "scale", received.append, LATCHED)
    return received


def test_what_nobody_knows_in_metres_is_withheld_until_somebody_does():
    with Bench(outputs=OUTPUTS, pipeline__scale__mode="auto") as bench:
        bench.frame(0)
        assert np.isnan(depth_of(bench, 0)).all()
        segments = bench.wait_for("panoptic/segments", 0)
        assert (segments.scale_state, segments.scale_confidence) == (DepthScale.UNKNOWN, 0.0)
        assert len(segments.segments) == 3 and np.isnan(depths_of(segments)).all()
        assert len(np.unique(np.frombuffer(bench.wait_for("panoptic/image", 0).data, np.uint16))) == 3
        bench.wait_for_status(diagnostics.WARN, "no depth: the scale is unknown: the weights are not metric")
        assert bench.camera()[diagnostics.SCALE_STATE] == "unknown"
        late = scales(bench)
        wait_until(lambda: late, what="a subscriber that comes late is told")
        assert (late[0].state, late[0].confidence, late[0].header.stamp) == (DepthScale.UNKNOWN, 0.0, stamp_of(0))
        assert np.isnan(late[0].factor) and "set scale.camera_height_m" in late[0].problem

        factor = [Parameter("pipeline.scale.mode", value="fixed"), Parameter("pipeline.scale.fixed_factor", value=2.0)]
        assert bench.node.set_parameters_atomically(factor).successful
        bench.frame(1)
        depth_m = depth_of(bench, 1)
        assert np.nanmin(depth_m) == pytest.approx(2 * 5.0, rel=0.1)  # twice the model's own unit
        assert np.isfinite(np.frombuffer(bench.wait_for("points", 1).data, POINT_DTYPE)["z"]).any()
        assert bench.wait_for("panoptic/segments", 1).scale_state == DepthScale.FIXED
        wait_until(lambda: late[-1].state == DepthScale.FIXED)
        assert (late[-1].factor, late[-1].confidence, late[-1].problem) == (2.0, 1.0, "")
        bench.wait_for_status(diagnostics.OK, "frames/s")
        assert [message.header.stamp for message in bench.received["points"]] == [stamp_of(1)]


def test_depth_up_to_scale_comes_only_to_who_asks_for_it_and_is_called_so():
    with Bench(outputs=OUTPUTS, pipeline__scale__mode="none", pipeline__scale__unknown="publish") as bench:
        bench.frame(0)
        assert np.nanmin(depth_of(bench, 0)) == pytest.approx(5.0, rel=0.1)
        segments = bench.wait_for("panoptic/segments", 0)
        assert segments.scale_state == DepthScale.UNKNOWN
        assert np.isnan(depths_of(segments)).all()
        bench.wait_for("points", 0)
        bench.wait_for_status(diagnostics.WARN, "depth is not in metres: the scale is unknown: scale.mode is 'none'")


def test_the_scale_is_published_when_it_changes_and_not_with_each_frame():
    with Bench(outputs=OUTPUTS) as bench:
        received = scales(bench)
        for index in range(3):
            bench.frame(index)
            bench.wait_for("panoptic/segments", index)
        bench.node.set_parameters([Parameter("pipeline.scale.fixed_factor", value=4.0)])
        bench.frame(3)
        wait_until(lambda: len(received) >= 2)
        found = [(message.header.stamp, message.factor) for message in received]
        assert found == [
            (stamp_of(0), 1.0),
            (stamp_of(3), 4.0),
        ]


class MetricRoad(BoxModel):
    """Metric weights that see the camera 1 m above a level road."""

    is_metric = True

    def infer(self, image, memory=()):
        output, rows = super().infer(image, memory), torch.arange(NETWORK[0])
        below = (rows - 31.5) / (K[4] * 64 / 96)  # y / z, as 96 rows of the camera are 64 of the network
        is_road = below > 0.05
        depth_m = torch.where(is_road, 1.0 / below.clamp(min=0.05), 80.0)[None, None, :, None].expand(1, 1, *NETWORK)
        logits = torch.zeros_like(output.class_logits)
        logits[:, ROAD, is_road], logits[:, SKY, ~is_road] = 8.0, 8.0
        return dataclasses.replace(output, class_logits=logits, depth_m=depth_m)


def test_metric_weights_that_disagree_with_the_cameras_height_are_warned_of(monkeypatch):
    monkeypatch.setattr(metric_scale, "COMPARED", 3)
    settings = {"pipeline__scale__mode": "auto", "pipeline__scale__camera_height_m": 1.5}
    with Bench(MetricRoad(), outputs=OUTPUTS, **settings) as bench:
        said = []
        bench.peer.create_subscription(Log, "/rosout", lambda line: said.append(line.msg), LOG)
        for index in range(3):
            bench.wait_for_status(diagnostics.OK, "")  # two frames are not enough
            bench.frame(index)
            bench.wait_for("panoptic/segments", index)
        doubt = "the camera is 1.00 m above the road, but scale.camera_height_m is 1.50 m"
        bench.wait_for_status(diagnostics.WARN, doubt)
        assert bench.camera()[diagnostics.ROAD_RATIO] == "1.50"
        assert (bench.camera()[diagnostics.SCALE_STATE], bench.camera()[diagnostics.SCALE_FACTOR]) == ("metric", "1")
        bench.frame(3)
        bench.wait_for("panoptic/segments", 3)
        bench.node.get_logger().info("after frame 3")
        wait_until(lambda: "after frame 3" in said, what="the log")
        assert sum(doubt in line for line in said) == 1  # once a minute

        bench.node.set_parameters([Parameter("pipeline.scale.camera_height_m", value=1.1)])
        for index in range(4, 7):
            bench.frame(index)
            bench.wait_for("panoptic/segments", index)
        wait_until(lambda: bench.camera()[diagnostics.ROAD_RATIO] == "1.10", what=bench.camera)
        bench.wait_for_status(diagnostics.OK, "frames/s")
