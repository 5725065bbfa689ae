# SPDX-License-Identifier: Apache-2.0
"""Publishes a source of samples as Image and CameraInfo at the recorded rate."""

import array
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSHistoryPolicy, QoSProfile, QoSReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from monodvps_ros.data.schedule import Schedule
from monodvps_ros.geometry.calibration import Calibration
from monodvps_ros.ros.topics.conversions import camera_info_message, image_message, stamp_from_ns
from monodvps_ros.types import CameraFrame, Sample

JPEG_QUALITY = 95

#: Drivers publish reliably and keep the last ten; a best-effort subscriber connects to that too.
CAMERA_QOS = QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=10, reliability=QoSReliabilityPolicy.RELIABLE)


class CameraPublisher:
    """Publishes frames on `image` (rgb8) or `image/compressed` (JPEG), and `camera_info` as it was recorded.

    Names are relative to the node, so that namespaces and remappings hold.

    Args:
        node: the node that owns the publishers.
        compressed: publish CompressedImage instead of Image.
    """

    def __init__(self, node: Node, compressed: bool = False) -> None:
        self._compressed = compressed
        if compressed:
            self._image = node.create_publisher(CompressedImage, "image/compressed", CAMERA_QOS)
        else:
            self._image = node.create_publisher(Image, "image", CAMERA_QOS)
        self._camera_info = node.create_publisher(CameraInfo, "camera_info", CAMERA_QOS)

    @property
    def image_topic(self) -> str:
        """Full name of the image topic."""
        return self._image.topic_name

    @property
    def camera_info_topic(self) -> str:
        """Full name of the camera_info topic."""
        return self._camera_info.topic_name

    def subscribers(self) -> tuple[int, int]:
        """Return how many subscribers the image and the camera_info have."""
        return self._image.get_subscription_count(), self._camera_info.get_subscription_count()

    def publish(self, frame: CameraFrame) -> None:
        """Publish a frame: camera_info first, so that it is there when the image arrives.

        camera_info is the frame's calibration, usable or not; a pinhole camera's where only K is known; none without K.
        """
        header = Header(stamp=stamp_from_ns(frame.stamp_ns), frame_id=frame.frame_id)
        calibration = frame.calibration
        if calibration is None and frame.intrinsics is not None:
            calibration = Calibration.of_pinhole(frame.intrinsics, frame.size)
        if calibration is not None:
            self._camera_info.publish(camera_info_message(calibration, header))
        if self._compressed:
            self._image.publish(compressed_image(frame.image, header))
        else:
            self._image.publish(image_message(frame.image, "rgb8", header))

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until every reliable subscriber has what was published; false where the time ran out."""
        timeout = Duration(nanoseconds=int(timeout_s * 1e9))
        return self._image.wait_for_all_acked(timeout) and self._camera_info.wait_for_all_acked(timeout)


@dataclass
class PlayCount:
    """Counts of what was published.

    Attributes:
        published: frames.
        without_camera_info: those of them whose K is not known.
        late: those published more than one period after they were due (a source or a machine that is too slow).
        sent_ns: (stamp, wall-clock time just before publishing) of each frame, nanoseconds, in order; kept on request.
    """

    published: int = 0
    without_camera_info: int = 0
    late: int = 0
    sent_ns: list[tuple[int, int]] | None = None


def play(
    samples: Iterable[Sample],
    publisher: CameraPublisher,
    schedule: Schedule,
    count: PlayCount,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Sample]:
    """Publish samples, each when it is due; none is dropped, late frames are published late.

    Args:
        samples: what to play; the next one is read before the wait for its time begins.
        publisher: where to.
        schedule: when.
        count: updated with each frame.
        stopped: asked before each frame; true stops playing.

    Yields:
        Each sample after it was published.
    """
    for sample in samples:
        due_s = schedule.due_s(sample.frame.stamp_ns)
        wait_s = due_s - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        if stopped():
            return
        count.late += time.monotonic() - due_s > schedule.period_s
        if count.sent_ns is not None:
            count.sent_ns.append((sample.frame.stamp_ns, time.time_ns()))
        publisher.publish(sample.frame)
        count.published += 1
        count.without_camera_info += sample.frame.intrinsics is None
        yield sample


def frames_to_play(
    source: Iterable[Sample], limit: int | None = None, loop: bool = False, rate_hz: float = 10.0
) -> Iterator[Sample]:
    """Yield a source's samples: the first `limit` of them, repeatedly with `loop`.

    A single frame has no stamps to jump back: its own would only repeat, which a camera's never do. Repeated, it is
    stamped at `rate_hz`.
    """
    last_ns, ahead_ns = None, 0
    while True:
        for sample in islice(iter(source), limit):
            stamp_ns = sample.frame.stamp_ns
            ahead_ns = ahead_ns + round(1e9 / rate_hz) if stamp_ns == last_ns else 0
            last_ns = stamp_ns
            frame = replace(sample.frame, stamp_ns=stamp_ns + ahead_ns) if ahead_ns else sample.frame
            yield replace(sample, frame=frame) if ahead_ns else sample
        if not loop:
            return


def compressed_image(image: NDArray[np.uint8], header: Header) -> CompressedImage:
    """Make a JPEG CompressedImage of an (H, W, 3) uint8 array, red green blue."""
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=array.array("B", data.tobytes()))
