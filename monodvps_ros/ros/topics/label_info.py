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
    """Publishes the class names once, latched; does nothing where vision_msgs is not installed or cannot be loaded.

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
        try:
            self._publisher = node.create_publisher(LabelInfo, TOPIC, qos)
        except Exception as error:  # loads the libraries of the messages; rclpy raises many kinds
            node.get_logger().warning(
                f"vision_msgs cannot be loaded: {TOPIC} is not published: {type(error).__name__} {error}; "
                "install it for this distribution of ROS 2"
            )
            return
        message = LabelInfo()
        message.header.stamp = node.get_clock().now().to_msg()
        message.class_map = [VisionClass(class_id=index, class_name=name) for index, name in enumerate(labels.names)]
        self._publisher.publish(message)

    def destroy(self) -> None:
        """Destroy the publisher."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None
