# SPDX-License-Identifier: Apache-2.0
"""Several cameras of one node: each with its own topics, tracks, K, height and parameters."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from rclpy.parameter import Parameter
from ros_bench import Bench, picture, stamp_of, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from monodvps_ros.msg import PanopticSegments
from monodvps_ros.outputs import POINT_DTYPE
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.management.parameters import undeclared

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

OK, WARN = diagnostics.OK, diagnostics.WARN


def test_two_cameras_share_a_network_and_nothing_else():
    with Bench(cameras=["front", "left"], camera="front", outputs=("panoptic/segments", "depth/image")) as bench:
        other = {"image": bench.peer.create_publisher(Image, "left/image", 10)}
        for index in (0, 1):
            bench.frame(index)
            bench.wait_for("panoptic/segments", index)
        assert bench.counts("front").processed == 2
        assert bench.counts("left").received == 0
        assert bench.model.calls == 2
        assert [stream.name for stream in bench.node.streams] == ["front", "left"]
        bench.wait_for_status(OK, f"no output is wanted, so {bench.namespace}/left/image is not subscribed to", "left")
        bench.images, bench.prefix = other["image"], "left/"
        left = []
        bench.peer.create_subscription(Image, "left/semantic/image", left.append, 10)
        wait_until(lambda: other["image"].get_subscription_count() == 1)
        bench.wait_for_status(WARN, f"no image yet on {bench.namespace}/left/image, published by", "left")
        bench.image(0, picture(10))
        wait_until(lambda: left)
        assert bench.counts("left").resets == 0
        assert bench.counts("left").processed == 1


def test_each_camera_has_its_own_tracks_and_its_own_k():
    """Frames of two cameras in turn, a car at another place in each: neither loses its track to the other."""
    with Bench(cameras=["front", "left"], camera="front", outputs=()) as bench:
        topics = {"front": 40, "left": 100}
        segments, clouds, publishers = {}, {}, {}
        for name in topics:
            segments[name], clouds[name] = [], []
            bench.peer.create_subscription(PanopticSegments, f"{name}/panoptic/segments", segments[name].append, 10)
            bench.peer.create_subscription(PointCloud2, f"{name}/points", clouds[name].append, 10)
            publishers[name] = (
                bench.peer.create_publisher(Image, f"{name}/image", 10),
                bench.peer.create_publisher(CameraInfo, f"{name}/camera_info", 10),
            )
        wait_until(lambda: all(len(stream.outputs.wanted()) == 2 for stream in bench.node.streams))
        wait_until(lambda: all(p.get_subscription_count() == 1 for pair in publishers.values() for p in pair))
        for index in range(4):
            for name, left in topics.items():
                bench.images, bench.infos = publishers[name]
                k = [120.0 if name == "front" else 60.0, 0, 79.5, 0, 110.0, 47.5, 0, 0, 1]
                bench.camera_info(index, k=k, p=[0.0] * 12)
                bench.image(index, picture(left + index))
                wait_until(lambda name=name, total=index + 1: len(segments[name]) == len(clouds[name]) == total)
        for name in topics:
            cars = [[s for s in message.segments if s.is_thing] for message in segments[name]]
            assert [len(found) for found in cars] == [1] * 4
            assert len({found[0].track_id for found in cars}) == 1
            assert bench.counts(name).resets == 0
        x = {name: np.frombuffer(clouds[name][0].data, POINT_DTYPE)["x"].reshape(48, 80) for name in topics}
        np.testing.assert_allclose(x["left"][20], 2 * x["front"][20], rtol=1e-5)
        assert bench.model.calls == 8


def heights(bench):
    return {stream.name: stream.config.pipeline.scale.camera_height_m for stream in bench.node.streams}


def test_each_camera_has_its_own_parameters_and_by_default_the_node_s():
    own = {"cameras.left.camera_height_m": 0.9, "cameras.left.compressed": True, "cameras.left.rectified": "true"}
    with Bench(cameras=["front", "left"], camera="front", outputs=(), pipeline__scale__camera_height_m=1.6,
               rectified="false", **{"cameras.right.camera_height_m": 2.0, **own}) as bench:  # fmt: skip
        front, left = (stream.config for stream in bench.node.streams)
        assert (front.compressed, front.rectified) == (False, "false")
        assert (left.compressed, left.rectified) == (True, "true")
        assert heights(bench) == {"front": 1.6, "left": 0.9}
        topics = [stream.input.image_topic for stream in bench.node.streams]
        assert topics == [f"{bench.namespace}/front/image", f"{bench.namespace}/left/image/compressed"]
        assert undeclared(bench.node, ["cameras.left.camera_height_m"]) == [
            "'cameras.right.camera_height_m' is none of this node's (is 'cameras.left.camera_height_m' meant?)"
        ]
        [changed] = bench.node.set_parameters([Parameter("cameras.front.camera_height_m", value=1.2)])
        assert changed.successful
        bench.node.set_parameters([Parameter("pipeline.scale.camera_height_m", value=3.0)])
        wait_until(lambda: heights(bench) == {"front": 1.2, "left": 0.9})
        for name, value, reason in (
            ("cameras.left.camera_height_m", 0.01, "camera_height_m is 0.01; it must be at least 0.05"),
            ("cameras.left.camera_height_m", 51.0, "out of range"),
            ("cameras.left.rectified", "false", "read-only"),
        ):
            [refused] = bench.node.set_parameters([Parameter(name, value=value)])
            assert not refused.successful and reason in refused.reason


def test_one_camera_sends_raw_images_and_the_other_compressed_ones():
    with Bench(
        cameras=["front", "left"], camera="front", outputs=("semantic/image",), **{"cameras.left.compressed": True}
    ) as bench:
        received = []
        bench.peer.create_subscription(Image, "left/semantic/image", received.append, 10)
        camera = bench.peer.create_publisher(CompressedImage, "left/image/compressed", 10)
        wait_until(lambda: camera.get_subscription_count() == 1 and bench.node.streams[1].outputs.wanted())
        message = CompressedImage(format="png")
        message.data.frombytes(cv2.imencode(".png", picture()[..., ::-1])[1].tobytes())
        message.header.stamp = stamp_of(0)
        camera.publish(message)
        bench.frame(0)
        wait_until(lambda: received)
        assert received[0].data == bench.wait_for("semantic/image", 0).data


def test_a_single_camera_has_no_parameters_of_its_own():
    with Bench(start=False) as bench:
        assert not [name for name in bench.node._parameters if name.startswith("cameras.")]
