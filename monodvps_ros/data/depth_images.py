# SPDX-License-Identifier: Apache-2.0
"""The depth images that a depth camera published beside the images."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import BagReader, read_messages
from monodvps_ros.data.bag.messages import stamped
from monodvps_ros.data.bag.streams import BagStreams
from monodvps_ros.data.bag.topics import require_topic
from monodvps_ros.data.chain import bags_by_sequence
from monodvps_ros.data.checks import DepthCheck, check_size
from monodvps_ros.data.image_codec import decode_raw
from monodvps_ros.errors import DataError
from monodvps_ros.outputs import IMAGE_TYPE
from monodvps_ros.types import Sample

#: Metres of one step, by encoding (REP 118).
_UNIT_M = {"16UC1": 1e-3, "32FC1": 1.0}


class BagDepthImages:
    """The depth images of a recording, or of a folder of them, registered to the images: pixel by pixel.

    Args:
        path: of the recording.
        topic: of the depth images, 16UC1 in millimetres or 32FC1 in metres.
        within_s: a depth image farther away in time does not belong to a frame.

    Raises:
        DataError: it is no recording, or there is no such topic.
    """

    def __init__(self, path: Path, topic: str | None, within_s: float) -> None:
        bags = bags_by_sequence(path)
        if not bags:
            raise DataError(f"{path}: is not a recording; depth images are read from rosbag2 only")
        if topic is None:
            raise DataError(f"{path}: which topic has the depth images? Give it with --depth-topic")
        self._topic, self._check = topic, DepthCheck()
        for bag in bags.values():
            with BagReader(bag) as reader:
                require_topic(reader, topic, IMAGE_TYPE)
        self._streams = BagStreams(bags, self._open, within_s)

    def of(self, sample: Sample) -> NDArray[np.float32] | None:
        """Return the depth (H, W) of a frame, metres, NaN where there is none; None where no depth image is near.

        Raises:
            DataError: it is of another encoding, or of another size than the image.
        """
        message = self._streams.of(sample)
        if message is None:
            return None
        where = f"{sample.source}: depth of {self._topic}"
        if message.encoding not in _UNIT_M:
            raise DataError(f"{where} has encoding '{message.encoding}'; expected {' or '.join(_UNIT_M)}")
        big = bool(message.is_bigendian)
        values = decode_raw(message.data, message.encoding, message.height, message.width, message.step, big)
        check_size(values.shape, sample.frame.size, where)
        depth_m = values.astype(np.float32) * np.float32(_UNIT_M[message.encoding])
        depth_m[~(np.isfinite(depth_m) & (depth_m > 0))] = np.nan
        self._check.warn(depth_m, where)
        return np.asarray(depth_m, np.float32)

    def _open(self, bag: Path) -> Iterator[tuple[int, Any]]:
        return stamped(read_messages(bag, [self._topic]))
