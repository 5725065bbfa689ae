# SPDX-License-Identifier: Apache-2.0
"""Player, recorder and the whole demo over real DDS."""

import array
import json
import os
import signal
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

import rclpy
from ament_index_python.packages import get_package_prefix
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSDurabilityPolicy, QoSProfile
from rclpy.serialization import deserialize_message
from ros_bench import wait_until
from rosbags.highlevel import AnyReader
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from monodvps_ros.data.schedule import Schedule
from monodvps_ros.demo import middleware
from monodvps_ros.demo.processes import Child
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.msg import PanopticSegment, PanopticSegments
from monodvps_ros.ros.nodes.player import CameraPublisher, PlayCount, frames_to_play, play
from monodvps_ros.ros.nodes.recorder import LARGE_QUEUE_DEPTH, MAX_DRAIN_S
from monodvps_ros.ros_environment import shipped_profile
from monodvps_ros.types import CameraFrame, Sample

pytestmark = [pytest.mark.ros, pytest.mark.timeout(300)]

MS = 1_000_000
K = np.array([[100.0, 0.0, 79.5], [0.0, 100.0, 23.5], [0.0, 0.0, 1.0]])


@pytest.fixture
def node():
    rclpy.init()
    node = Node("test_demo")
    yield node
    node.destroy_node()
    rclpy.shutdown()


@pytest.fixture
def executor(node):
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    yield executor
    executor.shutdown()


def spin_until(executor, condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.02)
    assert condition()


def samples(count, period_ms=50, intrinsics=K, size=(48, 160)):
    """Grey frames, each of a value of its own."""
    for index in range(count):
        image = np.full((*size, 3), 20 + 5 * index, np.uint8)
        image[0, 0] = (200, 100, 50)
        yield Sample(CameraFrame(image, 10**9 + index * period_ms * MS, "front_optical", intrinsics), index=index)


class Subscribers:
    """Keeps what comes on the camera's topics."""

    def __init__(self, node, image_type=Image, image_topic="image"):
        self.images, self.infos = [], []
        node.create_subscription(image_type, image_topic, self.images.append, 100)
        node.create_subscription(CameraInfo, "camera_info", self.infos.append, 100)


class TestPlayer:
    def play(self, node, executor, source, compressed=False, speed=1.0, **count):
        publisher = CameraPublisher(node, compressed)
        got = Subscribers(node, *((CompressedImage, "image/compressed") if compressed else ()))
        spin_until(executor, lambda: publisher.subscribers() == (1, 1))
        counted = PlayCount(**count)
        for _ in play(source, publisher, Schedule(20.0, speed), counted):
            executor.spin_once(timeout_sec=0)
        spin_until(executor, lambda: len(got.images) == counted.published)
        return got, counted

    def test_frames_arrive_as_they_are(self, node, executor):
        got, count = self.play(node, executor, samples(3))
        assert (count.published, count.without_camera_info) == (3, 0)
        spin_until(executor, lambda: len(got.infos) == 3)
        for index, (image, info) in enumerate(zip(got.images, got.infos, strict=True)):
            assert (image.encoding, image.height, image.width, image.step) == ("rgb8", 48, 160, 480)
            assert image.header.frame_id == info.header.frame_id == "front_optical"
            assert image.header.stamp.sec == 1 and image.header.stamp.nanosec == index * 50 * MS
            assert image.header.stamp == info.header.stamp
            pixels = np.frombuffer(image.data, np.uint8).reshape(48, 160, 3)
            assert tuple(pixels[0, 0]) == (200, 100, 50)
            assert (pixels[1:] == 20 + 5 * index).all()
            assert np.array_equal(np.reshape(info.k, (3, 3)), K)
            assert np.array_equal(np.reshape(info.p, (3, 4))[:, :3], K)
            assert (info.height, info.width) == (48, 160)

    def test_compressed_frames_decode_to_the_same_colors(self, node, executor):
        source = [Sample(CameraFrame(np.full((48, 160, 3), (200, 100, 50), np.uint8), 5, "c", K))]
        got, _ = self.play(node, executor, source, compressed=True)
        assert "jpeg" in got.images[0].format
        decoded = cv2.imdecode(np.frombuffer(got.images[0].data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        assert np.abs(decoded.astype(int) - (200, 100, 50)).max() < 4

    def test_without_k_there_is_no_camera_info(self, node, executor):
        got, count = self.play(node, executor, samples(2, intrinsics=None))
        assert (count.published, count.without_camera_info) == (2, 2)
        assert not got.infos

    def test_a_recorded_calibration_is_published_whole_and_unusable_too(self, node, executor):
        recorded = Calibration(
            96, 320, "equidistant", np.array([0.1, -0.02, 0.001, 0]), np.full((3, 3), np.nan), np.eye(3),
            np.arange(12.0).reshape(3, 4), (1, 2), (4, 8, 48, 320), True,
        )  # fmt: skip
        frame = CameraFrame(np.zeros((48, 160, 3), np.uint8), 5, "c", None, calibration=recorded)
        got, count = self.play(node, executor, [Sample(frame)])
        assert count.without_camera_info == 1
        spin_until(executor, lambda: got.infos)
        assert Calibration.from_message(got.infos[0]).content() == recorded.content()
        assert got.infos[0].roi.do_rectify and got.infos[0].header == got.images[0].header

    @pytest.mark.parametrize("speed", [1.0, 2.0])
    def test_frames_are_sent_at_the_recorded_rate(self, node, executor, speed):
        _, count = self.play(node, executor, samples(8, period_ms=100), speed=speed, sent_ns=[])
        assert [stamp for stamp, _ in count.sent_ns] == [10**9 + i * 100 * MS for i in range(8)]
        duration_ms = (count.sent_ns[-1][1] - count.sent_ns[0][1]) / MS
        assert duration_ms == pytest.approx(700 / speed, abs=150)

    def test_late_frames_are_sent_all_the_same_and_counted(self, node, executor):
        def slow():
            for sample in samples(4, period_ms=10):
                time.sleep(0.15)
                yield sample

        _, count = self.play(node, executor, slow())
        assert count.published == 4
        assert count.late == 3  # the first sets the time

    def test_stop_ends_the_playing(self, node, executor):
        publisher, count = CameraPublisher(node), PlayCount()
        for _ in play(samples(5), publisher, Schedule(20.0), count, stopped=lambda: count.published == 2):
            pass
        assert count.published == 2

    def test_limit_and_loop(self):
        class Source:
            def __iter__(self):
                return samples(3)

        assert [sample.index for sample in frames_to_play(Source(), limit=2)] == [0, 1]
        looped = frames_to_play(Source(), limit=2, loop=True)
        assert [next(looped).index for _ in range(5)] == [0, 1, 0, 1, 0]

    def test_a_single_image_is_repeated_at_its_rate(self):
        looped = frames_to_play([next(samples(1))], loop=True, rate_hz=4.0)
        stamps = [next(looped).frame.stamp_ns for _ in range(4)]
        assert [after - before for before, after in pairwise(stamps)] == [250_000_000] * 3


class TestPlayCommand:
    def test_a_folder_is_played_to_its_end_in_a_namespace(self, node, executor, tmp_path):
        (tmp_path / "image").mkdir()
        for sample in samples(5):
            cv2.imwrite(str(tmp_path / "image" / f"{sample.index}.png"), sample.frame.image[..., ::-1])
        camera = {"width": 160, "height": 48, "rate_hz": 10, "K": K.ravel().tolist()}
        (tmp_path / "camera.json").write_text(json.dumps(camera))
        got = Subscribers(node, image_topic="front/image")
        infos = []
        node.create_subscription(CameraInfo, "front/camera_info", infos.append, 10)
        command = [sys.executable, "-m", "monodvps_ros.cli.main", "play", str(tmp_path), "--namespace", "front"]
        with Child("play", [*command, "--rate", "4", "--frames", "3"], tmp_path / "log") as child:
            spin_until(executor, lambda: len(got.images) == 3 == len(infos), 60.0)
            assert child.wait(30) == 0
        assert "3 frames published" in child.last_lines()
        assert [image.data[-1] for image in got.images] == [20, 25, 30]
        assert not got.infos


def recorder(tmp_path, *topics):
    program = Path(get_package_prefix("monodvps_ros")) / "lib" / "monodvps_ros" / "recorder"
    command = [str(program), *topics, "--out", str(tmp_path / "bag"), "--events"]
    return Child("recorder", command, tmp_path / "log", events=True)


def read(folder):
    with AnyReader([folder]) as reader:
        return [(c.topic, c.msgtype, reader.deserialize(raw, c.msgtype), raw) for c, _, raw in reader.messages()]


def counts_of(child):
    return (child.latest("counts") or {"counts": {"": 0}})["counts"]


class TestRecorder:
    @pytest.mark.parametrize("ending", ["signal", "end of stdin"])
    def test_bytes_are_kept_and_the_tail_too(self, node, tmp_path, ending):
        segments = node.create_publisher(PanopticSegments, "segments", 100)
        images = node.create_publisher(Image, "image", 100)
        with recorder(tmp_path, "segments", "image") as child:
            end = time.monotonic() + 60
            while child.latest("ready") is None and child.exit_code is None and time.monotonic() < end:
                time.sleep(0.05)
            assert child.latest("ready") is not None, child.last_lines()
            sent = []
            for index in range(50):
                header = Header(frame_id=f"frame {index}")
                sent.append(
                    PanopticSegments(header=header, segments=[PanopticSegment(track_id=index, class_name="car")])
                )
                segments.publish(sent[-1])
                if index < LARGE_QUEUE_DEPTH:  # more at once are not kept of a topic of images
                    images.publish(Image(header=header, height=1, width=1, encoding="mono8", step=1, data=[index]))
            if ending == "signal":
                os.kill(child.pid, signal.SIGINT)
            else:
                child._process.stdin.close()  # as the death of its parent does
            assert child.wait(30) == 0, child.last_lines()
            assert child.latest("stopped")["counts"] == {"/segments": 50, "/image": LARGE_QUEUE_DEPTH}
        recorded = read(tmp_path / "bag")
        mine = [(message, raw) for topic, _, message, raw in recorded if topic == "/segments"]
        assert [message.segments[0].track_id for message, _ in mine] == list(range(50))
        assert [deserialize_message(bytes(raw), PanopticSegments) for _, raw in mine] == sent
        assert [message.data[0] for topic, _, message, _ in recorded if topic == "/image"] == [
            *range(LARGE_QUEUE_DEPTH)
        ]

    def test_a_launch_that_ends_need_not_wait_for_topics_that_never_fall_silent(self, node, tmp_path):
        ticks, ended = node.create_publisher(Header, "ticks", 10), threading.Event()

        def tick():
            while not ended.wait(0.05):
                ticks.publish(Header(frame_id="tick"))

        thread = threading.Thread(target=tick)
        thread.start()
        try:
            with recorder(tmp_path, "ticks") as child:
                end = time.monotonic() + 60
                while child.latest("counts") is None and time.monotonic() < end:
                    time.sleep(0.05)
                begun = time.monotonic()
                os.kill(child.pid, signal.SIGINT)
                os.kill(child.pid, signal.SIGTERM)
                assert child.wait(30) == 0, child.last_lines()
                assert time.monotonic() - begun < MAX_DRAIN_S
        finally:
            ended.set()
            thread.join()
        assert {message.frame_id for _, _, message, _ in read(tmp_path / "bag")} == {"tick"}

    def test_people_are_told_on_stderr_what_it_waits_for_with_events_too(self, tmp_path):
        program = (
            "from monodvps_ros.ros.nodes import recorder; recorder.TELL_MISSING_AFTER_S = 0.1; "
            "from monodvps_ros.ros.executables.recorder import main; main()"
        )
        command = [sys.executable, "-c", program, "nobody", "--events", "--out", str(tmp_path / "bag")]
        with Child("recorder", command, tmp_path / "log", events=True) as child:
            wait_until(lambda: child.latest("waiting") is not None, 60.0, child.last_lines)
            assert child.latest("waiting")["missing"] == ["/nobody"]
            assert "recorder: waiting for a publisher of /nobody" in child.last_lines()

    def test_latched_topics_are_recorded_though_they_were_published_before(self, node, tmp_path):
        qos = QoSProfile(depth=1, durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)
        node.create_publisher(Header, "label_info", qos).publish(Header(frame_id="early"))
        with recorder(tmp_path, "label_info") as child:
            end = time.monotonic() + 60
            while child.latest("counts") is None and time.monotonic() < end:
                time.sleep(0.05)
        assert [message.frame_id for _, _, message, _ in read(tmp_path / "bag")] == ["early"]

    @pytest.mark.slow
    def test_colours_depth_and_cloud_of_a_1080p_camera_take_less_than_160_mb(self, node, tmp_path):
        """Each burst is sent when the one before is written, so that nothing of it depends on the machine's load."""
        topics, noise = ("depth", "color", "ids", "points"), np.random.default_rng(0)
        sizes_mb = dict(zip(topics, (8, 6, 4, 12), strict=True))
        publishers = {topic: node.create_publisher(Image, topic, 5) for topic in topics}
        messages = {
            topic: Image(data=array.array("B", noise.integers(0, 64, size * 1_000_000, np.uint8).tobytes()))
            for topic, size in sizes_mb.items()
        }
        with recorder(tmp_path, *topics) as child:
            wait_until(lambda: child.latest("ready") is not None, 60.0, child.last_lines)
            for count in (1, 2, 3):
                for topic, publisher in publishers.items():
                    publisher.publish(messages[topic])
                wait_until(lambda n=count: set(counts_of(child).values()) == {n}, 60.0, lambda: counts_of(child))
            status = Path(f"/proc/{child.pid}/status").read_text().splitlines()
            (peak_kb,) = (int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        assert peak_kb < 160_000  # of 125 MB

    def test_an_existing_bag_is_refused_with_one_line(self, tmp_path):
        (tmp_path / "bag").mkdir()
        with recorder(tmp_path, "image") as child:
            assert child.wait(60) == 2
        assert child.last_lines().startswith("recorder: ")
        assert "\n" not in child.last_lines()


class TestEnvironment:
    def test_what_the_user_set_is_left_alone(self, monkeypatch):
        for name in ("ROS_LOCALHOST_ONLY", "ROS_AUTOMATIC_DISCOVERY_RANGE", "FASTRTPS_DEFAULT_PROFILES_FILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("ROS_DOMAIN_ID", "7")
        monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "mine.xml")
        assert middleware.environment(lambda: Path("ours.xml")) == {"ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}

    def test_what_is_not_set_is_filled_in(self, monkeypatch):
        names = ("ROS_DOMAIN_ID", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_LOCALHOST_ONLY",
                 "FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  # fmt: skip
        for name in names:
            monkeypatch.delenv(name, raising=False)
        settings = middleware.environment(lambda: Path("ours.xml"))
        assert 1 <= int(settings["ROS_DOMAIN_ID"]) <= middleware.HIGHEST_DOMAIN
        assert settings["FASTDDS_DEFAULT_PROFILES_FILE"] == "ours.xml"

    def test_the_domain_of_this_process_is_not_free(self, node):
        assert not middleware._is_free(int(os.environ["ROS_DOMAIN_ID"]))
        assert middleware.free_domain() != int(os.environ["ROS_DOMAIN_ID"])

    def test_the_profile_ships(self):
        assert shipped_profile().is_file()
