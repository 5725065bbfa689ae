# SPDX-License-Identifier: Apache-2.0
"""What the node publishes for a frame, over real DDS, value by value."""

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_bench import CAMERA, CAR, OUTPUTS, ROAD, SKY, Bench, BoxModel, K, picture, stamp_of, wait_until
from sensor_msgs.msg import Image

from monodvps_ros.config import PipelineConfig, load
from monodvps_ros.outputs import POINT_DTYPE
from monodvps_ros.perception import Pipeline
from monodvps_ros.ros.management import diagnostics
from monodvps_ros.ros.topics import conversions
from monodvps_ros.types import CameraFrame

pytestmark = [pytest.mark.ros, pytest.mark.timeout(60)]

DTYPES = {"32FC1": "<f4", "16UC1": "<u2", "mono8": "u1", "rgb8": "u1"}
MAPS = {
    "depth/image": "depth_m",
    "panoptic/image": "panoptic",
    "panoptic/color": "color",
    "semantic/image": "semantic",
    "semantic/confidence": "confidence",
}
OK = diagnostics.OK


def pixels_of(message):
    array = np.frombuffer(message.data, DTYPES[message.encoding])
    shape = (message.height, message.width, 3) if message.encoding == "rgb8" else (message.height, message.width)
    assert message.step == message.width * array.itemsize * (3 if message.encoding == "rgb8" else 1)
    return array.reshape(shape)


def points_of(message):
    return np.frombuffer(message.data, POINT_DTYPE).reshape(message.height, message.width)


@pytest.fixture(scope="module")
def bench():
    with Bench(pipeline__cloud__stride=2, pipeline__cloud__max_range_m=30.0) as bench:
        yield bench


@pytest.fixture(scope="module")
def outputs(bench):
    bench.frame(0)
    return {topic: bench.wait_for(topic, 0) for topic in OUTPUTS}


class TestOneFrame:
    def test_every_header_is_the_image_s(self, outputs):
        for topic, message in outputs.items():
            for header in [marker.header for marker in message.markers] if topic == "markers" else [message.header]:
                assert header.stamp == stamp_of(0), topic
                assert header.frame_id == "camera_optical", topic

    @pytest.mark.parametrize(
        ("topic", "encoding"),
        [
            ("depth/image", "32FC1"),
            ("panoptic/image", "16UC1"),
            ("panoptic/color", "rgb8"),
            ("semantic/image", "mono8"),
            ("semantic/confidence", "mono8"),
        ],
    )
    def test_encodings_and_sizes(self, outputs, topic, encoding):
        assert outputs[topic].encoding == encoding
        assert (outputs[topic].height, outputs[topic].width) == CAMERA

    def test_depth_is_metres_and_nan_for_sky(self, outputs):
        depth_m = pixels_of(outputs["depth/image"])
        assert np.isnan(depth_m[:20]).all()
        assert 4.9 < np.nanmin(depth_m) < 5.5
        assert (np.diff(depth_m[40:, 10]) <= 0).all()

    def test_camera_info_fits_the_depth(self, outputs):
        info = outputs["depth/camera_info"]
        assert (info.height, info.width) == CAMERA
        assert list(info.k) == K
        assert list(info.p) == [*K[:3], 0, *K[3:6], 0, *K[6:], 0]

    def test_masks(self, outputs):
        panoptic, semantic = pixels_of(outputs["panoptic/image"]), pixels_of(outputs["semantic/image"])
        assert set(np.unique(panoptic)) == {SKY * 1000, ROAD * 1000, CAR * 1000 + 1}
        assert panoptic[60, 56] == CAR * 1000 + 1
        assert (panoptic[2, 2], panoptic[90, 2]) == (SKY * 1000, ROAD * 1000)
        np.testing.assert_array_equal(semantic, panoptic // 1000)
        confidence = pixels_of(outputs["semantic/confidence"])
        assert confidence[60, 56] == 255
        assert (confidence > 200).mean() > 0.9

    def test_segments_agree_with_the_mask(self, outputs):
        panoptic = pixels_of(outputs["panoptic/image"])
        segments = {segment.panoptic_id: segment for segment in outputs["panoptic/segments"].segments}
        assert set(segments) == set(np.unique(panoptic))
        for panoptic_id, segment in segments.items():
            rows, columns = np.nonzero(panoptic == panoptic_id)
            assert segment.area_px == len(rows)
            box = (segment.x_min, segment.y_min, segment.x_max, segment.y_max)
            assert box == (columns.min(), rows.min(), columns.max(), rows.max())
        car = segments[CAR * 1000 + 1]
        assert (car.class_id, car.class_name, car.is_thing) == (CAR, "car", True)
        assert car.track_id >= 1
        assert not segments[ROAD * 1000].is_thing

    def test_the_image_is_published_rectified_and_with_an_overlay(self, outputs):
        np.testing.assert_array_equal(pixels_of(outputs["rectified/image"]), picture())
        overlay = pixels_of(outputs["overlay"])
        assert overlay.shape == (*CAMERA, 3)
        assert (overlay[60, 56].astype(int) - picture()[60, 56]).min() < -50  # blue over the car
        np.testing.assert_array_equal(overlay[48, 44:66], 255)

    @pytest.mark.parametrize(
        ("compressed", "raw"),
        [("rectified/image/compressed", "rectified/image"), ("overlay/compressed", "overlay"),
         ("panoptic/color/compressed", "panoptic/color")],
    )  # fmt: skip
    def test_pictures_are_compressed_as_image_transport_does(self, outputs, compressed, raw):
        assert outputs[compressed].format == "rgb8; jpeg compressed bgr8"
        decoded = conversions.compressed_image_array(outputs[compressed]).astype(int)
        assert np.abs(decoded - pixels_of(outputs[raw])).mean() < 8

    def test_maps_are_compressed_as_image_transport_does(self, outputs):
        for topic, encoding in (("depth/image", "32FC1"), ("panoptic/image", "16UC1")):
            message = outputs[f"{topic}/compressedDepth"]
            assert message.format == f"{encoding}; compressedDepth png"
            data = np.frombuffer(message.data, np.uint8)
            codes = cv2.imdecode(data[12:], cv2.IMREAD_UNCHANGED)
            if encoding == "16UC1":
                np.testing.assert_array_equal(codes, pixels_of(outputs[topic]))
            else:
                a, b = data[4:12].view("<f4")
                decoded = np.where(codes > 0, a / np.where(codes > 0, codes - b, 1), np.nan)
                np.testing.assert_allclose(decoded, pixels_of(outputs[topic]), atol=0.1)

    def test_the_car_has_a_box_on_the_road(self, outputs):
        """Class, track id and distance of the one car; its box projects onto the mask's columns."""
        if "markers" not in outputs:
            pytest.skip("visualization_msgs is not installed")
        delete, cube, text = outputs["markers"].markers
        assert (delete.action, cube.action, text.action) == (delete.DELETEALL, cube.ADD, text.ADD)
        (car,) = (s for s in outputs["panoptic/segments"].segments if s.is_thing)
        assert (cube.id, text.text) == (car.track_id, f"car {car.track_id}  {car.median_depth_m:.1f} m")
        place = cube.pose.position
        assert abs(K[0] * place.x / place.z + K[2] - 55.5) < 8
        assert 0.5 * 1.55 <= cube.scale.z <= 1.5 * 1.55, "of the usual height of cars, within the limits"

    def test_detections_are_the_instances(self, outputs):
        if "detections" not in outputs:
            pytest.skip("vision_msgs is not installed")
        (car,) = (s for s in outputs["panoptic/segments"].segments if s.is_thing)
        (flat,), (solid,) = outputs["detections"].detections, outputs["detections_3d"].detections
        for found in (flat, solid):
            assert (found.id, found.results[0].hypothesis.class_id) == (str(car.track_id), "car")
            assert (found.header.stamp, found.header.frame_id) == (stamp_of(0), "camera_optical")
        assert (flat.bbox.center.position.x, flat.bbox.size_x) == (
            (car.x_min + car.x_max) / 2,
            car.x_max - car.x_min + 1,
        )
        cube = outputs["markers"].markers[1]
        assert (solid.bbox.center, solid.bbox.size) == (cube.pose, cube.scale)

    def test_the_cloud_projects_back_onto_its_pixels(self, outputs):
        message, image = outputs["points"], picture()
        assert (message.height, message.width) == (CAMERA[0] // 2, CAMERA[1] // 2)
        points = points_of(message)
        valid = np.isfinite(points["z"])
        depth_m = pixels_of(outputs["depth/image"])[::2, ::2]
        np.testing.assert_array_equal(valid, depth_m <= 30.0)
        np.testing.assert_array_equal(points["z"][valid], depth_m[valid])
        rows, columns = np.nonzero(valid)
        x, y, z = (points[axis][valid].astype(float) for axis in "xyz")
        assert abs(K[0] * x / z + K[2] - 2 * columns).max() < 0.5
        assert abs(K[4] * y / z + K[5] - 2 * rows).max() < 0.5
        colors = points["rgb"].view(np.uint32)[valid]
        expected = image[::2, ::2][valid].astype(np.uint32)
        np.testing.assert_array_equal(colors, expected[:, 0] << 16 | expected[:, 1] << 8 | expected[:, 2])
        panoptic = pixels_of(outputs["panoptic/image"])[::2, ::2][valid]
        np.testing.assert_array_equal(points["label"][valid], panoptic // 1000)
        np.testing.assert_array_equal(points["instance"][valid], panoptic % 1000)

    def test_diagnostics_say_that_all_is_well(self, bench, outputs):
        bench.frame(1)
        wait_until(lambda: bench.camera().get(diagnostics.PROCESSED) == "2")
        status = bench.camera()
        assert status["level"] == OK
        assert (status[diagnostics.RECEIVED], status[diagnostics.DROPPED], status[diagnostics.IDLE]) == ("2", "0", "0")
        assert status[diagnostics.CAMERA_INFO] == "ok"
        assert status[diagnostics.IMAGE] == "160x96 rgb8"
        assert float(status[diagnostics.LATENCY_P50]) > 0
        node = bench.node_status()
        assert (node["level"], node[diagnostics.STATE]) == (OK, "active")
        assert node[diagnostics.WEIGHTS] == "bright boxes are cars"
        assert node[diagnostics.DEVICE].startswith("c")
        assert float(node[diagnostics.START_UP_S]) > 0
        assert float(node[diagnostics.MEMORY]) > 50
        assert (diagnostics.GPU_MEMORY in node) == node[diagnostics.DEVICE].startswith("cuda")


def test_the_node_and_the_pipeline_say_the_same():
    overrides = {"scale.mode": "fixed", "grouping.min_stuff_area": 0}
    pipeline = Pipeline(BoxModel(), load(PipelineConfig, overrides=overrides))
    with Bench() as bench:
        for index, left in enumerate((40, 44, 50)):
            image = picture(left)
            expected = pipeline.step(CameraFrame(image, index, "camera_optical", np.reshape(K, (3, 3))))
            bench.frame(index, image)
            for topic, field in MAPS.items():
                published = pixels_of(bench.wait_for(topic, index))
                np.testing.assert_array_equal(published, getattr(expected, field), err_msg=topic)
            assert points_of(bench.wait_for("points", index)).tobytes() == expected.cloud.tobytes()
            tracks = [segment.track_id for segment in bench.wait_for("panoptic/segments", index).segments]
            assert sorted(tracks) == sorted(segment.track_id for segment in expected.segments)


def test_maps_of_the_network_s_size_come_with_their_own_k():
    with Bench(pipeline__output_size="network", outputs=("depth/image", "depth/camera_info")) as bench:
        bench.frame(0)
        assert (bench.wait_for("depth/image", 0).height, bench.wait_for("depth/image", 0).width) == (64, 128)
        info = bench.wait_for("depth/camera_info", 0)
        assert (info.height, info.width) == (64, 128)
        assert info.k[0] == pytest.approx(120 * 128 / 160)
        assert info.k[2] == pytest.approx(80 * 128 / 160 - 0.5)


def test_nothing_is_computed_that_nobody_wants():
    with Bench(outputs=()) as bench:
        wait_until(lambda: bench.peer.count_publishers(f"{bench.namespace}/depth/image") == 1)
        bench.wait_for_status(
            OK, f"no subscribers: no output is wanted, so {bench.namespace}/image is not subscribed to"
        )
        assert bench.node.count_subscribers(f"{bench.namespace}/image") == 0
        assert bench.node.count_subscribers(f"{bench.namespace}/camera_info") == 0
        bench.listen("semantic/image")
        wait_until(lambda: bench.images.get_subscription_count() == bench.infos.get_subscription_count() == 1)
        bench.frame(1)
        assert bench.wait_for("semantic/image", 1)
        bench.wait_for_status(OK, "frames/s")
        bench.ignore("semantic/image")
        wait_until(lambda: bench.images.get_subscription_count() == bench.infos.get_subscription_count() == 0)
        bench.wait_for_status(OK, "no subscribers")
        bench.frame(2)
        assert (bench.model.calls, bench.counts().received) == (1, 1)


@pytest.mark.parametrize(("index", "continues"), [(10, True), (50, False)])
def test_tracks_go_on_after_a_short_pause_and_begin_anew_after_a_long_one(index, continues):
    """max_gap_s is 2 s, and frames have the stamps of 10 Hz; neither is a jump of time."""
    with Bench(outputs=("panoptic/segments",)) as bench:
        tracks = []
        for each in (0, index):
            bench.frame(each)
            segments = bench.wait_for("panoptic/segments", each).segments
            tracks.append(next(segment.track_id for segment in segments if segment.is_thing))
            bench.ignore("panoptic/segments")
            wait_until(lambda: bench.images.get_subscription_count() == 0)
            bench.listen("panoptic/segments")
            wait_until(lambda: bench.images.get_subscription_count() == bench.infos.get_subscription_count() == 1)
        assert (tracks[0] == tracks[1]) == continues and tracks[0] <= tracks[1]
        assert bench.counts().resets == 0


def newest_publisher(bench):
    """None while publishers are made anew."""
    return bench.node.streams[0].outputs._publishers.get("semantic/image")


def test_publishers_are_made_anew_for_smaller_images_and_subscribers_hear_them():
    with Bench(outputs=("semantic/image",)) as bench:
        before = newest_publisher(bench)
        bench.image(0, np.zeros((1100, 1900, 3), np.uint8))
        bench.wait_for("semantic/image", 0)
        bench.image(1)
        wait_until(lambda: newest_publisher(bench) not in (None, before), what="new publishers")
        wait_until(lambda: newest_publisher(bench).get_subscription_count() == 1, what="the subscriber")
        wait_until(lambda: bench.subscriptions["semantic/image"].get_publisher_count() == 1, what="the publisher")
        assert bench.images.get_subscription_count() == 1, "it goes on to listen to the camera"
        bench.image(2)
        bench.wait_for("semantic/image", 2)


def test_after_large_images_publishers_are_made_anew_while_nobody_listens():
    with Bench(outputs=("semantic/image",)) as bench:
        for index, size in enumerate(((1100, 1900), CAMERA)):
            before = newest_publisher(bench)
            bench.image(index, np.zeros((*size, 3), np.uint8))
            assert bench.wait_for("semantic/image", index).width == size[1]
            bench.ignore("semantic/image")
            wait_until(lambda: bench.images.get_subscription_count() == 0)
            if size == CAMERA:
                assert newest_publisher(bench) is before
            else:
                wait_until(lambda old=before: newest_publisher(bench) not in (None, old), what="new publishers")
            bench.listen("semantic/image")
            wait_until(lambda: bench.images.get_subscription_count() == 1)
        bench.image(2)
        bench.wait_for("semantic/image", 2)
        assert bench.counts().dropped_total == 0


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_hears_reliable_and_best_effort_cameras(reliability):
    with Bench(reliability=reliability, outputs=("depth/image",)) as bench:
        bench.frame(0)
        bench.wait_for("depth/image", 0)
        expected = "reliable" if reliability == ReliabilityPolicy.RELIABLE else "best effort"
        wait_until(lambda: bench.camera().get(diagnostics.RELIABILITY) == expected)


def test_a_best_effort_camera_that_comes_later_is_heard_too():
    with Bench(outputs=("depth/image",)) as bench:
        bench.frame(0)
        bench.wait_for("depth/image", 0)
        wait_until(lambda: bench.camera().get(diagnostics.RELIABILITY) == "reliable")
        best_effort = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)
        bench.images = bench.peer.create_publisher(Image, "image", best_effort)
        wait_until(lambda: bench.images.get_subscription_count() == 1)
        bench.frame(1)
        bench.wait_for("depth/image", 1)
        wait_until(lambda: bench.camera().get(diagnostics.RELIABILITY) == "best effort")
        assert bench.counts().received == 2
