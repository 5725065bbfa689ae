# SPDX-License-Identifier: Apache-2.0
"""Messages to arrays and back, byte for byte."""

import struct
import tracemalloc

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from monodvps_ros.data.image_codec import PICTURE_ENCODINGS
from monodvps_ros.data.message_fields import scale_fields, segments_fields
from monodvps_ros.errors import EncodingError, ShapeError
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.msg import DepthScale, PanopticSegments
from monodvps_ros.outputs import POINT_DTYPE, ScaleEstimate, ScaleState, Segment
from monodvps_ros.ros.topics import conversions

pytestmark = pytest.mark.ros

HEADER = Header(stamp=Time(sec=12, nanosec=345), frame_id="camera_optical")
UNKNOWN = ScaleEstimate(1.0, 0.0, ScaleState.UNKNOWN, problem="no road")


def image(encoding, data, size, step, is_bigendian=0):
    message = Image(encoding=encoding, height=size[0], width=size[1], step=step, is_bigendian=is_bigendian)
    message.data.frombytes(bytes(data))
    return message


@pytest.mark.parametrize("stamp_ns", [0, 1, 12_000_000_345, 1_795_364_229_576_021_722, -1, -1_500_000_000])
def test_stamps_go_both_ways(stamp_ns):
    stamp = conversions.stamp_from_ns(stamp_ns)
    assert 0 <= stamp.nanosec < 1_000_000_000
    assert conversions.stamp_to_ns(stamp) == stamp_ns


def bytes_per_pixel(encoding):
    """Of a row of an image; nv12 and nv21 have more rows below."""
    if encoding in {"8UC1", "nv12", "nv21"} or (encoding.startswith(("mono", "bayer")) and encoding.endswith("8")):
        return 1
    return {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}.get(encoding, 2)


class TestImagesIn:
    def test_rgb8_is_a_view_of_the_message(self):
        message = image("rgb8", range(24), (2, 4), 12)
        array = conversions.image_array(message)
        assert array[1, 3].tolist() == [21, 22, 23]
        message.data[0] = 99
        assert array[0, 0, 0] == 99

    def test_rows_may_be_padded(self):
        array = conversions.image_array(image("rgb8", range(20), (2, 3), 10))
        assert array[1].tolist() == [[10, 11, 12], [13, 14, 15], [16, 17, 18]]

    @pytest.mark.parametrize(
        ("encoding", "data", "expected"),
        [
            ("rgb8", [1, 2, 3], [1, 2, 3]),
            ("bgr8", [1, 2, 3], [3, 2, 1]),
            ("rgba8", [1, 2, 3, 200], [1, 2, 3]),
            ("bgra8", [1, 2, 3, 200], [3, 2, 1]),
            ("mono8", [7], [7, 7, 7]),
            ("mono16", [0xFF, 0x80], [128, 128, 128]),
        ],
    )
    def test_orders_of_colours(self, encoding, data, expected):
        array = conversions.image_array(image(encoding, data * 4, (2, 2), 2 * len(data)))
        assert array.tolist() == [[expected, expected]] * 2

    def test_mono16_heeds_the_order_of_bytes(self):
        array = conversions.image_array(image("mono16", [0x80, 0xFF] * 4, (2, 2), 4, is_bigendian=1))
        assert array[0, 0].tolist() == [128, 128, 128]

    @pytest.mark.parametrize("encoding", PICTURE_ENCODINGS)
    def test_every_accepted_encoding_gives_a_grey_picture_as_grey(self, encoding):
        """128 in every byte is grey in every layout: half brightness, and no colour in YUV."""
        per_pixel = bytes_per_pixel(encoding)
        rows = 9 if encoding.startswith("nv") else 6
        array = conversions.image_array(image(encoding, [128] * (8 * rows * per_pixel), (6, 8), 8 * per_pixel))
        assert array.shape == (6, 8, 3)
        assert array.dtype == np.uint8
        assert abs(array.astype(int) - 128).max() <= 3  # limited range: (128 - 16) * 255 / 219 = 130.4

    @pytest.mark.parametrize("encoding", ["32FC1", "16UC1", "8UC3", "32SC1", "nv24", "jpeg", "", "RGB8"])
    def test_any_other_encoding_is_refused_by_name(self, encoding):
        with pytest.raises(EncodingError, match=f"'{encoding}'"):
            conversions.image_array(image(encoding, [0] * 64, (2, 2), 16))

    @pytest.mark.parametrize(
        ("size", "step", "length"),
        [((2, 4), 12, 23), ((2, 4), 11, 22), ((0, 4), 12, 0), ((2, 0), 0, 0), ((2, 4), 12, 0)],
    )
    def test_a_damaged_layout_is_refused(self, size, step, length):
        with pytest.raises(EncodingError):
            conversions.image_array(image("rgb8", [0] * length, size, step))

    @pytest.mark.parametrize("extension", ["png", "jpg"])
    def test_compressed(self, extension):
        picture = np.zeros((40, 60, 3), np.uint8)
        picture[:, :30] = (250, 10, 20)
        data = cv2.imencode(f".{extension}", picture[..., ::-1])[1]
        message = CompressedImage(format=f"rgb8; {extension} compressed bgr8")
        message.data.frombytes(data.tobytes())
        array = conversions.compressed_image_array(message)
        assert abs(array.astype(int) - picture).mean() < 2.0
        assert abs(array[20, 10].astype(int) - (250, 10, 20)).max() < 6

    def test_compressed_rubbish_is_refused(self):
        message = CompressedImage(format="jpeg")
        message.data.frombytes(b"no picture")
        with pytest.raises(EncodingError):
            conversions.compressed_image_array(message)


class TestImagesOut:
    @pytest.mark.parametrize(
        ("encoding", "pixels"),
        [
            ("32FC1", np.array([[1.5, np.nan, 3.0]], np.float32)),
            ("16UC1", np.array([[0, 13001, 65535]], np.uint16)),
            ("mono8", np.array([[0, 7, 255]], np.uint8)),
            ("rgb8", np.arange(9, dtype=np.uint8).reshape(1, 3, 3)),
        ],
    )
    def test_every_published_encoding(self, encoding, pixels):
        message = conversions.image_message(pixels, encoding, HEADER)
        assert message.header == HEADER
        assert (message.height, message.width, message.encoding) == (1, 3, encoding)
        assert message.step * message.height == len(message.data)
        assert message.is_bigendian == 0
        assert bytes(message.data) == pixels.tobytes()
        assert deserialize_message(serialize_message(message), Image) == message

    def test_a_part_of_a_larger_array(self):
        pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)[1:4, 2:5]
        message = conversions.image_message(pixels, "mono8", HEADER)
        assert list(message.data) == [10, 11, 12, 18, 19, 20, 26, 27, 28]

    def test_a_message_may_be_filled_again(self):
        message = conversions.image_message(np.zeros((2, 3), np.uint8), "mono8", HEADER)
        data = message.data
        pixels = np.arange(6, dtype=np.uint8).reshape(3, 2)
        other = Header(frame_id="other")
        assert conversions.image_message(pixels, "mono8", other, message) is message
        assert message == conversions.image_message(pixels, "mono8", other)
        assert message.data is data
        larger = np.arange(8, dtype=np.float32).reshape(2, 4)
        conversions.image_message(larger, "32FC1", HEADER, message)
        assert message == conversions.image_message(larger, "32FC1", HEADER)

    def test_wrong_pixels_are_refused(self):
        with pytest.raises(EncodingError, match="'bayer_rggb8'"):
            conversions.image_message(np.zeros((2, 2), np.uint8), "bayer_rggb8", HEADER)
        with pytest.raises(EncodingError, match="must be float32 but are float64"):
            conversions.image_message(np.zeros((2, 2)), "32FC1", HEADER)
        with pytest.raises(EncodingError, match=r"must be \(H, W, 3\) but are \(2, 2\)"):
            conversions.image_message(np.zeros((2, 2), np.uint8), "rgb8", HEADER)

    def test_camera_info(self):
        k = np.array([[450.0, 0, 310], [0, 460, 235], [0, 0, 1]])
        message = conversions.camera_info_message(Calibration.of_pinhole(k, (480, 640)), HEADER)
        assert (message.height, message.width, message.header) == (480, 640, HEADER)
        assert list(message.k) == [450, 0, 310, 0, 460, 235, 0, 0, 1]
        assert list(message.p) == [450, 0, 310, 0, 0, 460, 235, 0, 0, 0, 1, 0]
        assert list(message.r) == [1, 0, 0, 0, 1, 0, 0, 0, 1]
        assert list(message.d) == [0] * 5
        assert message.distortion_model == "plumb_bob"

    def test_camera_info_refuses_another_shape(self):
        with pytest.raises(ShapeError):
            conversions.camera_info_message(Calibration.of_pinhole(np.eye(4), (480, 640)), HEADER)


class TestCloud:
    POINTS = ((1.0, 2.0, 3.0, 0x00FF8040, 13, 1), (-1.0, 0.5, 10.0, 0x00010203, 0, 0))

    def points(self):
        array = np.zeros(2, POINT_DTYPE)
        for index, (x, y, z, color, label, instance) in enumerate(self.POINTS):
            array[index] = (x, y, z, 0, label, instance)
            array["rgb"].view(np.uint32)[index] = color
        return array

    def test_bytes_of_a_hand_made_cloud(self):
        message = conversions.cloud_message(self.points().reshape(1, 2), HEADER)
        assert bytes(message.data) == b"".join(struct.pack("<fffIII", *point) for point in self.POINTS)
        assert message.header == HEADER
        assert (message.height, message.width, message.point_step, message.row_step) == (1, 2, 24, 48)
        assert not message.is_bigendian
        assert not message.is_dense
        floating, whole = PointField.FLOAT32, PointField.UINT32
        assert [(field.name, field.offset, field.datatype, field.count) for field in message.fields] == [
            ("x", 0, floating, 1),
            ("y", 4, floating, 1),
            ("z", 8, floating, 1),
            ("rgb", 12, floating, 1),
            ("label", 16, whole, 1),
            ("instance", 20, whole, 1),
        ]
        assert deserialize_message(serialize_message(message), PointCloud2) == message

    def test_organized_is_rows_by_columns(self):
        message = conversions.cloud_message(np.zeros((3, 5), POINT_DTYPE), HEADER)
        assert (message.height, message.width, message.row_step) == (3, 5, 120)
        assert len(message.data) == 360

    def test_a_list_of_points_is_dense(self):
        message = conversions.cloud_message(self.points(), HEADER)
        assert (message.height, message.width, message.is_dense) == (1, 2, True)

    def test_a_message_may_be_filled_again(self):
        message = conversions.cloud_message(np.zeros((3, 5), POINT_DTYPE), HEADER)
        for points in (self.points(), self.points()[::-1], np.zeros((1, 2), POINT_DTYPE)):
            assert conversions.cloud_message(points, HEADER, message) is message
            assert message == conversions.cloud_message(points, HEADER)

    def test_no_point_at_all(self):
        message = conversions.cloud_message(np.zeros(0, POINT_DTYPE), HEADER)
        assert (message.height, message.width, len(message.data)) == (1, 0, 0)

    def test_wrong_arrays_are_refused(self):
        with pytest.raises(EncodingError, match="POINT_DTYPE"):
            conversions.cloud_message(np.zeros((2, 2)), HEADER)
        with pytest.raises(ShapeError):
            conversions.cloud_message(np.zeros((2, 2, 2), POINT_DTYPE), HEADER)


def test_segments():
    nan = float("nan")
    thing = Segment(13001, 7, 13, "car", True, 0.75, 120, (3, 4, 12, 15), 8.5, (1.0, -0.5, 8.0), 4)
    stuff = Segment(0, 0, 0, "road", False, 0.5, 900, (0, 20, 63, 47), nan, (nan, nan, nan), 0)
    fields = segments_fields((thing, stuff), ScaleEstimate(2.0, 0.5, ScaleState.ROAD))
    message = conversions.make_message(PanopticSegments, fields, HEADER)
    assert (message.scale_state, message.scale_confidence) == (DepthScale.ROAD, 0.5)
    assert message.header == HEADER
    first, second = message.segments
    assert (first.panoptic_id, first.track_id, first.class_id, first.class_name) == (13001, 7, 13, "car")
    assert (first.is_thing, first.score, first.area_px, first.age_frames) == (True, 0.75, 120, 4)
    assert (first.x_min, first.y_min, first.x_max, first.y_max) == (3, 4, 12, 15)
    assert (first.median_depth_m, first.centroid_m.x, first.centroid_m.y, first.centroid_m.z) == (8.5, 1.0, -0.5, 8.0)
    assert (second.is_thing, second.track_id) == (False, 0)
    assert np.isnan([second.median_depth_m, second.centroid_m.x, second.centroid_m.z]).all()
    assert conversions.make_message(PanopticSegments, segments_fields((), UNKNOWN), HEADER).segments == []


def test_scale():
    known = conversions.make_message(DepthScale, scale_fields(ScaleEstimate(2.5, 0.5, ScaleState.ROAD)), HEADER)
    assert (known.header, known.state, known.factor, known.confidence, known.problem) == (HEADER, "road", 2.5, 0.5, "")
    unknown = conversions.make_message(DepthScale, scale_fields(UNKNOWN), HEADER)
    assert (unknown.state, unknown.confidence, unknown.problem) == (DepthScale.UNKNOWN, 0.0, "no road")
    assert np.isnan(unknown.factor)
    states = (DepthScale.METRIC, DepthScale.ROAD, DepthScale.FIXED, DepthScale.UNKNOWN)
    assert tuple(state.value for state in ScaleState) == states


def peak_bytes(call):
    """Most memory that a call held at once beyond what there was before; arrays of numpy and cv2 are counted too."""
    kept = call()  # whatever is made once
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        again = call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        del kept, again


class TestCopies:
    """At most one copy of an image, either way: what is held at most is the result itself."""

    SIZE = (480, 640)
    SLACK = 20_000

    @pytest.mark.parametrize("encoding", PICTURE_ENCODINGS)
    def test_in(self, encoding):
        height, width = self.SIZE
        per_pixel = bytes_per_pixel(encoding)
        rows = height * 3 // 2 if encoding.startswith("nv") else height
        message = image(encoding, bytes(rows * width * per_pixel), self.SIZE, width * per_pixel)
        result = 0 if encoding == "rgb8" else 3 * height * width
        scaled = height * width if encoding.endswith("16") else 0  # 16 bits are brought to 8 first, in one channel
        assert peak_bytes(lambda: conversions.image_array(message)) <= result + scaled + self.SLACK

    @pytest.mark.parametrize(("encoding", "shape", "dtype"), [("rgb8", (*SIZE, 3), "u1"), ("32FC1", SIZE, "f4")])
    def test_out(self, encoding, shape, dtype):
        """A new message's array reserves a sixteenth more than it needs."""
        pixels = np.zeros(shape, dtype)
        assert peak_bytes(lambda: conversions.image_message(pixels, encoding, HEADER)) < 1.1 * pixels.nbytes
        last = conversions.image_message(pixels, encoding, HEADER)
        assert peak_bytes(lambda: conversions.image_message(pixels, encoding, HEADER, last)) <= self.SLACK

    def test_clouds_out(self):
        points = np.zeros(self.SIZE, POINT_DTYPE)
        assert peak_bytes(lambda: conversions.cloud_message(points, HEADER)) < 1.1 * points.nbytes
        last = conversions.cloud_message(points, HEADER)
        assert peak_bytes(lambda: conversions.cloud_message(points, HEADER, last)) <= self.SLACK
