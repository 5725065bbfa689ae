# SPDX-License-Identifier: Apache-2.0
"""Frames from the messages of the node's topics, read from a recording or received."""

import math
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from monodvps_ros.data.image_codec import decode_raw
from monodvps_ros.data.message_fields import time_to_ns
from monodvps_ros.outputs import Odometry, Output, Perception, ScaleEstimate, ScaleState, Segment, topic_of

IMAGE, DEPTH, PANOPTIC, SEGMENTS, ODOMETRY = (
    topic_of(output) for output in (Output.IMAGE, Output.DEPTH, Output.PANOPTIC, Output.SEGMENTS, Output.ODOMETRY)
)
CAMERA_INFO = "depth/camera_info"
#: Frames that wait for their other messages at most.
MOST_WAITING = 3


class FrameAssembler:
    """Puts messages with one stamp together to a frame.

    A frame is whole when it has a message of each topic that frames have had of late: the node does not publish every
    topic for every frame. A frame that others have overtaken comes as it is, and what comes after it is left out.

    Args:
        topics: relative names of those that are read; keys of `TOPIC_READERS`.
    """

    def __init__(self, topics: frozenset[str]) -> None:
        self._expected = set(topics)
        self._waiting: dict[int, dict[str, Any]] = {}
        self._given: deque[int] = deque(maxlen=2 * MOST_WAITING)

    def add(self, topic: str, message: Any) -> Iterator[Perception]:
        """Add a message and return the frames that do not wait any more, in the order in which they began."""
        stamp_ns = time_to_ns(message.header.stamp)
        self._expected.add(topic)
        if stamp_ns in self._given:
            return
        self._waiting.setdefault(stamp_ns, {})[topic] = message
        is_whole = self._waiting[stamp_ns].keys() >= self._expected
        while self._waiting and (is_whole or len(self._waiting) > MOST_WAITING):
            first = next(iter(self._waiting))
            is_whole = is_whole and first != stamp_ns
            yield self._give(first)

    def rest(self) -> Iterator[Perception]:
        """Return the frames that still wait."""
        while self._waiting:
            yield self._give(next(iter(self._waiting)))

    def _give(self, stamp_ns: int) -> Perception:
        messages = self._waiting.pop(stamp_ns)
        self._expected = set(messages)
        self._given.append(stamp_ns)
        return assembled(stamp_ns, messages)


def assembled(stamp_ns: int, messages: dict[str, Any]) -> Perception:
    """Make a frame of its messages by relative topic.

    Raises:
        EncodingError: an image cannot be decoded.
    """
    parts: dict[str, Any] = {"intrinsics": None}
    for topic, message in messages.items():
        parts.update(TOPIC_READERS[topic](message))
    frame_ids = [message.header.frame_id for topic, message in messages.items() if topic != ODOMETRY]
    parts.setdefault("scale", ScaleEstimate(1.0, 0.0, ScaleState.UNKNOWN if SEGMENTS in messages else ScaleState.FIXED))
    return Perception(stamp_ns=stamp_ns, frame_id=frame_ids[0] if frame_ids else "", **parts)


def _pixels(message: Any) -> Any:
    return decode_raw(
        message.data, message.encoding, message.height, message.width, message.step, bool(message.is_bigendian)
    )


def _segments(message: Any) -> dict[str, Any]:
    segments = tuple(
        Segment(
            panoptic_id=s.panoptic_id,
            track_id=s.track_id,
            class_id=s.class_id,
            class_name=s.class_name,
            is_thing=s.is_thing,
            score=s.score,
            area_px=s.area_px,
            box_px=(s.x_min, s.y_min, s.x_max, s.y_max),
            median_depth_m=s.median_depth_m,
            centroid_m=(s.centroid_m.x, s.centroid_m.y, s.centroid_m.z),
            age_frames=s.age_frames,
        )
        for s in message.segments
    )
    scale = ScaleEstimate(math.nan, message.scale_confidence, ScaleState(message.scale_state))
    return {"segments": segments, "scale": scale}


def _odometry(message: Any) -> dict[str, Any]:
    position, turned = message.pose.pose.position, message.pose.pose.orientation
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_quat([turned.x, turned.y, turned.z, turned.w]).as_matrix()
    pose[:3, 3] = position.x, position.y, position.z
    linear, angular = message.twist.twist.linear, message.twist.twist.angular
    odometry = Odometry(
        message.header.frame_id,
        message.child_frame_id,
        pose,
        np.array(message.pose.covariance, np.float64).reshape(6, 6),
        np.array([linear.x, linear.y, linear.z]),
        np.array([angular.x, angular.y, angular.z]),
        np.array(message.twist.covariance, np.float64).reshape(6, 6),
    )
    return {"odometry": odometry}


#: By relative topic: from a message to attributes of `Perception`.
TOPIC_READERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    IMAGE: lambda message: {"image": np.ascontiguousarray(_pixels(message))},
    DEPTH: lambda message: {"depth_m": np.array(_pixels(message), np.float32)},
    CAMERA_INFO: lambda message: {"intrinsics": np.array(message.k, np.float64).reshape(3, 3)},
    PANOPTIC: lambda message: {"panoptic": np.array(_pixels(message), np.uint16)},
    SEGMENTS: _segments,
    ODOMETRY: _odometry,
}
