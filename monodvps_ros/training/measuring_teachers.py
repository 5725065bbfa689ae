# SPDX-License-Identifier: Apache-2.0
"""Depth teachers that measure, in metres, with what the recording contains beside its images."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.depth_images import BagDepthImages
from monodvps_ros.data.lidar import BagClouds
from monodvps_ros.data.manifest import file_digest
from monodvps_ros.data.right_images import RightImages, open_right_images
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.geometry.sparse_depth import project_to_depth
from monodvps_ros.geometry.stereo import match_stereo
from monodvps_ros.types import Sample

STEREO, LIDAR, TOPIC = "stereo", "lidar", "topic"
#: How far in time from a frame the measurement may be, seconds: pairs are taken at one moment, LiDARs turn at 10 Hz.
WITHIN_S = {STEREO: 0.005, LIDAR: 0.05, TOPIC: 0.02}


@dataclass(frozen=True)
class MeasuredDepth:
    """What a measuring teacher reads of a recording.

    Attributes:
        recording: a bag, a folder of bags, or a folder of images.
        topic: of the right images, the clouds or the depth images; None takes what can be found.
        within_s: bound of the distance in time; None takes that of `WITHIN_S`.
        extrinsics: file with the place of the LiDAR; None takes /tf and /tf_static.
        image_topic: of the images that are labelled.
        rectified: whether the right images are rectified: auto, true or false.
    """

    recording: Path
    topic: str | None = None
    within_s: float | None = None
    extrinsics: Path | None = None
    image_topic: str | None = None
    rectified: str = "auto"


@dataclass(eq=False)
class MeasuringTeacher:
    """Depth in metres that a recording holds, or that follows from its images; see `DepthTeacher`."""

    description: str
    made_with: dict[str, Any]
    inverse_depth: Callable[[Sample], NDArray[np.float32] | None]
    is_metric: bool = True


def load_measuring_teacher(name: str, options: MeasuredDepth) -> MeasuringTeacher:
    """Make a measuring teacher: stereo, lidar or topic.

    Raises:
        ConfigError: an option does not go with the teacher.
        DataError: the recording does not hold what the teacher needs.
    """
    if options.extrinsics is not None and name != LIDAR:
        raise ConfigError(f"extrinsics are for the depth teacher '{LIDAR}', not for '{name}'")
    recording = options.recording
    within_s = WITHIN_S[name] if options.within_s is None else options.within_s
    made_with: dict[str, Any] = {"name": name, "topic": options.topic, "within_s": within_s}
    if options.extrinsics is not None:
        made_with["extrinsics_sha256"] = file_digest(options.extrinsics)
    if name == STEREO:
        right = open_right_images(recording, options.topic, options.image_topic, within_s, options.rectified)
        return MeasuringTeacher("stereo matching", made_with, partial(_match_pair, right))
    if name == LIDAR:
        clouds = BagClouds(recording, options.topic, within_s, options.extrinsics)
        return MeasuringTeacher("LiDAR", made_with, partial(_project_cloud, clouds))
    depth_images = BagDepthImages(recording, options.topic, within_s)
    return MeasuringTeacher("depth images", made_with, partial(_read_depth, depth_images))


def _match_pair(right_images: RightImages, sample: Sample) -> NDArray[np.float32] | None:
    right = right_images.of(sample)
    if right is None:
        return None
    focal_px = intrinsics_of(sample)[0, 0]
    return match_stereo(sample.frame.rectified().image, right.image) / np.float32(focal_px * right.baseline_m)


def _project_cloud(clouds: BagClouds, sample: Sample) -> NDArray[np.float32] | None:
    points_m = clouds.of(sample)
    if points_m is None:
        return None
    return 1.0 / project_to_depth(points_m, intrinsics_of(sample), sample.frame.size)


def _read_depth(depth_images: BagDepthImages, sample: Sample) -> NDArray[np.float32] | None:
    depth_m = depth_images.of(sample)
    if depth_m is None:
        return None
    rectification = sample.frame.rectification
    return 1.0 / (depth_m if rectification is None else rectification.depth(depth_m))


def intrinsics_of(sample: Sample) -> NDArray[np.float64]:
    """Return K of a frame.

    Raises:
        DataError: it is not known.
    """
    if sample.frame.intrinsics is None:
        raise DataError(f"{sample.source}: depth in metres needs the camera's K, which is not known")
    return sample.frame.intrinsics
