# SPDX-License-Identifier: Apache-2.0
"""The stages of the way of a frame that are ROS messages: decode, pack and publish, each beside the usual way.

Ours are the calls that the node makes: an image from the camera is bgr8, and what is published reuses the message of
the previous frame.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import rclpy
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import Header

from monodvps_ros.benchmark.stages import BenchmarkFrame, Stage
from monodvps_ros.outputs import POINT_DTYPE
from monodvps_ros.ros.topics.conversions import cloud_message, image_array, image_message


@contextmanager
def message_stages(frame: BenchmarkFrame) -> Iterator[list[Stage]]:
    """Yield the stages; a node and its publisher live as long as the context."""
    with rclpy.init():
        node = rclpy.create_node("monodvps_benchmark")
        publisher = node.create_publisher(Image, "benchmark", 1)
        try:
            yield [_decode(frame), _pack(frame), _publish(frame, publisher)]
        finally:
            node.destroy_node()


def _decode(frame: BenchmarkFrame) -> Stage:
    message = image_message(frame.image, "rgb8", Header())
    message.encoding = "bgr8"
    usual, name = _usual_decode(message)
    return Stage("decode", lambda: image_array(message), usual, name)


def _usual_decode(message: Image) -> tuple[Callable[[], Any], str]:
    try:
        from cv_bridge import CvBridge  # noqa: PLC0415 (only where it is installed)
    except ImportError:

        def naive() -> Any:
            pixels = np.array(message.data, np.uint8).reshape(message.height, message.width, 3)
            return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)

        return naive, "copy of the data, then to RGB (cv_bridge is not installed)"
    bridge = CvBridge()

    def through_bridge() -> Any:
        return cv2.cvtColor(bridge.imgmsg_to_cv2(message, "bgr8"), cv2.COLOR_BGR2RGB)

    return through_bridge, "cv_bridge to bgr8, then cv2 to RGB"


def _points(frame: BenchmarkFrame) -> NDArray[Any]:
    """Every pixel of the image as a point: the whole cloud, not strided."""
    height, width = frame.plan.camera_size
    points = np.zeros((height, width), POINT_DTYPE)
    generator = np.random.default_rng(1)
    for name in ("x", "y", "z"):
        points[name] = generator.random((height, width), np.float32)
    points["label"] = 13
    points["instance"] = 7
    return points


def _pack(frame: BenchmarkFrame) -> Stage:
    points = _points(frame)
    last = cloud_message(points, Header())
    usual, name = _usual_pack(points, list(last.fields))
    return Stage("pack", lambda: cloud_message(points, Header(), last), usual, name)


def _usual_pack(points: NDArray[Any], fields: list[PointField]) -> tuple[Callable[[], PointCloud2], str]:
    flat = points.reshape(-1)
    try:
        from sensor_msgs_py.point_cloud2 import create_cloud  # noqa: PLC0415 (only where it is installed)
    except ImportError:

        def naive() -> PointCloud2:
            columns = [flat[name].astype(np.float32) for name in ("x", "y", "z", "rgb")]
            labels = [flat[name].astype(np.uint32).view(np.float32) for name in ("label", "instance")]
            data = np.stack(columns + labels, 1).astype(np.float32).tobytes()
            return PointCloud2(header=Header(), height=1, width=len(flat), fields=fields, point_step=24,
                               row_step=24 * len(flat), data=data)  # fmt: skip

        return naive, "columns stacked, tobytes() given to the message (sensor_msgs_py is not installed)"
    return lambda: create_cloud(Header(), fields, flat), "sensor_msgs_py create_cloud"


def _publish(frame: BenchmarkFrame, publisher: Any) -> Stage:
    height, width = frame.plan.camera_size
    depth = np.random.default_rng(2).random((height, width), np.float32)
    last = image_message(depth, "32FC1", Header())

    def usual() -> None:
        publisher.publish(
            Image(header=Header(), height=height, width=width, encoding="32FC1", step=4 * width, data=depth.tobytes())
        )

    return Stage(
        "publish",
        lambda: publisher.publish(image_message(depth, "32FC1", Header(), last)),
        usual,
        "tobytes() given to a new message, then publish",
    )
