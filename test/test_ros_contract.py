# SPDX-License-Identifier: Apache-2.0
"""Our conversions and pairing against those of the ROS distribution, where these are installed."""

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("monodvps_ros.msg")

from builtin_interfaces.msg import Time
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from monodvps_ros.ros import conversions
from monodvps_ros.ros.pairing import ExactPairing
from monodvps_ros.types import POINT_DTYPE

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


@pytest.fixture(scope="module")
def message_filters():
    return pytest.importorskip("message_filters")


class TestCvBridge:
    @pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8", "mono8"])
    def test_reads_what_we_read(self, bridge, encoding):
        channels = {"rgb8": 3, "bgr8": 3, "mono8": 1}.get(encoding, 4)
        pixels = np.random.default_rng(1).integers(0, 256, (*SHAPE, channels), np.uint8)
        message = Image(height=SHAPE[0], width=SHAPE[1], encoding=encoding, step=SHAPE[1] * channels)
        message.data.frombytes(pixels.tobytes())
        try:
            theirs = bridge.imgmsg_to_cv2(message, "rgb8")
        except ImportError:
            pytest.skip("the compiled part of cv_bridge is not there or does not load")
        np.testing.assert_array_equal(conversions.image_array(message), theirs)

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


class TestMessageFilters:
    def pairs(self, message_filters, images, infos):
        """Stamps that each side pairs, of messages (stamp, is it an image) in the order of their arrival."""
        theirs, filters = [], [message_filters.SimpleFilter(), message_filters.SimpleFilter()]
        synchronizer = message_filters.TimeSynchronizer(filters, 10)
        synchronizer.registerCallback(lambda image, info: theirs.append(image.header.stamp.nanosec))
        ours, pairing = [], ExactPairing()
        for stamp in range(max(images + infos) + 1):
            for side, stamps in enumerate((infos, images)):
                if stamp not in stamps:
                    continue
                filters[1 - side].signalMessage(Image(header=Header(stamp=Time(nanosec=stamp))))
                pair = pairing.add_image(stamp, stamp)[0] if side else pairing.add_info(stamp, stamp)
                ours += [pair[0]] if pair else []
        return ours, theirs

    def test_pair_alike_while_time_goes_on(self, message_filters):
        ours, theirs = self.pairs(message_filters, [0, 1, 2, 4, 5, 7, 8], [0, 2, 3, 4, 6, 7, 8])
        assert ours == theirs == [0, 2, 4, 7, 8]
