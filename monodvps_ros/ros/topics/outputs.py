# SPDX-License-Identifier: Apache-2.0
"""Publishers of a camera's outputs; only outputs with subscribers are computed."""

import threading
import time
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.msg import State
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.lifecycle import LifecycleNode, LifecycleState
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.timer import Timer
from std_msgs.msg import Header

from monodvps_ros.data.message_fields import output_fields
from monodvps_ros.outputs import OUTPUT_TOPICS, Output, OutputTopic, Perception
from monodvps_ros.process_memory import release_memory
from monodvps_ros.ros.topics.conversions import make_message, message_class
from monodvps_ros.ros.topics.message_packages import loaded_class

#: After this the middleware has taken publishers down, and after that subscribers have found the new ones.
RENEWAL_S, SETTLING_S = 0.2, 1.0


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
        self._renewal: Timer | None = None
        self._settled_at = 0.0

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
        """Recreate the publishers of an active node: Fast DDS keeps buffers of the largest messages that they sent.

        The new ones come a moment later: rclpy destroys the old ones once the executor lets go of them, and a publisher
        of the same topic that is created before would take over their buffers.
        """
        self.destroy()
        self._settled_at = time.monotonic() + RENEWAL_S + SETTLING_S
        self._renewal = self._node.create_timer(
            RENEWAL_S, self._finish_renewal, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    @property
    def is_settled(self) -> bool:
        """False while publishers are recreated, and their subscribers have not found them yet."""
        return time.monotonic() >= self._settled_at

    def _finish_renewal(self) -> None:
        self._cancel_renewal()
        with self._lock:
            self._publishers = {row.topic: self._create(row) for row in self._rows}
            for publisher in self._publishers.values():
                publisher.on_activate(LifecycleState("active", State.PRIMARY_STATE_ACTIVE))
        release_memory()  # of the old ones

    def _cancel_renewal(self) -> None:
        if self._renewal is not None:
            self._node.destroy_timer(self._renewal)
            self._renewal = None

    def destroy(self) -> None:
        """Destroy the publishers."""
        self._cancel_renewal()
        with self._lock:
            for publisher in self._publishers.values():
                self._node.destroy_lifecycle_publisher(publisher)
            self._publishers.clear()

    def _counts_subscribers(self, row: OutputTopic) -> int:
        publisher = self._publishers.get(row.topic)  # none while they are renewed
        return 0 if publisher is None else publisher.get_subscription_count()
