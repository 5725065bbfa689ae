# SPDX-License-Identifier: Apache-2.0
"""Input of one camera: callbacks only store messages; the worker takes the newest image."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from monodvps_ros.config import NodeConfig
from monodvps_ros.data.message_fields import NANOSECONDS
from monodvps_ros.data.sequence_watch import SequenceWatch, Step
from monodvps_ros.perception.statistics import REPLACED, STOPPED, UNPAIRED, Statistics
from monodvps_ros.ros.topics.adaptive_subscription import AdaptiveSubscription
from monodvps_ros.ros.topics.conversions import stamp_to_ns
from monodvps_ros.ros.topics.filter_pairing import exact_pairing

#: How long the first image waits for the first camera_info, where somebody publishes one.
FIRST_INFO_WAIT_S = 0.5


@dataclass(frozen=True)
class Received:
    """An image as it came.

    Attributes:
        message: Image or CompressedImage.
        info: its CameraInfo, or None where there is none.
        received_at: `time.monotonic` of its reception.
        restart: true where it begins a new sequence.
    """

    message: Any
    info: CameraInfo | None
    received_at: float
    restart: bool


class CameraInput:
    """Subscribes to one camera and keeps its newest image.

    Args:
        node: that subscribes.
        prefix: namespace of the camera, with a slash at its end, or empty.
        config: how to subscribe.
        statistics: counts what is received and dropped.
        wake: called when an image may be ready.
    """

    def __init__(
        self, node: Node, prefix: str, config: NodeConfig, statistics: Statistics, wake: Callable[[], None]
    ) -> None:
        self._node, self._config, self._statistics, self._wake = node, config, statistics, wake
        base = prefix + "image"
        self.image_topic = node.resolve_topic_name(f"{base}/compressed" if config.compressed else base)
        self.info_topic = node.resolve_topic_name(prefix + "camera_info")
        self._lock = threading.Lock()
        self._newest: tuple[Any, CameraInfo | None, float] | None = None
        self._info: CameraInfo | None = None
        self._restart = False
        self._watch = SequenceWatch(int(config.max_gap_s * NANOSECONDS))
        self._pairing = exact_pairing() if config.camera_info_sync == "exact" else None
        if self._pairing is not None:
            node.get_logger().info(
                f"{self.image_topic} and its camera_info are paired by stamp: {self._pairing.description}"
            )
        self._subscriptions: list[AdaptiveSubscription] = []

    def start(self) -> None:
        """Subscribe. camera_info first: where both are ready it is then served before the image."""
        image_type = CompressedImage if self._config.compressed else Image
        self._subscriptions = [
            AdaptiveSubscription(self._node, CameraInfo, self.info_topic, self._on_info, self._config),
            AdaptiveSubscription(self._node, image_type, self.image_topic, self._on_image, self._config),
        ]

    def stop(self) -> None:
        """Unsubscribe, and drop waiting images."""
        for subscription in self._subscriptions:
            subscription.destroy()
        self._subscriptions = []
        with self._lock:
            waiting = int(self._newest is not None) + (self._pairing.clear_images() if self._pairing else 0)
            self._newest, self._info = None, None
            self._restart = self._restart or self._watch.has_begun
            self._watch.reset()
        self._drop(waiting, STOPPED)

    def take(self) -> Received | None:
        """Return the newest image, once; None where there is none or where it waits for the first camera_info."""
        with self._lock:
            if self._newest is None:
                return None
            message, info, received_at = self._newest
            if self._pairing is None:
                info = self._info
                if info is None and self._expects_info(received_at):
                    return None
            self._newest = None
            restart, self._restart = self._restart, False
        return Received(message, info, received_at, restart)

    @property
    def has_image(self) -> bool:
        """Whether an image is waiting."""
        return self._newest is not None

    @property
    def incompatible(self) -> dict[str, str]:
        """Topic to the QoS policy that did not fit, where a publisher is not heard because of it."""
        return {part.topic: part.incompatible_policy for part in self._subscriptions if part.incompatible_policy}

    @property
    def lost_in_transport(self) -> int:
        """Images that the middleware reports as lost."""
        return sum(part.lost for part in self._subscriptions if part.topic == self.image_topic)

    @property
    def reliability(self) -> str:
        """QoS reliability of the image subscription; empty where there is none."""
        return next((part.reliability for part in self._subscriptions if part.topic == self.image_topic), "")

    def publisher_count(self) -> int:
        """Return how many publishers the image topic has, whether or not their QoS fits."""
        return self._node.count_publishers(self.image_topic)

    def restart(self) -> None:
        """Let the next image begin a new sequence, where there was one."""
        with self._lock:
            self._restart = self._restart or self._watch.has_begun
            self._watch.reset()

    def set_max_gap(self, max_gap_s: float) -> None:
        """Change what counts as a gap."""
        self._watch.max_gap_ns = int(max_gap_s * NANOSECONDS)

    def _expects_info(self, received_at: float) -> bool:
        waited_s = time.monotonic() - received_at
        return waited_s < FIRST_INFO_WAIT_S and self._node.count_publishers(self.info_topic) > 0

    def _on_image(self, message: Any) -> None:
        self._statistics.count_received()
        stamp_ns = stamp_to_ns(message.header.stamp)
        with self._lock:
            step = self._watch.check(stamp_ns)
            if step in (Step.BACKWARD, Step.GAP):
                self._restart = True
            if step is Step.REPEATED:
                self._statistics.count_repeated_stamp()
            arrived = (message, time.monotonic())
            if self._pairing is None:
                self._put(arrived, None)
            else:
                pair, lost = self._pairing.add_image(stamp_ns, arrived)
                self._drop(lost, UNPAIRED)
                if pair is not None:
                    self._put(*pair)
        self._wake()

    def _on_info(self, message: CameraInfo) -> None:
        with self._lock:
            self._info = message
            if self._pairing is not None:
                pair = self._pairing.add_info(stamp_to_ns(message.header.stamp), message)
                if pair is not None:
                    self._put(*pair)
        self._wake()

    def _put(self, arrived: tuple[Any, float], info: CameraInfo | None) -> None:
        self._drop(int(self._newest is not None), REPLACED)
        self._newest = (arrived[0], info, arrived[1])

    def _drop(self, count: int, reason: str) -> None:
        for _ in range(count):
            self._statistics.count_dropped(reason)
