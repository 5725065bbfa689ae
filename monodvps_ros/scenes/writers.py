# SPDX-License-Identifier: Apache-2.0
"""Writes a drive as a recording, or as a sequence of a Cityscapes-DVPS folder, with its truth beside the images."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from monodvps_ros.data.bag import BagWriter
from monodvps_ros.data.camera_file import CAMERA_FILE
from monodvps_ros.data.formats.cityscapes_dvps import IMAGE, CityscapesDvpsWriter, next_sequence
from monodvps_ros.errors import DataError
from monodvps_ros.files import partial_path, partials
from monodvps_ros.scenes.drive import Drive
from monodvps_ros.types import Sample

WORLD_FRAME = "world"
Progress = Callable[[Iterable[Sample]], Iterable[Sample]]


def write_bag(drive: Drive, folder: Path, progress: Progress = iter, storage: str = "mcap") -> Path:
    """Write a drive as a rosbag2 recording, one folder for each drive; it appears once it is whole.

    Topics: ``/camera/image_raw`` (rgb8), ``/camera/camera_info``, ``/camera/truth/panoptic`` (16UC1),
    ``/camera/truth/depth`` (32FC1, metres, NaN for the sky), ``/camera/truth/flow`` (32FC2, pixels to the previous
    frame, NaN in the first), ``/camera/truth/flow_visible`` (mono8, 255 where visible) and ``/tf`` (world to camera).

    Args:
        drive: what to write.
        folder: that takes the recording; made if it is missing.
        progress: is given the samples and hands them on; shows how far it is.
        storage: mcap or sqlite3.

    Returns:
        The recording's path, ``folder/drive_<seed>``.

    Raises:
        DataError: there is a recording of that name already.
    """
    path = folder / f"drive_{drive.seed:06d}"
    with BagWriter(path, storage) as writer:
        for sample in progress(drive):
            _write_sample(writer, sample)
    return path


def _write_sample(writer: BagWriter, sample: Sample) -> None:
    frame, truth = sample.frame, sample.truth
    assert frame.intrinsics is not None and truth.world_from_camera is not None
    assert truth.panoptic is not None and truth.depth_m is not None
    assert truth.flow_px is not None and truth.flow_visible is not None
    stamp, name = frame.stamp_ns, frame.frame_id
    writer.transform(stamp, WORLD_FRAME, name, truth.world_from_camera)
    writer.camera_info("/camera/camera_info", stamp, name, frame.size, frame.intrinsics)
    writer.image("/camera/truth/panoptic", stamp, name, truth.panoptic, "16UC1")
    writer.image("/camera/truth/depth", stamp, name, truth.depth_m, "32FC1")
    writer.image("/camera/truth/flow", stamp, name, truth.flow_px, "32FC2")
    visible = np.where(truth.flow_visible, 255, 0).astype(np.uint8)
    writer.image("/camera/truth/flow_visible", stamp, name, visible, "mono8")
    writer.image("/camera/image_raw", stamp, name, frame.image, "rgb8")


def write_cityscapes_dvps(
    drive: Drive, folder: Path, progress: Progress = iter, split: str = "train", sequence: int | None = None
) -> Path:
    """Write a drive as one more sequence of a Cityscapes-DVPS folder: pictures, panoptic labels, depth and K.

    It is written to a hidden folder, and its files are moved once all are there. What a killed process left of the same
    drive is removed.

    The layout has no place for flow and poses; a recording holds them. The drive's seed stands where Cityscapes has
    the city, ``drive<seed>``.

    Args:
        drive: what to write.
        folder: that holds or will hold ``video_sequence``.
        progress: is given the samples and hands them on; shows how far it is.
        split: such as train or val.
        sequence: its number; None takes the first after those that are there.

    Returns:
        The folder of the images, ``folder/video_sequence/<split>``.

    Raises:
        DataError: a drive of that seed is in the split already.
    """
    city = f"drive{drive.seed:06d}"
    images = folder / "video_sequence" / split
    there = sorted(images.glob(f"[0-9]*_{city}_*"))
    for unfinished in partials(images, f"{city}.*"):  # killed while rendering, or while files were moved
        for file in there:
            file.unlink()
            (images / f"{file.name[:6]}_{CAMERA_FILE}").unlink(missing_ok=True)
        there = []
        shutil.rmtree(unfinished)
    if there:
        raise DataError(
            f"{there[0].parent}: contains a drive of seed {drive.seed} already ({there[0].name}); drives are not "
            "overwritten: remove its files, or choose another folder or seed"
        )
    number = next_sequence(images) if sequence is None else sequence
    unfinished = partial_path(images / city)
    try:
        writer = CityscapesDvpsWriter(unfinished, drive.rate_hz, split, city, drive.config.camera_height_m, number)
        for sample in progress(drive):
            writer.add(sample)
        for file in sorted(writer.folder.iterdir(), key=lambda file: file.stem.endswith(IMAGE)):  # images last
            file.replace(images / file.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return images
