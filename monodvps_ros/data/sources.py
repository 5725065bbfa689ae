# SPDX-License-Identifier: Apache-2.0
"""Opens whatever holds a sequence."""

from pathlib import Path

from monodvps_ros.data.bag import is_bag
from monodvps_ros.data.bag_source import BagSource
from monodvps_ros.data.folder import FolderSource
from monodvps_ros.data.video import VIDEO_SUFFIXES, VideoSource
from monodvps_ros.errors import DataError
from monodvps_ros.labels import CITYSCAPES, LabelSpace
from monodvps_ros.types import SampleSource


def open_source(
    path: Path | str,
    *,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    rate_hz: float | None = None,
    labels: LabelSpace | None = None,
) -> SampleSource:
    """Open a recording (rosbag2: folder, .mcap or .db3), a folder of images or a video file, by what it is.

    Args:
        path: where it is.
        image_topic: of a recording with several cameras.
        camera_info_topic: of a recording where it is not ``camera_info`` beside the images.
        rate_hz: frames per second of a folder or a video; None takes what they say.
        labels: label space of the truth; None takes the data set's own, Cityscapes where it says none.

    Raises:
        DataError: there is nothing, or nothing that is known; an option does not fit it; or as the source says.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    if is_bag(path):
        _refuse(path, "a recording", rate_hz=rate_hz)
        return BagSource(path, image_topic, camera_info_topic, labels or CITYSCAPES)
    _refuse(path, "no recording", image_topic=image_topic, camera_info_topic=camera_info_topic)
    if path.is_dir():
        return FolderSource(path, rate_hz, labels or CITYSCAPES)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return VideoSource(path, rate_hz, labels or CITYSCAPES)
    raise DataError(
        f"{path}: is neither a recording (.mcap, .db3 or their folder), nor a folder of images, nor a video "
        f"({', '.join(VIDEO_SUFFIXES)})"
    )


def _refuse(path: Path, what: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise DataError(f"{path}: is {what}: {name} ({value}) does not apply to it")
