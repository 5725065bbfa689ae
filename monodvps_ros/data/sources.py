# SPDX-License-Identifier: Apache-2.0
"""Opens whatever contains a sequence."""

from pathlib import Path

from monodvps_ros.data.format import OpenOptions
from monodvps_ros.data.formats import find_format
from monodvps_ros.labels import LabelSpace
from monodvps_ros.types import SampleSource


def open_source(
    path: Path | str,
    *,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    rate_hz: float | None = None,
    labels: LabelSpace | None = None,
    rectified: str = "auto",
    label_file: Path | None = None,
) -> SampleSource:
    """Open what holds a sequence, by what it is: any format of `monodvps_ros.data.formats`.

    Args:
        path: where it is.
        image_topic: of a recording with several cameras.
        camera_info_topic: of a recording where it is not ``camera_info`` beside the images.
        rate_hz: frames per second of a folder or a video; None takes what they say.
        labels: label space of the truth; None takes the data set's own, Cityscapes where it says none.
        rectified: auto, true or false: whether the images of a recording or a folder are rectified already. auto: where
            the image topic's name says so, or the camera has no distortion.
        label_file: that the caller reads label images by, so that the source need not say that it does not.

    Raises:
        DataError: there is nothing, or nothing that is known; an option does not fit it; or as the source says.
    """
    options = OpenOptions(image_topic, camera_info_topic, rate_hz, labels, rectified, label_file)
    return find_format(Path(path)).open_checked(Path(path), options)
