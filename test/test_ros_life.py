# SPDX-License-Identifier: Apache-2.0
"""The node's life: states, parameters while it runs, several cameras, exact pairing, time jumps, compressed images."""

import threading
import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_bench import CAMERA, Bench, BoxModel, picture, stamp_of, wait_until
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, PointCloud2

from monodvps_ros.config import NodeConfig, settings
from monodvps_ros.data.stamp_pairing import CAPACITY
from monodvps_ros.errors import ConfigError, WeightsError
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.perception import statistics
from monodvps_ros.ros.management import diagnostics, parameters
from monodvps_ros.ros.nodes.running import _serve
from monodvps_ros.ros.topics import filter_pairing
from monodvps_ros.signals import StopRequest

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
OK, WARN, ERROR = diagnostics.OK, diagnostics.WARN, diagnostics.ERROR


class TestStates:
    def test_through_all_states_and_back(self):
        with Bench(outputs=("depth/image",)) as bench:
            bench.frame(0)
            bench.wait_for("depth/image", 0)
            assert bench.node.trigger_deactivate() == SUCCESS
            wait_until(lambda: bench.images.get_subscription_count() == 0)
            bench.wait_for_status(OK, "not active")
            assert bench.node.trigger_activate() == SUCCESS
            wait_until(lambda: bench.images.get_subscription_count() == 1)
            bench.frame(1)
            bench.wait_for("depth/image", 1)
            assert bench.node.trigger_deactivate() == SUCCESS
            assert bench.node.trigger_cleanup() == SUCCESS
            assert bench.node.streams == []
            wait_until(lambda: bench.node_status().get(diagnostics.STATE) == "unconfigured")
            bench.start()
            wait_until(lambda: bench.images.get_subscription_count() == 1)
            wait_until(lambda: bench.node.count_subscribers(f"{bench.namespace}/depth/image") == 1)
            wait_until(bench.node.streams[0].outputs.wanted)
            bench.frame(2)
            bench.wait_for("depth/image", 2)
            assert bench.node.trigger_shutdown() == SUCCESS
            assert bench.node.state == "finalized"

    def test_an_image_that_waits_at_the_end_is_counted(self):
        with Bench(BoxModel(seconds=0.3), outputs=("depth/image",)) as bench:
            bench.frame(0)
            wait_until(lambda: bench.model.calls == 1)
            bench.frame(1)
            wait_until(lambda: bench.counts().received == 2)
            bench.node.trigger_deactivate()
            counts = bench.counts()
            assert (counts.processed, counts.dropped[statistics.STOPPED]) == (1, 1)

    def test_without_weights_it_stays_unconfigured_and_says_why(self):
        def fail(config):
            raise WeightsError("no such file: /a/b")

        with Bench(load=fail, start=False) as bench:
            assert bench.node.trigger_configure() == FAILURE
            wait_until(lambda: bench.node_status().get("level") == ERROR)
            assert bench.node_status()["message"] == "WeightsError: no such file: /a/b"
            assert bench.node_status()[diagnostics.STATE] == "unconfigured"

    def test_a_fault_of_our_own_is_not_swallowed(self):
        def fail(config):
            raise ZeroDivisionError("a fault")

        with Bench(load=fail, start=False) as bench:
            assert bench.node.trigger_configure() == FAILURE
            assert "ZeroDivisionError: a fault" in bench.node.problem

    def test_a_callback_that_fails_is_counted_and_the_others_go_on(self):
        stop = StopRequest.__new__(StopRequest)  # without the handlers of signals
        stop._event = threading.Event()
        with Bench(start=False, spin=False) as bench:
            executor = SingleThreadedExecutor(context=bench.contexts[0])
            executor.add_node(bench.node)
            server = threading.Thread(target=_serve, args=(executor, bench.node, stop))
            server.start()
            fails = bench.node.create_timer(0.05, lambda: 1 / 0)
            wait_until(lambda: bench.node.callback_errors >= 2)
            fails.cancel()
            bench.start()
            wait_until(lambda: bench.images.get_subscription_count() == 1)
            bench.listen("depth/image")
            wait_until(bench.node.streams[0].outputs.wanted)
            bench.frame(0)
            bench.wait_for("depth/image", 0)
            wait_until(lambda: int(bench.node_status().get(diagnostics.CALLBACK_ERRORS, 0)) >= 2)
            executor.shutdown()
            server.join(5.0)
            assert not server.is_alive()


class TestParameters:
    def test_every_setting_is_a_parameter_with_its_description(self):
        with Bench(start=False) as bench:
            for setting in settings(NodeConfig):
                described = bench.node.describe_parameter(setting.name)
                assert described.description.startswith(setting.description)
                assert described.read_only == setting.read_only
                assert (setting.unit in described.description) or not setting.unit
                ranges = [*described.integer_range, *described.floating_point_range]
                assert bool(ranges) == (setting.type in (int, float))  # ROS has none for arrays
                for limits in ranges:
                    assert (limits.from_value, limits.to_value) == (setting.at_least, setting.at_most)
            names = {name for name in bench.node._parameters if not name.startswith(("qos_overrides", "use_sim_time"))}
            assert names >= {setting.name for setting in settings(NodeConfig)}

    def test_defaults_are_the_configuration_s(self):
        with Bench(
            start=False, pipeline__scale__mode="auto", pipeline__grouping__min_stuff_area=2048, diagnostics_period_s=1.0
        ) as bench:
            assert bench.node.config == NodeConfig()
            assert parameters.read(bench.node, NodeConfig) == NodeConfig()

    def test_a_change_is_taken_over_with_the_next_frame(self):
        with Bench(outputs=("points",)) as bench:
            bench.frame(0)
            assert bench.wait_for("points", 0).height == CAMERA[0] // 2
            [result] = bench.node.set_parameters([Parameter("pipeline.cloud.stride", value=4)])
            assert result.successful
            bench.frame(1)
            assert bench.wait_for("points", 1).height == CAMERA[0] // 4

    @pytest.mark.parametrize(
        ("name", "value", "reason"),
        [
            ("pipeline.cloud.stride", 65, "out of range"),
            ("pipeline.cloud.stride", 2.5, "type"),
            ("pipeline.scale.mode", "guess", "must be one of auto, camera_height, fixed, none"),
            ("pipeline.grouping.nms_kernel", 4, "must be odd"),
            ("pipeline.weights", "other", "read-only"),
            ("pipeline.device", "cuda:7", "read-only"),
            ("cameras", ["front"], "read-only"),
        ],
    )
    def test_a_change_that_cannot_be_is_refused_with_its_reason(self, name, value, reason):
        with Bench(start=False) as bench:
            before = bench.node.config
            [result] = bench.node.set_parameters([Parameter(name, value=value)])
            assert not result.successful
            assert reason in result.reason
            assert bench.node.config == before

    def test_a_name_that_is_not_a_parameter_s_is_told_with_the_one_it_resembles(self):
        with Bench(start=False, pipeline__cloud__strid=3, other=1) as bench:
            assert parameters.undeclared(bench.node, [setting.name for setting in settings(NodeConfig)]) == [
                "'pipeline.cloud.strid' is none of this node's (is 'pipeline.cloud.stride' meant?)",
                "'other' is none of this node's",
            ]

    @pytest.mark.parametrize(
        ("name", "value"),
        [("pipeline__cloud__stride", 0), ("pipeline__cloud__stride", 1.5), ("rectified", "maybe"), ("cameras", ["1a"])],
    )
    def test_it_does_not_start_with_a_wrong_value(self, name, value):
        with pytest.raises(ConfigError, match=name.replace("__", ".")):
            Bench(start=False, **{name: value})


@pytest.mark.parametrize("with_filters", [True, False])
class TestExactPairing:
    @pytest.fixture(autouse=True)
    def _pairing(self, with_filters, monkeypatch):
        if not with_filters:
            monkeypatch.setattr(filter_pairing, "TimeSynchronizer", None)
        elif filter_pairing.TimeSynchronizer is None:
            pytest.skip("message_filters is not installed")

    def test_only_the_camera_info_of_the_image_s_stamp_counts(self):
        with Bench(camera_info_sync="exact", outputs=("points",)) as bench:
            bench.camera_info(0)
            bench.image(1)
            wait_until(lambda: bench.counts().received == 1)
            time.sleep(0.1)
            assert bench.counts().processed == 0
            bench.camera_info(1)
            bench.wait_for("points", 1)
            bench.camera_info(2)
            bench.image(2)
            bench.wait_for("points", 2)
            assert bench.counts().processed == 2

    def test_images_without_one_are_counted(self):
        with Bench(camera_info_sync="exact", outputs=("points",)) as bench:
            for index in range(12):
                bench.image(index)
                wait_until(lambda index=index: bench.counts().received == index + 1)
            wait_until(lambda: bench.counts().dropped[statistics.UNPAIRED] == 2)

    def test_a_camera_info_of_another_clock_holds_a_few_images_and_is_told(self):
        with Bench(camera_info_sync="exact", outputs=("points",)) as bench:
            for index in range(25):
                bench.camera_info(1000 + index)
                bench.image(index)
                wait_until(lambda index=index: bench.counts().received == index + 1)
            assert bench.counts().dropped[statistics.UNPAIRED] == 25 - CAPACITY
            bench.wait_for_status(WARN, "most are dropped: no camera_info with its stamp")

    def test_a_looped_recording_pairs_in_every_loop(self):
        with Bench(camera_info_sync="exact", outputs=("points",)) as bench:
            for loop in range(3):
                for index in range(4):
                    bench.frame(index)
                    wait_until(lambda total=4 * loop + index + 1: bench.counts().processed == total)
            assert bench.counts().resets == 2
            assert bench.counts().dropped_total == 0


def test_a_backward_jump_of_the_clock_begins_a_new_sequence():
    with Bench(use_sim_time=True, outputs=("depth/image",)) as bench:
        clock = bench.peer.create_publisher(Clock, "/clock", 1)
        wait_until(lambda: clock.get_subscription_count() >= 1)

        def set_clock(index):
            clock.publish(Clock(clock=stamp_of(index)))
            wait_until(lambda: bench.node.get_clock().now().to_msg() == stamp_of(index))

        set_clock(10)
        bench.frame(10)
        bench.wait_for("depth/image", 10)
        assert bench.counts().resets == 0
        set_clock(0)
        bench.frame(11)  # the stamps alone would not tell
        bench.wait_for("depth/image", 11)
        assert bench.counts().resets == 1


def test_class_names_are_there_for_who_comes_late():
    vision_msgs = pytest.importorskip("vision_msgs.msg")
    with Bench(outputs=()) as bench:
        received = []
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        bench.peer.create_subscription(vision_msgs.LabelInfo, "label_info", received.append, latched)
        wait_until(lambda: received)
        names = {entry.class_id: entry.class_name for entry in received[0].class_map}
        assert names == dict(enumerate(CITYSCAPES.names))


def test_compressed_images():
    with Bench(compressed=True, outputs=("panoptic/image", "points")) as bench:
        message = CompressedImage(format="rgb8; png compressed bgr8")
        message.data.frombytes(cv2.imencode(".png", np.ascontiguousarray(picture()[..., ::-1]))[1].tobytes())
        message.header.stamp, message.header.frame_id = stamp_of(0), "camera_optical"
        bench.camera_info(0)
        bench.compressed.publish(message)
        panoptic = np.frombuffer(bench.wait_for("panoptic/image", 0).data, np.uint16).reshape(CAMERA)
        assert panoptic[60, 56] == 13001
        cloud = bench.wait_for("points", 0)
        assert isinstance(cloud, PointCloud2)


def test_compressed_images_that_are_too_large_are_refused_before_they_are_decoded():
    with Bench(compressed=True, max_image_mpx=0.1, outputs=("panoptic/image",)) as bench:
        message = CompressedImage(format="png")
        message.data.frombytes(cv2.imencode(".png", np.zeros((400, 251), np.uint8))[1].tobytes())
        bench.compressed.publish(message)
        bench.wait_for_status(ERROR, "251 x 400 pixels; at most 0.1 megapixels")
        assert bench.counts().dropped[statistics.UNDECODABLE] == 1
        assert bench.node.set_parameters([Parameter("max_image_mpx", value=0.2)])[0].successful
        bench.compressed.publish(message)
        wait_until(lambda: bench.counts().processed == 1)


def test_a_raw_image_is_rectified_and_the_published_camera_info_says_so():
    with Bench(outputs=("depth/camera_info", "panoptic/image")) as bench:
        p = [110.0, 0, 80.0, 0, 0, 100.0, 48.0, 0, 0, 0, 1, 0]
        bench.camera_info(0, d=[-0.4, 0.1, 0.0, 0.0, 0.0], p=p, distortion_model="plumb_bob")
        bench.image(0)
        info = bench.wait_for("depth/camera_info", 0)
        assert isinstance(info, CameraInfo)
        assert list(info.p) == p
        assert list(info.d) == [0.0] * 5
        wait_until(lambda: bench.camera().get(diagnostics.RECTIFICATION) == "plumb_bob is removed")
        # where the box's left edge at column 39.5 of row 60 lies once it is rectified
        raw, lens = np.reshape([120, 0, 79.5, 0, 110, 47.5, 0, 0, 1.0], (3, 3)), np.array([-0.4, 0.1, 0, 0, 0])
        x, y = cv2.undistortPoints(np.array([[[39.5, 60.0]]]), raw, lens)[0, 0]
        panoptic = np.frombuffer(bench.wait_for("panoptic/image", 0).data, np.uint16).reshape(CAMERA)
        assert np.argmax(panoptic[round(100 * y + 48)] == 13001) == pytest.approx(110 * x + 80, abs=1.5)


def test_a_rectified_topic_is_left_as_it_is():
    with Bench(rectified="true", outputs=("depth/camera_info",)) as bench:
        bench.camera_info(0, d=[-0.4, 0.1, 0.0, 0.0, 0.0])
        bench.image(0)
        bench.wait_for("depth/camera_info", 0)
        wait_until(lambda: bench.camera().get(diagnostics.RECTIFICATION, "").startswith("none: the image is rectified"))
