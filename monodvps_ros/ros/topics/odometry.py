# SPDX-License-Identifier: Apache-2.0
"""TF from the odometry, on request; and what is missing for it."""

from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile

from monodvps_ros.data.message_fields import transforms_of
from monodvps_ros.outputs import Output, Perception, topic_of
from monodvps_ros.ros.topics.conversions import make_message
from monodvps_ros.ros.topics.message_packages import loaded_class

TRANSFORMS_TYPE = "tf2_msgs/msg/TFMessage"
_DEPTH = 100  # of tf2_ros' broadcaster


class TransformPublisher:
    """Publishes the odometry of a camera on /tf, once it is switched on.

    Args:
        node: that publishes.
        label: of the camera, for the log.
    """

    def __init__(self, node: LifecycleNode, label: str) -> None:
        self._node, self._label = node, label
        self._publisher: Any = None
        self._told: set[str] = set()
        self.problem = ""

    def demand(self, wanted: frozenset[Output], publish_tf: bool, has_source: bool) -> frozenset[Output]:
        """Return the outputs to compute, and say once what cannot be.

        Args:
            wanted: outputs with subscribers.
            publish_tf: whether TF is asked for.
            has_source: whether something sees the motion.
        """
        self.problem = ""
        if not publish_tf and Output.ODOMETRY not in wanted:
            return wanted
        if not has_source:
            self._report(
                f"no {topic_of(Output.ODOMETRY)}: pipeline.odometry.source is 'network' and these weights have no pose "
                "network; use auto or corners, or a .safetensors file with one"
            )
            return wanted
        if publish_tf and loaded_class(TRANSFORMS_TYPE) is None:
            self._report("no TF: tf2_msgs is not installed, or cannot be loaded; install it for this distribution")
            return wanted
        return wanted | {Output.ODOMETRY} if publish_tf else wanted

    def publish(self, perception: Perception, publish_tf: bool) -> None:
        """Publish the transform of a frame, where there is one and it is asked for."""
        kind = loaded_class(TRANSFORMS_TYPE) if publish_tf else None
        if kind is None or perception.odometry is None:
            return
        if self._publisher is None:
            self._publisher = self._node.create_publisher(kind, "/tf", QoSProfile(depth=_DEPTH))
        self._publisher.publish(make_message(kind, transforms_of(perception)))

    def destroy(self) -> None:
        """Destroy the publisher."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None

    def _report(self, problem: str) -> None:
        self.problem = problem
        if problem not in self._told:
            self._told.add(problem)
            self._node.get_logger().warning(f"{self._label}: {problem}")
