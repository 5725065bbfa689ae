# SPDX-License-Identifier: Apache-2.0
"""Recordings of ROS 2 (rosbag2, sqlite3 or MCAP): a folder, a storage file, or a folder of recordings."""

import logging
from pathlib import Path

from monodvps_ros.data.bag import is_bag
from monodvps_ros.data.bag.source import BagSource
from monodvps_ros.data.chain import ChainedSource, bags_in
from monodvps_ros.data.format import Format, OpenOptions
from monodvps_ros.errors import DataError
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.metrics import RECORDING_RULES
from monodvps_ros.types import SampleSource

log = logging.getLogger(__name__)


def _detects(path: Path) -> bool:
    return is_bag(path) or bool(bags_in(path))


def _open(path: Path, options: OpenOptions) -> SampleSource:
    if is_bag(path):
        return _open_bag(path, options)
    sources, refused = [], []
    for bag in bags_in(path):
        try:
            sources.append(_open_bag(bag, options))
        except DataError as error:  # noqa: PERF203
            refused.append(error)
    if not sources:
        raise refused[0]
    for problem in refused:
        log.warning("%s", problem)
    return sources[0] if len(sources) == 1 and not refused else ChainedSource(path, sources, list(map(str, refused)))


def _open_bag(path: Path, options: OpenOptions) -> BagSource:
    labels = options.labels or CITYSCAPES
    return BagSource(path, options.image_topic, options.camera_info_topic, labels, options.rectified)


FORMAT = Format(
    "a recording (.mcap, .db3 or their folder)",
    _detects,
    _open,
    frozenset({"image_topic", "camera_info_topic", "labels", "rectified"}),
    rules=RECORDING_RULES,
)
