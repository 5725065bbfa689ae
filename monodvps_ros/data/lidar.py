# SPDX-License-Identifier: Apache-2.0
"""The points that a LiDAR of the robot measured at the time of a frame, in the camera's frame."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import BagReader, read_messages, recording_of
from monodvps_ros.data.bag.messages import stamped
from monodvps_ros.data.bag.streams import BagStreams
from monodvps_ros.data.bag.topics import only_topic, require_topic
from monodvps_ros.data.bag.transform_tree import TransformTree
from monodvps_ros.data.chain import bags_by_sequence
from monodvps_ros.data.point_clouds import cloud_points
from monodvps_ros.errors import DataError, EncodingError, shown
from monodvps_ros.files import read_yaml
from monodvps_ros.outputs import POINT_CLOUD_TYPE
from monodvps_ros.types import Sample

_KEY = "camera_from_lidar"


class BagClouds:
    """The clouds of a recording, or of a folder of them, each in the frame of the camera that asks.

    Args:
        path: of the recording.
        topic: of the clouds, a sensor_msgs/PointCloud2; None takes the only one.
        within_s: a cloud, or a moving transform, farther away in time does not belong to a frame.
        extrinsics: YAML file with the extrinsics (see `read_extrinsics`); None takes them from /tf and /tf_static.

    Raises:
        DataError: it is no recording, there is no such topic, or the file cannot be read.
    """

    def __init__(self, path: Path, topic: str | None, within_s: float, extrinsics: Path | None) -> None:
        bags = bags_by_sequence(path)
        if not bags:
            raise DataError(f"{path}: is not a recording; LiDAR points are read from rosbag2 only")
        self._extrinsics = None if extrinsics is None else read_extrinsics(extrinsics)
        self._topics: dict[Path, str] = {}
        self._trees: dict[str, TransformTree] = {}
        for sequence, bag in bags.items():
            with BagReader(bag) as reader:
                self._topics[bag] = topic or only_topic(reader, POINT_CLOUD_TYPE, "point clouds")
                require_topic(reader, self._topics[bag], POINT_CLOUD_TYPE)
            if self._extrinsics is None:
                self._trees[sequence] = TransformTree(bag, within_s)
        self._streams = BagStreams(bags, self._open, within_s)

    def of(self, sample: Sample) -> NDArray[np.float64] | None:
        """Return the points (N, 3) nearest in time to a frame, metres in its optical frame; None where there are none.

        Raises:
            DataError: the cloud cannot be read, or /tf does not connect its frame to the camera's.
        """
        cloud = self._streams.of(sample)
        if cloud is None:
            return None
        try:
            points = cloud_points(cloud)
        except EncodingError as error:
            raise DataError(f"{sample.source}: its cloud: {error}") from None
        camera_from_lidar = self._extrinsics
        if camera_from_lidar is None:
            frames = sample.frame.frame_id, cloud.header.frame_id
            recording, part = recording_of(sample.sequence, self._trees)
            camera_from_lidar = self._trees[recording].lookup(*frames, sample.frame.stamp_ns, part)
        return np.asarray(points @ camera_from_lidar[:3, :3].T + camera_from_lidar[:3, 3])

    def _open(self, bag: Path) -> Iterator[tuple[int, Any]]:
        return stamped(read_messages(bag, [self._topics[bag]]))


def read_extrinsics(path: Path) -> NDArray[np.float64]:
    """Read where a LiDAR is: ``camera_from_lidar``, 12 or 16 numbers row by row, or rows of four.

    Returns:
        (4, 4) float64, carries points of the LiDAR into the camera's optical frame (x right, y down, z forward),
        metres.

    Raises:
        DataError: the file cannot be read, or holds no rigid transform.
    """
    values = read_yaml(path)
    numbers = values.get(_KEY) if isinstance(values, dict) else None
    try:
        matrix = np.asarray(numbers, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    if matrix.size not in (12, 16) or not np.isfinite(matrix).all():
        raise DataError(f"{path}: '{_KEY}' is {shown(numbers)}; expected 12 or 16 finite numbers, row by row")
    rows = matrix.reshape(-1, 4)
    rotation, full = rows[:3, :3], np.vstack([rows[:3], [0.0, 0.0, 0.0, 1.0]])
    is_turn = np.abs(rotation @ rotation.T - np.eye(3)).max() <= 1e-3 and np.linalg.det(rotation) > 0
    if not is_turn or np.abs(rows[3:] - full[3:]).max(initial=0.0) > 0:
        raise DataError(
            f"{path}: '{_KEY}' is {shown(numbers)}; expected rows of a rotation and a translation, the fourth 0 0 0 1"
        )
    return full
