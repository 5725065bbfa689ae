# SPDX-License-Identifier: Apache-2.0
"""The topics that a camera's perception is published on; what nobody subscribes to is not even computed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle.publisher import LifecyclePublisher
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_policy_name_from_kind
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from monodvps_ros.msg import PanopticSegments
from monodvps_ros.ros.topics.conversions import camera_info_message, cloud_message, image_message, segments_message
from monodvps_ros.types import Output, Perception


@dataclass(frozen=True)
class OutputTopic:
    """One published topic.

    Attributes:
        topic: relative name.
        message_type: class of its messages.
        output: what the pipeline must compute for it.
        encoding: of an image; empty for other types.
        contract: what a message holds, in a few words.
        convert: makes the message, or None where this frame has nothing for it; fills the topic's last message anew.
    """

    topic: str
    message_type: type
    output: Output
    encoding: str
    contract: str
    convert: Callable[[Perception, Header, Any], Any]


def _image(topic: str, field: str, output: Output, encoding: str, contract: str) -> OutputTopic:
    def convert(perception: Perception, header: Header, last: Image | None) -> Image | None:
        pixels = getattr(perception, field)
        return None if pixels is None else image_message(pixels, encoding, header, last)

    return OutputTopic(topic, Image, output, encoding, contract, convert)


def _depth_camera_info(perception: Perception, header: Header, _: CameraInfo | None) -> CameraInfo | None:
    if perception.intrinsics is None or perception.depth_m is None:
        return None
    return camera_info_message(perception.intrinsics, perception.depth_m.shape, header)


def _segments(perception: Perception, header: Header, _: PanopticSegments | None) -> PanopticSegments | None:
    return None if perception.segments is None else segments_message(perception.segments, header)


def _points(perception: Perception, header: Header, last: PointCloud2 | None) -> PointCloud2 | None:
    return None if perception.cloud is None else cloud_message(perception.cloud, header, last)


OUTPUT_TOPICS = (
    _image("depth/image", "depth_m", Output.DEPTH, "32FC1", "metres along the optical axis; NaN for sky and unknown"),
    OutputTopic("depth/camera_info", CameraInfo, Output.DEPTH, "", "K of depth/image; rectified", _depth_camera_info),
    _image("panoptic/image", "panoptic", Output.PANOPTIC, "16UC1", "class id * 1000 + instance id; 65535 is void"),
    _image("panoptic/color", "color", Output.COLOR, "rgb8", "classes in colours, instances in shades, contours"),
    OutputTopic("panoptic/segments", PanopticSegments, Output.SEGMENTS, "", "one entry per segment", _segments),
    _image("semantic/image", "semantic", Output.SEMANTIC, "mono8", "class id; 255 is void"),
    _image("semantic/confidence", "confidence", Output.CONFIDENCE, "mono8", "255 * probability of the class"),
    OutputTopic("points", PointCloud2, Output.CLOUD, "", "x y z rgb label instance; optical frame, metres", _points),
)


def _tell(topic: str, on_incompatible: Callable[[str, str], None]) -> Callable[[Any], None]:
    """Make the callback of one topic for subscribers whose QoS does not fit."""
    return lambda event: on_incompatible(topic, qos_policy_name_from_kind(event.last_policy_kind))


class OutputPublishers:
    """The publishers of one camera.

    Args:
        node: that publishes.
        prefix: namespace of the camera, with a slash at its end, or empty.
        depth: messages kept for slow subscribers.
        on_incompatible: called with topic and policy where a subscriber's QoS does not fit.
    """

    def __init__(
        self, node: LifecycleNode, prefix: str, depth: int, on_incompatible: Callable[[str, str], None]
    ) -> None:
        self._node = node
        self._publishers: dict[str, LifecyclePublisher] = {}
        self._last: dict[str, Any] = {}
        for row in OUTPUT_TOPICS:
            name = prefix + row.topic
            self._publishers[row.topic] = node.create_lifecycle_publisher(
                row.message_type,
                name,
                QoSProfile(depth=depth, reliability=ReliabilityPolicy.RELIABLE),
                event_callbacks=PublisherEventCallbacks(incompatible_qos=_tell(name, on_incompatible)),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )

    def wanted(self) -> frozenset[Output]:
        """Return what somebody subscribes to now."""
        return frozenset(
            row.output for row in OUTPUT_TOPICS if self._publishers[row.topic].get_subscription_count() > 0
        )

    def publish(self, perception: Perception, header: Header) -> None:
        """Publish one frame on every topic that has subscribers and that the frame has something for."""
        for row in OUTPUT_TOPICS:
            publisher = self._publishers[row.topic]
            if publisher.get_subscription_count() == 0:
                continue
            message = row.convert(perception, header, self._last.get(row.topic))
            if message is not None:
                publisher.publish(message)
                self._last[row.topic] = message

    def destroy(self) -> None:
        """Take the topics down."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()
