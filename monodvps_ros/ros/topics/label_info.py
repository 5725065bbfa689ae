# SPDX-License-Identifier: Apache-2.0
"""The class names of the masks: vision_msgs/LabelInfo, where vision_msgs is installed."""

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from monodvps_ros.labels import LabelSpace

try:
    from vision_msgs.msg import LabelInfo, VisionClass
except ImportError:
    LabelInfo = None

TOPIC = "label_info"


class LabelInfoPublisher:
    """Publishes the class names once, latched; does nothing without vision_msgs.

    Args:
        node: that publishes.
        labels: the classes.
    """

    def __init__(self, node: Node, labels: LabelSpace) -> None:
        self._node = node
        self._publisher = None
        if LabelInfo is None:
            node.get_logger().info(f"vision_msgs is not installed: {TOPIC} is not published")
            return
        qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._publisher = node.create_publisher(LabelInfo, TOPIC, qos)
        message = LabelInfo()
        message.header.stamp = node.get_clock().now().to_msg()
        message.class_map = [VisionClass(class_id=index, class_name=name) for index, name in enumerate(labels.names)]
        self._publisher.publish(message)

    def destroy(self) -> None:
        """Destroy the publisher."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None
