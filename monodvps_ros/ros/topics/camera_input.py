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
from monodvps_ros.perception.statistics import LIMITED, REPEATED, REPLACED, STOPPED, UNPAIRED, UNSTAMPED, Statistics
from monodvps_ros.ros.topics.adaptive_subscription import AdaptiveSubscription
from monodvps_ros.ros.topics.conversions import stamp_to_ns
from monodvps_ros.ros.topics.filter_pairing import exact_pairing

#: How long images wait for the first camera_info, from the first image on, where somebody publishes on its topic.
FIRST_INFO_WAIT_S = 0.5
_OF_IMAGES, _OF_RECEIPT = "of the images", "times of receipt: those of the images are 0"

#: Why an image begins a new sequence.
JUMPED = "time jumped"
PAUSED = "nobody subscribed for a while"
RESET = "reset was called"


@dataclass(frozen=True)
class Received:
    """An image as it came.

    Attributes:
        message: Image or CompressedImage.
        info: its CameraInfo, or None where there is none.
        received_at: `time.monotonic` of its reception.
        restart: why it begins a new sequence; empty where it does not.
    """

    message: Any
    info: CameraInfo | None
    received_at: float
    restart: str


class CameraInput:
    """Subscribes to one camera and keeps its newest image.

    Images whose stamp repeats the one before, or is 0 or below, are left out and counted. Where all stamps are, as of a
    driver that does not set them, an image takes the time of its receipt, and the newest camera_info.

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
        self._first_at: float | None = None  # when the first image since it subscribed came
        self._info: CameraInfo | None = None
        self._restart = ""
        self._has_paused = False
        self._begun_at, self._lost_before = 0.0, 0
        self._due_at = 0.0  # the next image that the rate limit allows
        self._watch = SequenceWatch(int(config.max_gap_s * NANOSECONDS))
        self._pairing = exact_pairing() if config.camera_info_sync == "exact" else None
        if self._pairing is not None:
            node.get_logger().info(
                f"{self.image_topic} and its camera_info are paired by stamp: {self._pairing.description}"
            )
        self._subscriptions: list[AdaptiveSubscription] = []
        self.configure(config.max_gap_s, config.max_rate_hz)
        self.stamps = "not known yet"

    def start(self) -> None:
        """Subscribe. camera_info first: where both are ready it is then served before the image."""
        self._begun_at = time.monotonic()
        image_type = CompressedImage if self._config.compressed else Image
        self._subscriptions = [
            AdaptiveSubscription(self._node, CameraInfo, self.info_topic, self._on_info, self._config),
            AdaptiveSubscription(self._node, image_type, self.image_topic, self._on_image, self._config),
        ]

    def pause(self) -> None:
        """Unsubscribe while nobody wants an output; the next image continues the sequence if its gap is small."""
        with self._lock:
            self._has_paused = True
        for _ in range(self._unsubscribe()):
            self._statistics.count_idle()

    def stop(self) -> None:
        """Unsubscribe, and drop waiting images; the next image begins a new sequence."""
        self._drop(self._unsubscribe(), STOPPED)
        self.restart(PAUSED)

    def _unsubscribe(self) -> int:
        """Unsubscribe; return the number of images that were waiting."""
        self._lost_before = self.lost_in_transport
        for subscription in self._subscriptions:
            subscription.destroy()
        self._subscriptions = []
        with self._lock:
            waiting = int(self._newest is not None) + (self._pairing.clear_images() if self._pairing else 0)
            self._newest, self._info, self._first_at = None, None, None
        return waiting

    def take(self) -> Received | None:
        """Return the newest image, once; None where there is none or where it waits for the first camera_info."""
        with self._lock:
            if self._newest is None:
                return None
            message, info, received_at = self._newest
            if self._pairing is None:
                info = self._info
                if info is None and self._expects_info():
                    return None
            self._newest = None
            restart, self._restart = self._restart, ""
        return Received(message, info, received_at, restart)

    @property
    def has_image(self) -> bool:
        """Whether an image is waiting."""
        return self._newest is not None

    @property
    def subscribed_s(self) -> float | None:
        """Seconds since it subscribed; None while it does not."""
        return time.monotonic() - self._begun_at if self._subscriptions else None

    @property
    def incompatible(self) -> dict[str, str]:
        """Topic to the QoS policy that did not fit, where a publisher is not heard because of it."""
        return {part.topic: part.incompatible_policy for part in self._subscriptions if part.incompatible_policy}

    @property
    def lost_in_transport(self) -> int:
        """Images that the middleware reports as lost."""
        return self._lost_before + sum(part.lost for part in self._subscriptions if part.topic == self.image_topic)

    @property
    def reliability(self) -> str:
        """QoS reliability of the image subscription; empty where there is none."""
        return next((part.reliability for part in self._subscriptions if part.topic == self.image_topic), "")

    def publishers(self) -> tuple[str, ...]:
        """List the nodes that publish on the image topic, whether or not their QoS fits; one entry per publisher."""
        infos = self._node.get_publishers_info_by_topic(self.image_topic)
        return tuple(sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in infos))

    def restart(self, reason: str = JUMPED) -> None:
        """Let the next image begin a new sequence, where there was one."""
        with self._lock:
            if self._watch.has_begun:
                self._restart = self._restart or reason
            self._watch.reset()

    def configure(self, max_gap_s: float, max_rate_hz: float) -> None:
        """Change what counts as a gap, and the rate limit; 0 is none."""
        self._watch.max_gap_ns = int(max_gap_s * NANOSECONDS)
        self._period_s = 1.0 / max_rate_hz if max_rate_hz else 0.0

    def _expects_info(self) -> bool:
        waited_s = time.monotonic() - (self._first_at or 0.0)
        return waited_s < FIRST_INFO_WAIT_S and self._node.count_publishers(self.info_topic) > 0

    def _on_image(self, message: Any) -> None:
        self._statistics.count_received()
        stamp_ns = stamp_to_ns(message.header.stamp)
        with self._lock:
            if stamp_ns <= 0 and self.stamps != _OF_IMAGES:
                stamp_ns = self._take_receipt(message)
            elif stamp_ns > 0:
                self.stamps = _OF_IMAGES
            step = self._watch.check(stamp_ns) if stamp_ns > 0 else None
            if step in (None, Step.REPEATED):
                self._drop(1, UNSTAMPED if step is None else REPEATED)
                return
            if step in (Step.BACKWARD, Step.GAP):
                self._restart = PAUSED if self._has_paused else JUMPED
            self._has_paused = False
            if self._is_above_limit():
                self._drop(1, LIMITED)
                return
            arrived = (message, time.monotonic())
            if self._pairing is None or self.stamps == _OF_RECEIPT:
                self._put(arrived, self._info)
            else:
                pair, lost = self._pairing.add_image(stamp_ns, arrived)
                self._drop(lost, UNPAIRED)
                if pair is not None:
                    self._put(*pair)
        self._wake()

    def _is_above_limit(self) -> bool:
        """Whether an image comes sooner than the rate limit allows, over all images and not each pair of them."""
        if not self._period_s:
            return False
        now = time.monotonic()
        if now < self._due_at:
            return True
        following = self._due_at + self._period_s
        self._due_at = following if following > now else now + self._period_s
        return False

    def _take_receipt(self, message: Any) -> int:
        if self.stamps != _OF_RECEIPT:
            self.stamps = _OF_RECEIPT
            self._node.get_logger().warning(
                f"{self.image_topic}: images have stamps of 0 or below; the time of their receipt is taken"
            )
        message.header.stamp = self._node.get_clock().now().to_msg()
        return stamp_to_ns(message.header.stamp)

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
        if self._first_at is None:
            self._first_at = arrived[1]

    def _drop(self, count: int, reason: str) -> None:
        for _ in range(count):
            self._statistics.count_dropped(reason)
