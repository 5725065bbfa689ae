# SPDX-License-Identifier: Apache-2.0
"""Receives the outputs of a perception node, frame by frame."""

from collections.abc import Generator
from functools import partial
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from monodvps_ros.config import NodeConfig
from monodvps_ros.outputs import OUTPUT_TOPICS, Perception
from monodvps_ros.ros.nodes.running import initialize
from monodvps_ros.ros.topics.adaptive_subscription import AdaptiveSubscription
from monodvps_ros.ros.topics.message_packages import loaded_class
from monodvps_ros.view.messages import TOPIC_READERS, FrameAssembler


def received_frames(camera: str = "", timeout_s: float = 0.1) -> Generator[Perception]:
    """Subscribe to the outputs of a perception node and give its frames, without end.

    Args:
        camera: namespace of the outputs; empty: those without one.
        timeout_s: signals are looked at this often.

    Raises:
        ConfigError: rclpy cannot start.
    """
    initialize()
    node = Node("viewer", enable_rosout=False, start_parameter_services=False)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    received: list[tuple[str, Any]] = []
    types = {row.topic: loaded_class(row.type_name) for row in OUTPUT_TOPICS if row.topic in TOPIC_READERS}
    kinds = {topic: kind for topic, kind in types.items() if kind is not None}  # nav_msgs may be missing
    prefix = f"{camera.strip('/')}/" if camera.strip("/") else ""

    def take(topic: str, message: Any) -> None:
        received.append((topic, message))

    subscriptions = [
        AdaptiveSubscription(node, kind, node.resolve_topic_name(prefix + topic), partial(take, topic), NodeConfig())
        for topic, kind in kinds.items()
    ]
    assembler = FrameAssembler(frozenset(kinds))
    try:
        while True:
            executor.spin_once(timeout_sec=timeout_s)
            while received:
                yield from assembler.add(*received.pop(0))
    finally:
        for subscription in subscriptions:
            subscription.destroy()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
