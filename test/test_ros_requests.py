# SPDX-License-Identifier: Apache-2.0
"""What can be asked of a running node over DDS: reset, class filter, rate limit, region of interest."""

import math
import time

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from ros_bench import CAMERA, CAR, ROAD, Bench, K, wait_until
from std_srvs.srv import Trigger

from monodvps_ros.data.sequence_watch import SequenceWatch
from monodvps_ros.outputs import POINT_DTYPE
from monodvps_ros.perception import statistics
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.topics.camera_input import CameraInput

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]


def answer(future):
    wait_until(future.done, what="an answer")
    return future.result()


def wait_for_discovery(bench, ready, service):
    """Wait until both sides know each other: a service drops its answer to a client that it has not found yet."""
    wait_until(lambda: ready() and bench.node.count_clients(service), what=f"discovery of {service}")


def call_reset(bench):
    client = bench.peer.create_client(Trigger, "perception/reset")
    wait_for_discovery(bench, client.service_is_ready, "perception/reset")
    return answer(client.call_async(Trigger.Request()))


def set_parameter(bench, name, value):
    client = AsyncParameterClient(bench.peer, "perception")
    wait_for_discovery(bench, client.services_are_ready, "perception/set_parameters")
    [result] = answer(client.set_parameters([Parameter(name, value=value)])).results
    return result


def panoptic_of(bench, index):
    return np.frombuffer(bench.wait_for("panoptic/image", index).data, np.uint16)


def track_of(bench, index):
    bench.frame(index)
    return next(s.track_id for s in bench.wait_for("panoptic/segments", index).segments if s.is_thing)


def test_reset_begins_tracks_anew_without_reusing_ids():
    with Bench(outputs=("panoptic/segments",)) as bench:
        before = [track_of(bench, index) for index in range(2)]
        response = call_reset(bench)
        assert response.success
        assert response.message == f"tracks and scale are reset with the next image of {bench.namespace}/image"
        after = [track_of(bench, index) for index in (2, 3)]
        assert before[0] == before[1] < after[0] == after[1]
        assert bench.counts().resets == 0  # of time jumps


def test_reset_of_a_node_that_is_not_configured_says_so():
    with Bench(start=False) as bench:
        response = call_reset(bench)
        assert (response.success, response.message) == (False, "nothing to reset: the node is unconfigured")


def test_classes_can_be_filtered_while_it_runs():
    with Bench(outputs=("panoptic/image", "semantic/image", "panoptic/segments", "points")) as bench:
        bench.frame(0)
        everything = panoptic_of(bench, 0)
        assert set_parameter(bench, "pipeline.classes", ["car"]).successful
        bench.frame(1)
        is_car = everything == CAR * 1000 + 1
        np.testing.assert_array_equal(panoptic_of(bench, 1), np.where(is_car, CAR * 1000 + 1, 65535))
        assert [segment.class_name for segment in bench.wait_for("panoptic/segments", 1).segments] == ["car"]
        points = np.frombuffer(bench.wait_for("points", 1).data, POINT_DTYPE)
        assert set(points["label"][np.isfinite(points["z"])]) == {CAR}
        refused = set_parameter(bench, "pipeline.classes", ["car", "cow"])
        assert not refused.successful
        assert "the model has no 'cow' but road, sidewalk" in refused.reason
        assert set_parameter(bench, "pipeline.classes", [""]).successful
        bench.frame(2)
        assert ROAD in panoptic_of(bench, 2)


def test_a_region_of_interest_is_processed_alone():
    with Bench(outputs=("depth/image", "depth/camera_info", "points"), pipeline__cloud__stride=1) as bench:
        bench.frame(0)
        whole = np.frombuffer(bench.wait_for("points", 0).data, POINT_DTYPE).reshape(CAMERA)
        assert set_parameter(bench, "pipeline.roi", [40, 48, 80, 40]).successful
        bench.frame(1)
        depth, info = bench.wait_for("depth/image", 1), bench.wait_for("depth/camera_info", 1)
        assert (depth.width, depth.height, info.width, info.height) == (80, 40, 80, 40)
        assert (info.k[0], info.k[2], info.k[5]) == (K[0], K[2] - 40, K[5] - 48)
        part = np.frombuffer(bench.wait_for("points", 1).data, POINT_DTYPE).reshape(40, 80)
        both = np.isfinite(part["z"])  # the rays of a pixel are the same, whatever was cut off around it
        assert both.any()
        same = whole[48:88, 40:120]
        np.testing.assert_allclose((part["x"] / part["z"])[both], (same["x"] / same["z"])[both], atol=1e-5)
        for value, reason in (([100, 0, 61, 96], "does not fit into 160x96"), ([0, 0, 0, 5], "must be x, y, width")):
            refused = set_parameter(bench, "pipeline.roi", value)
            assert not refused.successful and reason in refused.reason


def test_what_the_model_cannot_do_is_refused_when_it_is_asked_for():
    with Bench(outputs=()) as bench:
        for name, value, reason in (
            ("pipeline.tracker.flow", "network", "the model has no flow; use auto, dis or none"),
            ("pipeline.cloud.max_range_m", math.inf, "out of range"),
            ("max_rate_hz", -1.0, "out of range"),
        ):
            refused = set_parameter(bench, name, value)
            assert not refused.successful and reason in refused.reason
        assert bench.node.config.pipeline.tracker.flow == "auto"


def test_a_rate_limit_drops_and_counts_and_is_not_falling_behind():
    with Bench(outputs=("semantic/image",), max_rate_hz=4.0) as bench:
        begin, index = time.monotonic(), 0
        bench.camera_info(0)
        while bench.counts().processed < 3:
            assert time.monotonic() - begin < 20.0
            bench.image(index)
            index += 1
            time.sleep(0.01)
        taken_s = time.monotonic() - begin
        assert taken_s > 0.45  # the third is due half a second after the first
        wait_until(lambda: bench.counts().dropped[statistics.LIMITED] > 10)
        bench.wait_for_status(diagnostics.OK, "frames/s")
        assert set_parameter(bench, "max_rate_hz", 0.0).successful
        bench.image(index)
        bench.wait_for("semantic/image", index)


def test_the_rate_limit_is_kept_on_average(monkeypatch):
    """A limit that does not divide the camera's rate: 20 of 31 images a second, not every second one."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    camera = CameraInput.__new__(CameraInput)
    camera._watch, camera._due_at = SequenceWatch(1), 0.0
    camera.configure(max_gap_s=2.0, max_rate_hz=20.0)
    taken = 0
    for index in range(310):
        now[0] = 100.0 + index / 31
        taken += not camera._is_above_limit()
    assert taken == pytest.approx(200, abs=2)
