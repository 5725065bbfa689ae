# SPDX-License-Identifier: Apache-2.0
"""Where the metres of a camera's outputs come from, for those who come late too."""

import math
import time

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from monodvps_ros.data.message_fields import scale_fields
from monodvps_ros.msg import DepthScale
from monodvps_ros.outputs import SCALE_TOPIC, ScaleEstimate
from monodvps_ros.ros.topics.conversions import make_message

#: Time between two warnings of a camera that its scale is in doubt.
DOUBT_PERIOD_S = 60.0


class ScalePublisher:
    """Publishes a camera's `ScaleEstimate`, latched, when it changes, and warns where it is unknown or in doubt.

    Subscribing to it alone makes the node compute nothing.

    Args:
        node: that publishes.
        prefix: namespace of the camera, with a slash at its end, or empty.
        label: of the camera, for the log.
    """

    def __init__(self, node: LifecycleNode, prefix: str, label: str) -> None:
        self._node, self._label = node, label
        self._last: ScaleEstimate | None = None
        self._doubted_at = -math.inf
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_lifecycle_publisher(DepthScale, prefix + SCALE_TOPIC, qos)

    def publish(self, scale: ScaleEstimate, header: Header, withheld: bool) -> None:
        """Publish what holds for the image with a header; `withheld`: depth is not published while it is unknown."""
        last, self._last = self._last, scale
        now = time.monotonic()
        if scale.doubt and now - self._doubted_at > DOUBT_PERIOD_S:
            self._doubted_at = now
            self._node.get_logger().warning(f"{self._label}: {scale.doubt}")
        if last is not None and _content(last) == _content(scale):
            return
        self._publisher.publish(make_message(DepthScale, scale_fields(scale), header))
        if scale.problem and (last is None or scale.problem != last.problem):
            depth = "depth and cloud are withheld" if withheld else "depth and cloud are published, not in metres"
            self._node.get_logger().warning(f"{self._label}: the scale is unknown, {depth}: {scale.problem}")
        elif last is None or last.state is not scale.state:
            self._node.get_logger().info(f"{self._label}: depth is in metres, scale state: {scale.state.value}")

    def destroy(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_lifecycle_publisher(self._publisher)


def _content(scale: ScaleEstimate) -> tuple[object, ...]:
    return scale.state, scale.factor, scale.confidence, scale.problem
