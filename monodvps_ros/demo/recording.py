# SPDX-License-Identifier: Apache-2.0
"""Reads the demo's recording: counts by topic, and the pictures of each frame."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import read_messages
from monodvps_ros.data.image_codec import decode_raw
from monodvps_ros.data.message_fields import time_to_ns
from monodvps_ros.demo.report import RecordedTopic
from monodvps_ros.evaluation.pictures import Panels
from monodvps_ros.outputs import POINT_DTYPE, Output, topic_of

IMAGE = "/image"
DEPTH, COLOR, SEGMENTS, CLOUD = (
    f"/{topic_of(output)}" for output in (Output.DEPTH, Output.COLOR, Output.SEGMENTS, Output.CLOUD)
)
#: Topics that `Panels` are made of.
_DRAWN = (IMAGE, DEPTH, COLOR, SEGMENTS, CLOUD)
#: More names than these on one picture cannot be read: those of the largest segments are written.
MOST_TAGS = 12


class Recording:
    """A bag of the node's outputs beside its input.

    Raises:
        DataError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.topics: dict[str, RecordedTopic] = {}
        self._topics_of_stamp: defaultdict[int, set[str]] = defaultdict(set)
        for topic, type_name, received_ns, message in read_messages(path):
            stamp_ns = time_to_ns(message.header.stamp)
            recorded = self.topics.setdefault(topic, RecordedTopic(type_name, getattr(message, "encoding", None)))
            recorded.stamps_ns.append(stamp_ns)
            recorded.received_ns.append(received_ns)
            if topic in _DRAWN:
                self._topics_of_stamp[stamp_ns].add(topic)

    @property
    def complete(self) -> list[int]:
        """Stamps of the frames that the node published something for, in the order of the images."""
        images = self.topics.get(IMAGE)
        return [] if images is None else [stamp for stamp in images.stamps_ns if len(self._topics_of_stamp[stamp]) > 1]

    @property
    def has_cloud(self) -> bool:
        """Whether there is a cloud."""
        return CLOUD in self.topics

    def panels(self) -> Iterator[Panels]:
        """Yield what is drawn of each frame in `complete`, in order of completion."""
        pending: dict[int, dict[str, Any]] = {}
        wanted = set(self.complete)
        for topic, _, _, message in read_messages(self._path, list(_DRAWN)):
            stamp_ns = time_to_ns(message.header.stamp)
            if stamp_ns not in wanted:
                continue
            messages = pending.setdefault(stamp_ns, {})
            messages[topic] = message
            if messages.keys() == self._topics_of_stamp[stamp_ns]:
                yield _panels(stamp_ns, pending.pop(stamp_ns))


def _panels(stamp_ns: int, messages: dict[str, Any]) -> Panels:
    segments = messages[SEGMENTS].segments if SEGMENTS in messages else []
    things = sorted((segment for segment in segments if segment.is_thing), key=lambda segment: -segment.area_px)
    return Panels(
        stamp_ns=stamp_ns,
        image=_pixels(messages[IMAGE]),
        depth_m=_pixels(messages[DEPTH]) if DEPTH in messages else None,
        color=_pixels(messages[COLOR]) if COLOR in messages else None,
        tags=[
            (f"{s.class_name} {s.track_id}", (s.x_min + s.x_max) // 2, (s.y_min + s.y_max) // 2)
            for s in things[:MOST_TAGS]
        ],
        cloud=np.frombuffer(messages[CLOUD].data, POINT_DTYPE) if CLOUD in messages else None,
    )


def _pixels(message: Any) -> NDArray[Any]:
    return decode_raw(
        message.data, message.encoding, message.height, message.width, message.step, bool(message.is_bigendian)
    )
