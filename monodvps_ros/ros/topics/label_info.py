# SPDX-License-Identifier: Apache-2.0
"""The class names of the masks: vision_msgs/LabelInfo, where vision_msgs can be loaded."""

from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from monodvps_ros.data.box_fields import label_info_fields
from monodvps_ros.labels import LabelSpace
from monodvps_ros.outputs import LABEL_INFO_TOPIC
from monodvps_ros.ros.topics.conversions import make_message
from monodvps_ros.ros.topics.message_packages import LABEL_INFO_TYPE, loaded_class


class LabelInfoPublisher:
    """Publishes the class names once, latched; does nothing where vision_msgs cannot be loaded.

    Args:
        node: that publishes.
        labels: the classes.
    """

    def __init__(self, node: Node, labels: LabelSpace) -> None:
        self._node = node
        self._publisher: Publisher[Any] | None = None
        kind = loaded_class(LABEL_INFO_TYPE)
        if kind is None:
            return
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(kind, LABEL_INFO_TOPIC, qos)
        header = Header(stamp=node.get_clock().now().to_msg())
        self._publisher.publish(make_message(kind, label_info_fields(labels), header))

    def destroy(self) -> None:
        """Destroy the publisher."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None
