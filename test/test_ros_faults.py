# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with other nodes must not go wrong with this one: each fault over DDS, and the node goes on."""

import itertools
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from rcl_interfaces.msg import Log
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from ros_bench import CAMERA, Bench, BoxModel, K, picture, stamp_of, wait_until
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from monodvps_ros.perception import statistics
from monodvps_ros.ros.management import diagnostics

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

OK, WARN, ERROR = diagnostics.OK, diagnostics.WARN, diagnostics.ERROR
NAN = float("nan")


def accounted(counts):
    return counts.processed + counts.idle + counts.dropped_total


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoding": "32FC1"}, "'32FC1'"),
        ({"encoding": "8UC3"}, "'8UC3'"),
        ({"encoding": "nv24"}, "'nv24'"),
        ({"encoding": ""}, "''"),
        ({"height": CAMERA[0] + 1}, "bytes"),
        ({"step": 3 * CAMERA[1] - 1}, "step"),
        ({"step": 3 * CAMERA[1] + 1}, "bytes"),
        ({"height": 0, "width": 0, "step": 0}, "no pixels"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_counted_and_named(changes, words):
    with Bench(outputs=("depth/image",)) as bench:
        bench.camera_info(0)
        bench.image(0, **changes)
        wait_until(lambda: bench.counts().dropped[statistics.UNDECODABLE] == 1)
        bench.wait_for_status(ERROR, words)
        assert "image of 1000.000000000" in bench.camera()[diagnostics.LAST_ERROR]
        bench.frame(1)
        bench.wait_for("depth/image", 1)
        assert accounted(bench.counts()) == bench.counts().received == 2


def test_every_encoding_that_is_not_supported_is_counted_and_named():
    """All of sensor_msgs/image_encodings that are no pictures of 8 or 16 bits a channel that we take."""
    kinds = [f"{kind}C{channels}" for kind in ("8U", "8S", "16U", "16S", "32S", "32F", "64F") for channels in "1234"]
    kinds.remove("8UC1")  # taken as grey
    encodings = ["rgb16", "rgba16", "bgr16", "bgra16", "nv16", "nv24", *kinds]
    with Bench(outputs=("depth/image",)) as bench:
        for index, encoding in enumerate(encodings):
            bench.image(index, encoding=encoding)
            wait_until(lambda total=index + 1: bench.counts().dropped[statistics.UNDECODABLE] == total)
            assert f"'{encoding}'" in bench.counts().last_error
        bench.frame(len(encodings))
        bench.wait_for("depth/image", len(encodings))
        assert bench.counts().dropped_total == len(encodings)


def test_rows_may_be_longer_than_the_image_is_wide():
    with Bench(outputs=("panoptic/image",)) as bench:
        bench.frame(0)
        expected = bench.wait_for("panoptic/image", 0)
        height, width = CAMERA
        padded = np.full((height, 3 * width + 40), 255, np.uint8)
        padded[:, : 3 * width] = picture().reshape(height, -1)
        bench.image(1, step=3 * width + 40, data=padded.tobytes())
        assert bench.wait_for("panoptic/image", 1).data == expected.data


def test_truncated_data_is_counted_and_named():
    with Bench(outputs=("depth/image",)) as bench:
        bench.image(0, data=b"\x01" * 100)
        wait_until(lambda: bench.counts().dropped[statistics.UNDECODABLE] == 1)
        bench.wait_for_status(ERROR, "100")
        bench.frame(1)
        bench.wait_for("depth/image", 1)


def test_without_camera_info_there_are_depth_and_masks_but_no_cloud():
    with Bench(outputs=("depth/image", "panoptic/image", "panoptic/segments", "points")) as bench:
        bench.peer.destroy_publisher(bench.infos)
        wait_until(lambda: bench.node.count_publishers(f"{bench.namespace}/camera_info") == 0)
        bench.image(0)
        bench.wait_for("depth/image", 0)
        bench.wait_for("panoptic/image", 0)
        segments = bench.wait_for("panoptic/segments", 0).segments
        assert all(np.isnan(segment.centroid_m.x) for segment in segments)
        assert all(segment.median_depth_m > 0 for segment in segments if segment.class_name != "sky")
        bench.wait_for_status(WARN, f"no cloud: no camera_info on {bench.namespace}/camera_info")
        assert bench.received["points"] == []


def test_images_of_a_fast_camera_do_not_wait_for_a_camera_info_that_never_comes():
    """Its publisher is there, as of a player of a video whose camera is not known."""
    with Bench(outputs=("panoptic/image",)) as bench:
        wait_until(lambda: bench.node.count_publishers(f"{bench.namespace}/camera_info") == 1)
        for index in itertools.count():
            bench.image(index)
            if bench.received["panoptic/image"]:
                break
            assert index < 200, "no output of 200 images at 20 Hz"
            time.sleep(0.05)
        bench.wait_for_status(WARN, f"no cloud: no camera_info on {bench.namespace}/camera_info")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"k": [NAN] * 9, "p": [0.0] * 12}, "K is not finite"),
        ({"k": [0.0] * 9, "p": [0.0] * 12}, "not calibrated"),
        ({"k": [120.0, 0, 79.5, 0, -110.0, 47.5, 0, 0, 1], "p": [0.0] * 12}, "expected focal lengths above 0"),
        ({"k": [0.75, 0, 0.5, 0, 1.15, 0.5, 0, 0, 1], "p": [0.0] * 12}, "not in pixels"),
        ({"height": 480, "width": 640}, "for an image of 640x480 but the image is 160x96"),
        ({"d": [0.1] * 5, "distortion_model": "unheard"}, "distortion model 'unheard'"),
    ],
)
def test_an_unusable_camera_info_costs_the_cloud_alone(changes, words):
    with Bench(outputs=("depth/image", "points")) as bench:
        bench.camera_info(0, **changes)
        bench.image(0)
        bench.wait_for("depth/image", 0)
        bench.wait_for_status(WARN, words)
        assert bench.received["points"] == []
        bench.frame(1)
        bench.wait_for("points", 1)
        bench.wait_for_status(OK, "frames/s")


def test_another_frame_in_camera_info_is_said():
    with Bench(outputs=("points",)) as bench:
        info = bench.camera_info
        original = bench.infos.publish

        def publish(message):
            message.header.frame_id = "other"
            original(message)

        bench.infos.publish = publish
        info(0)
        bench.image(0)
        assert bench.wait_for("points", 0).header.frame_id == "camera_optical"
        bench.wait_for_status(WARN, "of frame 'other' but the image of 'camera_optical'")


def test_texts_from_outside_are_cut_in_log_and_diagnostics():
    with Bench(outputs=("points",)) as bench:
        said = []
        bench.peer.create_subscription(Log, "/rosout", lambda line: said.append(line.msg), 100)
        info = CameraInfo(height=CAMERA[0], width=CAMERA[1], k=K)
        info.header.frame_id = "y" * 100_000
        for index in range(3):
            frame_id = str(index) + "x" * 100_000
            bench.infos.publish(info)
            bench.image(index, header=Header(stamp=stamp_of(index), frame_id=frame_id))
            assert bench.wait_for("points", index).header.frame_id == frame_id
        bench.wait_for_status(WARN, f"…{'y' * 99}' but the image of '2xxx")
        assert len(bench.camera()["message"]) < 1000
        wait_until(lambda: [line for line in said if "one of the two must be wrong" in line])
        assert len([line for line in said if "one of the two" in line]) == 1  # though each has another text
        assert max(map(len, said)) < 1000


def test_stamps_that_go_back_begin_a_new_sequence():
    with Bench(outputs=("panoptic/segments",)) as bench:
        tracks = []
        for index in (5, 6, 0, 1):
            bench.frame(index)
            segments = bench.wait_for("panoptic/segments", index).segments
            tracks.append(next(segment.track_id for segment in segments if segment.is_thing))
        assert tracks[0] == tracks[1] < tracks[2] == tracks[3]
        wait_until(lambda: bench.camera().get(diagnostics.RESETS) == "1")


def test_a_gap_begins_a_new_sequence():
    with Bench(outputs=("panoptic/segments",), max_gap_s=2.0) as bench:
        for index in (0, 20, 41):
            bench.frame(index)
            bench.wait_for("panoptic/segments", index)
        assert bench.counts().resets == 1


def test_stamps_that_repeat_or_are_0_are_left_out_and_counted():
    with Bench(outputs=("depth/image",)) as bench:
        bench.frame(3)
        bench.wait_for("depth/image", 3)
        bench.image(3)
        bench.image(4, header=Header(frame_id="camera_optical"))
        bench.frame(5)
        bench.wait_for("depth/image", 5)
        assert [message.header.stamp for message in bench.received["depth/image"]] == [stamp_of(3), stamp_of(5)]
        counts = bench.counts()
        assert counts.dropped[statistics.REPEATED] == counts.dropped[statistics.UNSTAMPED] == 1
        assert (counts.resets, accounted(counts)) == (0, 4)
        wait_until(lambda: bench.camera().get(diagnostics.STAMPS) == "of the images")


@pytest.mark.parametrize("sync", ["latest", "exact"])
def test_where_all_stamps_are_0_the_time_of_receipt_is_taken_and_said(sync):
    with Bench(outputs=("depth/image", "points"), camera_info_sync=sync) as bench:
        unstamped = Header(frame_id="camera_optical")
        before_ns = bench.node.get_clock().now().nanoseconds
        for number in range(3):
            bench.camera_info(0, header=unstamped)
            bench.image(0, header=unstamped)
            wait_until(lambda number=number: len(bench.received["points"]) > number, what=bench.camera)
        times = [Time.from_msg(message.header.stamp).nanoseconds for message in bench.received["depth/image"]]
        assert before_ns < times[0] < times[1] < times[2] < bench.node.get_clock().now().nanoseconds
        wait_until(lambda: bench.camera().get(diagnostics.STAMPS) == "times of receipt: those of the images are 0")
        assert bench.counts().dropped_total == bench.counts().resets == 0


def test_another_size_is_planned_anew():
    with Bench(outputs=("depth/image", "depth/camera_info")) as bench:
        bench.frame(0)
        bench.wait_for("depth/image", 0)
        small = (48, 80)
        bench.camera_info(1, height=48, width=80)
        bench.image(1, picture(20, small))
        depth = bench.wait_for("depth/image", 1)
        assert (depth.height, depth.width) == small
        assert bench.wait_for("depth/camera_info", 1).width == 80


def test_a_failure_is_logged_with_its_stamp_and_the_next_frame_comes_out():
    with Bench(BoxModel(fail_on=[2]), outputs=("depth/image",)) as bench:
        for index in range(3):
            bench.frame(index)
            wait_until(lambda index=index: accounted(bench.counts()) == index + 1)
        bench.wait_for("depth/image", 2)
        assert [message.header.stamp for message in bench.received["depth/image"]] == [stamp_of(0), stamp_of(2)]
        assert bench.counts().dropped[statistics.FAILED] == 1
        bench.wait_for_status(ERROR, "image of 1000.100000000: RuntimeError: call 2 was to fail")


def test_a_lost_device_is_said():
    class LostDevice(BoxModel):
        def infer(self, image, memory=()):
            raise RuntimeError("CUDA error: unspecified launch failure")

    with Bench(LostDevice(), outputs=("depth/image",)) as bench:
        bench.frame(0)
        bench.wait_for_status(ERROR, "device was lost")


def test_too_many_images_are_dropped_and_counted_and_the_newest_is_served():
    model = BoxModel(seconds=0.1)
    with Bench(model, outputs=("depth/image",)) as bench:
        end = time.monotonic() + 3.0
        index = 0
        while time.monotonic() < end:
            bench.frame(index)
            index += 1
            time.sleep(0.01)
        bench.wait_for_status(WARN, "falling behind")
        bench.wait_for("depth/image", index - 1)
        counts = bench.counts()
        assert accounted(counts) == counts.received <= index
        assert counts.dropped[statistics.REPLACED] == counts.dropped_total > index / 2
        stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for m in bench.received["depth/image"]]
        assert stamps == sorted(set(stamps))
        # at worst an image waits for the one under way, then takes as long itself
        assert counts.latency_max_ms < 2.5 * counts.latency_p50_ms


def resident_mb():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) / 1000


@pytest.mark.slow
def test_ten_times_the_rate_it_can_keep_for_half_a_minute():
    """Memory stays flat, latency bounded by the frame under way, and every image is accounted for."""
    with Bench(BoxModel(seconds=0.1), outputs=("depth/image", "points")) as bench:
        begun, index, warm_mb = time.monotonic(), 0, None
        while (since := time.monotonic() - begun) < 30.0:
            bench.frame(index, picture(40 + index % 50))
            for messages in bench.received.values():
                messages.clear()
            if warm_mb is None and since > 5.0:
                warm_mb = resident_mb()
            index += 1
            time.sleep(max(0.0, begun + index / 100 - time.monotonic()))
        grown_mb = resident_mb() - warm_mb
        wait_until(lambda: accounted(bench.counts()) == bench.counts().received, what=bench.counts)
        counts = bench.counts()
        assert index >= counts.received > 1000  # what the middleware's queue overflowed with never reached the node
        assert counts.dropped[statistics.REPLACED] == counts.dropped_total > 0.8 * counts.received
        assert grown_mb < 10.0
        assert counts.latency_p90_ms < 2.5 * counts.latency_p50_ms


def test_a_camera_whose_qos_does_not_fit_is_named():
    with Bench(
        reliability=ReliabilityPolicy.BEST_EFFORT, input_reliability="reliable", outputs=("points",), start=False
    ) as bench:
        bench.start()
        bench.wait_for_status(WARN, f"QoS of the publisher on {bench.namespace}/image does not fit: RELIABILITY")


def test_a_subscriber_whose_qos_does_not_fit_is_named():
    with Bench(outputs=("depth/image",)) as bench:
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        bench.peer.create_subscription(Image, "points", lambda message: None, latched)
        bench.peer.create_subscription(Image, "semantic/image", lambda message: None, latched)
        wait_until(lambda: "semantic/image" in bench.node.streams[0].incompatible_outputs)
        bench.frame(0)
        bench.wait_for("depth/image", 0)
        bench.wait_for_status(WARN, "semantic/image does not fit: DURABILITY")


def test_no_publisher_and_no_image_are_told_apart():
    with Bench(outputs=("points",)) as bench:
        bench.wait_for_status(WARN, f"no image yet on {bench.namespace}/image, published by {bench.namespace}/peer")
        bench.peer.destroy_publisher(bench.images)
        bench.wait_for_status(WARN, f"nobody publishes {bench.namespace}/image")
        bench.ignore("points")
        bench.wait_for_status(WARN, f"nobody publishes {bench.namespace}/image, and no output has subscribers")


def test_two_publishers_of_the_images_are_named():
    with Bench(outputs=("depth/image",)) as bench:
        bench.frame(0)
        bench.wait_for("depth/image", 0)
        said = []
        bench.peer.create_subscription(Log, "/rosout", lambda line: said.append(line.msg), 100)
        other = Node("other", context=bench.contexts[1], namespace=bench.namespace)
        other.create_publisher(Image, "image", 10)
        names = f"2 publishers on {bench.namespace}/image: {bench.namespace}/other, {bench.namespace}/peer"
        bench.wait_for_status(WARN, names)
        bench.frame(1)
        bench.wait_for("depth/image", 1)
        wait_until(lambda: bench.camera()[diagnostics.PROCESSED] == "2")
        assert [line for line in said if "publishers" in line] == [
            f"camera: {names}; their images mix, so stop all but one"
        ]
        other.destroy_node()
        bench.wait_for_status(OK, "frames/s")


def test_an_image_waits_for_the_first_camera_info_only_while_one_may_come():
    with Bench(outputs=("points", "depth/image")) as bench:
        bench.image(0)
        time.sleep(0.1)
        bench.camera_info(0)
        assert bench.wait_for("points", 0).height == CAMERA[0] // 2
        assert bench.counts().latency_max_ms > 90
        bench.image(1)
        bench.wait_for("points", 1)
        assert K[0] == 120.0
