# SPDX-License-Identifier: Apache-2.0
"""Recordings of ROS 2 (rosbag2, sqlite3 or MCAP): a folder, a storage file, or a folder of recordings."""

from pathlib import Path

from monodvps_ros.data.bag import is_bag
from monodvps_ros.data.bag.source import BagSource
from monodvps_ros.data.chain import ChainedSource, bags_in
from monodvps_ros.data.format import Format, OpenOptions
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.metrics import RECORDING_RULES
from monodvps_ros.types import SampleSource


def _detects(path: Path) -> bool:
    return is_bag(path) or bool(bags_in(path))


def _open(path: Path, options: OpenOptions) -> SampleSource:
    sources = [
        BagSource(bag, options.image_topic, options.camera_info_topic, options.labels or CITYSCAPES, options.rectified)
        for bag in ([path] if is_bag(path) else bags_in(path))
    ]
    return sources[0] if len(sources) == 1 else ChainedSource(path, sources)


FORMAT = Format(
    "a recording (.mcap, .db3 or their folder)",
    _detects,
    _open,
    frozenset({"image_topic", "camera_info_topic", "labels", "rectified"}),
    rules=RECORDING_RULES,
)
