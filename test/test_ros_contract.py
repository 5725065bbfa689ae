# SPDX-License-Identifier: Apache-2.0
"""Our conversions and pairings against those of the ROS distribution, where these are installed: the same answers."""

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from builtin_interfaces.msg import Time
from pairing_contract import PairingContract
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from monodvps_ros.data.image_codec import PICTURE_ENCODINGS
from monodvps_ros.data.stamp_pairing import DictPairing
from monodvps_ros.outputs import POINT_DTYPE
from monodvps_ros.ros.topics import conversions, filter_pairing

pytestmark = pytest.mark.ros

HEADER = Header(stamp=Time(sec=3, nanosec=7), frame_id="camera")
SHAPE = (6, 10)


def cloud(shape):
    random = np.random.default_rng(0)
    points = np.zeros(shape, POINT_DTYPE)
    for axis in "xyz":
        points[axis] = random.uniform(-5, 5, shape)
    points["rgb"].view(np.uint32)[:] = random.integers(0, 1 << 24, shape)
    points["label"], points["instance"] = random.integers(0, 19, shape), random.integers(0, 999, shape)
    return points


@pytest.fixture(scope="module")
def bridge():
    return pytest.importorskip("cv_bridge").CvBridge()


@pytest.fixture(scope="module")
def point_cloud2():
    return pytest.importorskip("sensor_msgs_py.point_cloud2")


class TestCvBridge:
    @pytest.mark.parametrize("encoding", PICTURE_ENCODINGS)
    def test_reads_what_we_read(self, bridge, encoding):
        bytes_per_pixel = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4}.get(
            encoding, 1 if encoding.startswith(("mono8", "bayer")) and encoding.endswith("8") else 2
        )
        pixels = np.random.default_rng(1).integers(0, 256, (*SHAPE, bytes_per_pixel), np.uint8)
        message = Image(height=SHAPE[0], width=SHAPE[1], encoding=encoding, step=SHAPE[1] * bytes_per_pixel)
        message.data.frombytes(pixels.tobytes())
        try:
            theirs = bridge.imgmsg_to_cv2(message, "rgb8")
        except ImportError:
            pytest.skip("the compiled part of cv_bridge is not there or does not load")
        except TypeError as error:  # its CvBridgeError
            if encoding not in ("uyvy", "yuyv"):
                raise
            pytest.skip(f"newer names of yuv422 and yuv422_yuy2, which this cv_bridge does not know: {error}")
        difference = np.abs(conversions.image_array(message).astype(int) - theirs)
        # ours scales 16 bits before it interpolates, theirs after: one rounding more or less
        assert difference.max() <= (1 if encoding.startswith("bayer") and encoding.endswith("16") else 0)

    @pytest.mark.parametrize(
        ("encoding", "dtype", "channels"),
        [("32FC1", "f4", 1), ("16UC1", "u2", 1), ("mono8", "u1", 1), ("rgb8", "u1", 3)],
    )
    def test_reads_what_we_publish(self, bridge, encoding, dtype, channels):
        shape = SHAPE if channels == 1 else (*SHAPE, channels)
        pixels = np.random.default_rng(2).integers(0, 256, shape).astype(dtype)
        message = conversions.image_message(pixels, encoding, HEADER)
        try:
            theirs = bridge.imgmsg_to_cv2(message, "passthrough")
        except ImportError:
            pytest.skip("the compiled part of cv_bridge is not there or does not load")
        np.testing.assert_array_equal(theirs, pixels)


class TestPointCloud2:
    @pytest.mark.parametrize("shape", [(20,), (4, 5)])
    def test_reads_what_we_publish(self, point_cloud2, shape):
        points = cloud(shape)
        theirs = point_cloud2.read_points(conversions.cloud_message(points, HEADER), skip_nans=False)
        for name in POINT_DTYPE.names:
            np.testing.assert_array_equal(theirs[name].view(np.uint32), points[name].ravel().view(np.uint32))

    def test_writes_the_bytes_that_we_write(self, point_cloud2):
        ours = conversions.cloud_message(cloud((20,)), HEADER)
        theirs = point_cloud2.create_cloud(HEADER, ours.fields, cloud((20,)))
        for name in ("header", "height", "width", "fields", "is_bigendian", "point_step", "row_step", "data"):
            assert getattr(ours, name) == getattr(theirs, name), name


@pytest.mark.skipif(filter_pairing.TimeSynchronizer is None, reason="message_filters is not installed")
class TestFilterPairing(PairingContract):
    make = filter_pairing.FilterPairing

    def test_is_what_the_node_takes_where_it_is_installed(self):
        assert isinstance(filter_pairing.exact_pairing(), filter_pairing.FilterPairing)

    @pytest.mark.parametrize("seed", range(20))
    def test_pairs_as_ours_does(self, seed):
        """Whatever comes: lost messages, repeated ones, jumps back, either side ahead of the other."""
        random = np.random.default_rng(seed)
        theirs, ours = self.make(), DictPairing()
        stamps = {"image": 0, "info": 0}
        paired = 0
        for index in range(400):
            behind, ahead = sorted(stamps, key=stamps.__getitem__)
            side = behind if random.random() < 0.8 else ahead
            stamps[side] += int(random.choice([0, 1, 1, 1, 1, 2, 3]))
            if random.random() < 0.02:
                stamps = dict.fromkeys(stamps, 0)  # each side jumps back with its next message
            answers = [
                pairing.add_image(stamps[side], index) if side == "image" else pairing.add_info(stamps[side], index)
                for pairing in (theirs, ours)
            ]
            assert answers[0] == answers[1]
            paired += (answers[0][0] if side == "image" else answers[0]) is not None
        assert paired > 40
        assert theirs.clear_images() == ours.clear_images()

    def test_a_stamp_that_it_cannot_take_costs_that_image_alone(self):
        pairing = self.make()
        assert pairing.add_info(-5, "info") is None
        assert pairing.add_image(-5, "image") == (None, 1)
        pairing.add_info(1, "info")
        assert pairing.add_image(1, "image") == (("image", "info"), 0)


def test_the_node_pairs_by_itself_where_message_filters_is_not_installed(monkeypatch):
    monkeypatch.setattr(filter_pairing, "TimeSynchronizer", None)
    assert isinstance(filter_pairing.exact_pairing(), DictPairing)
