# SPDX-License-Identifier: Apache-2.0
"""A subscription that is reliable where every publisher is, and best effort otherwise.

A best-effort subscription connects to every publisher, but Fast DDS with its default transports then loses nearly all
images of more than half a megabyte; a reliable one does not connect to a best-effort camera.
"""

from collections.abc import Callable
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions

from monodvps_ros.config import NodeConfig


class AdaptiveSubscription:
    """Subscribes, and subscribes again when the publishers' reliability requires it.

    Args:
        node: that subscribes.
        message_type: class of the messages.
        topic: resolved name.
        callback: called with each message.
        config: `input_reliability` and `input_depth` are read.
    """

    def __init__(
        self, node: Node, message_type: type, topic: str, callback: Callable[[Any], None], config: NodeConfig
    ) -> None:
        self._node, self._message_type, self.topic, self._callback = node, message_type, topic, callback
        self._config = config
        self._lost_before = 0
        self._lost_now = 0
        self.incompatible_policy = ""
        self._reliable = self._reliable_offered() if config.input_reliability == "auto" else self._reliable_asked()
        self._subscription = self._create()

    @property
    def reliability(self) -> str:
        """Current reliability."""
        return "reliable" if self._reliable else "best effort"

    @property
    def lost(self) -> int:
        """Messages that the middleware reports as lost, since the beginning."""
        return self._lost_before + self._lost_now

    def destroy(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _create(self) -> Any:
        return self._node.create_subscription(
            self._message_type,
            self.topic,
            self._callback,
            QoSProfile(
                history=HistoryPolicy.KEEP_LAST,
                depth=self._config.input_depth,
                reliability=ReliabilityPolicy.RELIABLE if self._reliable else ReliabilityPolicy.BEST_EFFORT,
            ),
            event_callbacks=SubscriptionEventCallbacks(
                incompatible_qos=self._on_incompatible, message_lost=self._on_lost, matched=self._on_matched
            ),
            qos_overriding_options=QoSOverridingOptions([QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH]),
        )

    def _reliable_asked(self) -> bool:
        return self._config.input_reliability == "reliable"

    def _reliable_offered(self) -> bool:
        offers = [info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(self.topic)]
        return bool(offers) and all(offer == ReliabilityPolicy.RELIABLE for offer in offers)

    def _adapt(self, reliable: bool) -> None:
        if self._config.input_reliability != "auto" or reliable == self._reliable:
            return
        self._reliable = reliable
        self._lost_before, self._lost_now = self.lost, 0
        self._node.destroy_subscription(self._subscription)
        self._subscription = self._create()

    def _on_matched(self, event: Any) -> None:
        if event.current_count > 0:
            self.incompatible_policy = ""
            self._adapt(self._reliable_offered())

    def _on_incompatible(self, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        if self._reliable and self._config.input_reliability == "auto":
            self._adapt(reliable=False)
            return
        self.incompatible_policy = policy
        self._node.get_logger().warning(
            f"a publisher on {self.topic} offers QoS that does not fit this subscription ({policy}, which is asked to "
            f"be {self.reliability}); no message will arrive from it"
        )

    def _on_lost(self, event: Any) -> None:
        self._lost_now = event.total_count
