# SPDX-License-Identifier: Apache-2.0
"""Publishers of a camera's outputs; only outputs with subscribers are computed."""

import threading
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Header

from monodvps_ros.data.message_fields import output_fields
from monodvps_ros.outputs import OUTPUT_TOPICS, Output, OutputTopic, Perception
from monodvps_ros.ros.topics.conversions import make_message, message_class
from monodvps_ros.ros.topics.message_packages import loaded_class


class OutputPublishers:
    """The publishers of one camera; topics whose message packages cannot be loaded are left out.

    Args:
        node: that publishes.
        prefix: namespace of the camera, with a slash at its end, or empty.
        depth: messages kept for slow subscribers.
        on_incompatible: called with topic and policy where a subscriber's QoS does not fit.
        on_matched: called where a subscriber comes or goes.
    """

    def __init__(
        self,
        node: LifecycleNode,
        prefix: str,
        depth: int,
        on_incompatible: Callable[[str, str], None],
        on_matched: Callable[[], None],
    ) -> None:
        self._node, self._prefix, self._depth = node, prefix, depth
        self._on_incompatible, self._on_matched = on_incompatible, on_matched
        self._lock = threading.Lock()  # the worker publishes while the executor renews
        self._rows = tuple(row for row in OUTPUT_TOPICS if loaded_class(row.type_name) is not None)
        self._classes = {row.type_name: message_class(row.type_name) for row in self._rows}
        self._last: dict[str, Any] = {}
        self._publishers = {row.topic: self._create(row) for row in self._rows}

    def _create(self, row: OutputTopic) -> LifecyclePublisher:
        name = self._prefix + row.topic

        def report_incompatible(event: Any) -> None:
            self._on_incompatible(name, qos_policy_name_from_kind(event.last_policy_kind))

        return self._node.create_lifecycle_publisher(
            self._classes[row.type_name],
            name,
            QoSProfile(depth=self._depth, reliability=ReliabilityPolicy.RELIABLE),
            event_callbacks=PublisherEventCallbacks(
                incompatible_qos=report_incompatible, matched=lambda event: self._on_matched()
            ),
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def wanted(self) -> frozenset[Output]:
        """Return the outputs that have subscribers now."""
        with self._lock:
            return frozenset(row.output for row in self._rows if self._counts_subscribers(row))

    def publish(self, perception: Perception, header: Header) -> None:
        """Publish one frame on every topic that has subscribers and that the frame has something for."""
        with self._lock:
            for row in self._rows:
                fields = output_fields(row, perception) if self._counts_subscribers(row) else None
                if fields is not None:
                    message = make_message(self._classes[row.type_name], fields, header, self._last.get(row.topic))
                    self._publishers[row.topic].publish(message)
                    self._last[row.topic] = message

    def forget(self) -> None:
        """Let go of the messages of the last frame, which the next one would reuse."""
        self._last = {}

    def renew(self) -> None:
        """Recreate the publishers of an active node: Fast DDS keeps buffers of the largest messages that they sent."""
        with self._lock:
            for row in self._rows:
                self._node.destroy_lifecycle_publisher(self._publishers[row.topic])
                self._publishers[row.topic] = self._create(row)
                self._publishers[row.topic].on_activate(LifecycleState("active", State.PRIMARY_STATE_ACTIVE))

    def destroy(self) -> None:
        """Destroy the publishers."""
        with self._lock:
            for publisher in self._publishers.values():
                self._node.destroy_lifecycle_publisher(publisher)
            self._publishers.clear()

    def _counts_subscribers(self, row: OutputTopic) -> int:
        return self._publishers[row.topic].get_subscription_count()
