# SPDX-License-Identifier: Apache-2.0
"""Reads what the demo recorded: counts by topic, and the pictures of each frame."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import read_messages
from monodvps_ros.demo.report import RecordedTopic
from monodvps_ros.evaluation.pictures import Panels
from monodvps_ros.types import POINT_DTYPE

_PIXELS = {"rgb8": ("u1", 3), "32FC1": ("<f4", 1), "16UC1": ("<u2", 1), "mono8": ("u1", 1)}
#: Topic -> part of the `Panels` that is made of it.
_PARTS = {
    "/image": "image",
    "/depth/image": "depth",
    "/panoptic/color": "color",
    "/panoptic/segments": "segments",
    "/points": "points",
}
#: More names than these on one picture cannot be read: those of the largest segments are written.
MOST_TAGS = 12


class Recording:
    """A bag of the node's outputs beside its input.

    Args:
        path: folder of the bag.

    Raises:
        DataError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.topics: dict[str, RecordedTopic] = {}
        self._parts_of_stamp: defaultdict[int, set[str]] = defaultdict(set)
        for topic, type_name, received_ns, message in read_messages(path):
            stamp_ns = _stamp_ns(message)
            recorded = self.topics.setdefault(topic, RecordedTopic(type_name, getattr(message, "encoding", None)))
            recorded.stamps_ns.append(stamp_ns)
            recorded.received_ns.append(received_ns)
            if topic in _PARTS:
                self._parts_of_stamp[stamp_ns].add(_PARTS[topic])

    @property
    def complete(self) -> list[int]:
        """Stamps of the frames that the node published something for, in the order of the images."""
        images = self.topics.get("/image")
        return [] if images is None else [stamp for stamp in images.stamps_ns if len(self._parts_of_stamp[stamp]) > 1]

    @property
    def has_cloud(self) -> bool:
        """Whether there is a cloud at all."""
        return "/points" in self.topics

    def panels(self) -> Iterator[Panels]:
        """Give what is drawn of each frame in `complete`, in the order in which the frames were completed."""
        pending: dict[int, dict[str, Any]] = {}
        wanted = set(self.complete)
        for topic, _, _, message in read_messages(self._path, list(_PARTS)):
            stamp_ns = _stamp_ns(message)
            if stamp_ns not in wanted:
                continue
            parts = pending.setdefault(stamp_ns, {})
            parts[_PARTS[topic]] = message
            if parts.keys() == self._parts_of_stamp[stamp_ns]:
                yield _panels(stamp_ns, pending.pop(stamp_ns))


def _panels(stamp_ns: int, parts: dict[str, Any]) -> Panels:
    segments = parts["segments"].segments if "segments" in parts else []
    things = sorted((segment for segment in segments if segment.is_thing), key=lambda segment: -segment.area_px)
    return Panels(
        stamp_ns=stamp_ns,
        image=_pixels(parts["image"]),
        depth_m=_pixels(parts["depth"]) if "depth" in parts else None,
        color=_pixels(parts["color"]) if "color" in parts else None,
        tags=[
            (f"{s.class_name} {s.track_id}", (s.x_min + s.x_max) // 2, (s.y_min + s.y_max) // 2)
            for s in things[:MOST_TAGS]
        ],
        cloud=np.frombuffer(parts["points"].data, POINT_DTYPE) if "points" in parts else None,
    )


def _pixels(message: Any) -> NDArray[Any]:
    dtype, channels = _PIXELS[message.encoding]
    shape = (message.height, message.width, channels) if channels > 1 else (message.height, message.width)
    return np.frombuffer(message.data, dtype).reshape(shape)


def _stamp_ns(message: Any) -> int:
    return int(message.header.stamp.sec) * 1_000_000_000 + int(message.header.stamp.nanosec)
