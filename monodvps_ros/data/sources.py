# SPDX-License-Identifier: Apache-2.0
"""Opens whatever holds a sequence."""

from pathlib import Path

from monodvps_ros.data.bag import is_bag
from monodvps_ros.data.bag_source import BagSource
from monodvps_ros.data.chain import ChainedSource, bags_in
from monodvps_ros.data.formats.cityscapes_dvps import CityscapesDvpsSource, is_cityscapes_dvps
from monodvps_ros.data.formats.folder import FolderSource
from monodvps_ros.data.formats.pseudo_labels import (
    MANIFEST,
    METRIC,
    PseudoLabelSource,
    is_pseudo_labelled,
    recording_of,
)
from monodvps_ros.data.formats.semkitti_dvps import SemkittiDvpsSource, is_semkitti_dvps
from monodvps_ros.data.formats.video import VIDEO_SUFFIXES, VideoSource
from monodvps_ros.data.manifest import read_manifest
from monodvps_ros.errors import DataError, LabelError
from monodvps_ros.labels import CITYSCAPES, SEMKITTI, LabelSpace, label_space
from monodvps_ros.types import SampleSource


def open_source(
    path: Path | str,
    *,
    image_topic: str | None = None,
    camera_info_topic: str | None = None,
    rate_hz: float | None = None,
    labels: LabelSpace | None = None,
    rectified: str = "auto",
) -> SampleSource:
    """Open what holds a sequence, by what it is.

    That is: a recording (rosbag2: folder, .mcap or .db3), a folder of recordings (each a sequence), Cityscapes-DVPS,
    SemKITTI-DVPS, a folder of images, a video file, or pseudo-labels of any of these.

    Args:
        path: where it is.
        image_topic: of a recording with several cameras.
        camera_info_topic: of a recording where it is not ``camera_info`` beside the images.
        rate_hz: frames per second of a folder or a video; None takes what they say.
        labels: label space of the truth; None takes the data set's own, Cityscapes where it says none.
        rectified: auto, true or false: whether the images of a recording or a folder are rectified already. auto: where
            the image topic's name says so, or the camera has no distortion.

    Raises:
        DataError: there is nothing, or nothing that is known; an option does not fit it; or as the source says.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    given = None if rectified == "auto" else rectified
    if is_pseudo_labelled(path):
        _refuse(path, "a folder of pseudo-labels", image_topic=image_topic, camera_info_topic=camera_info_topic,
                rate_hz=rate_hz, labels=labels, rectified=given)  # fmt: skip
        return _open_pseudo_labels(path)
    bags = [path] if is_bag(path) else bags_in(path)
    if bags:
        _refuse(path, "a recording", rate_hz=rate_hz)
        sources = [BagSource(bag, image_topic, camera_info_topic, labels or CITYSCAPES, rectified) for bag in bags]
        return sources[0] if len(sources) == 1 else ChainedSource(path, sources)
    _refuse(path, "no recording", image_topic=image_topic, camera_info_topic=camera_info_topic)
    if path.is_dir() and (is_cityscapes_dvps(path) or is_semkitti_dvps(path)):
        _refuse(path, "a data set with stamps of its own", rate_hz=rate_hz, rectified=given)
        if is_cityscapes_dvps(path):
            return CityscapesDvpsSource(path, labels or CITYSCAPES)
        return SemkittiDvpsSource(path, labels or SEMKITTI)
    if path.is_dir():
        return FolderSource(path, rate_hz, labels or CITYSCAPES, rectified)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        _refuse(path, "a video, whose camera is not known", rectified=given)
        return VideoSource(path, rate_hz, labels or CITYSCAPES)
    raise DataError(
        f"{path}: is neither a recording (.mcap, .db3 or their folder), nor a folder of images, nor a video "
        f"({', '.join(VIDEO_SUFFIXES)})"
    )


def _open_pseudo_labels(path: Path) -> SampleSource:
    made = read_manifest(path / MANIFEST)
    try:
        labels, image_topic, keeps = label_space(made["label_space"]), made["image_topic"], made["keep_labels"]
        rectified = made["rectified"]
        kinds = made["teacher"] is not None, made["inverse_depth"] == METRIC
    except (KeyError, LabelError) as error:
        raise DataError(
            f"{path / MANIFEST}: lacks a key or names unknown labels: {error}; make the labels again"
        ) from None
    recording = open_source(recording_of(path), image_topic=image_topic, labels=labels, rectified=rectified)
    return PseudoLabelSource(path, recording, bool(keeps), *kinds)


def _refuse(path: Path, what: str, **options: object) -> None:
    for name, value in options.items():
        if value is not None:
            raise DataError(f"{path}: is {what}: {name} ({value}) does not apply to it")
