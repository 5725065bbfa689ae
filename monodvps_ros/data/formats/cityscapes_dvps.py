# SPDX-License-Identifier: Apache-2.0
"""Cityscapes-DVPS: reader and writer of its layout.

``video_sequence/<split>/SSSSSS_FFFFFF_<city>_NNNNNN_NNNNNN_<kind>.png`` with S the sequence, F the frame in it, and the
last N the frame's number in the recording of the camera, which gives the stamp. The kinds:

- ``leftImg8bit``: the picture;
- ``gtFine_instanceTrainIds``: uint16, class * 1000 + instance (0 for stuff), void is 32000;
- ``depth``: uint16, metres times 256, 0 where there is none.

The data set ships no cameras. Where there is a ``SSSSSS_camera.json`` (of one sequence) or ``camera.json`` (of all) in
the folder of the images, it says K and the rate of the recording; without one, K is not known and the rate is 17 Hz.

Predictions: files in ``pan/`` and ``dep/`` are named like the pictures. Those in ``pan/`` are RGB PNGs: red is the
class, green the instance id, 0 for stuff, 255 at most.

Source: Qiao et al. 2021 (ViP-DeepLab) and the scripts published with it, and the data set's own description.
"""

import re
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.camera_file import CAMERA_FILE, CameraFile, read_sequence_camera, write_camera
from monodvps_ros.data.camera_samples import CameraSamples
from monodvps_ros.data.checks import check_increasing, check_panoptic, check_size
from monodvps_ros.data.format import Format, PredictionLayout
from monodvps_ros.data.formats.folder import START_NS
from monodvps_ros.data.image_files import depth_to_file, read_depth, read_map, read_picture, write_image
from monodvps_ros.data.listing import entries, list_folder
from monodvps_ros.data.reading import Reading
from monodvps_ros.errors import DataError, counted
from monodvps_ros.labels import CITYSCAPES, VOID_PANOPTIC_ID, LabelSpace
from monodvps_ros.metrics import DatasetRules
from monodvps_ros.types import FrameTruth, Sample

IMAGE, LABEL, DEPTH = "leftImg8bit", "gtFine_instanceTrainIds", "depth"
VOID_IN_FILES = 32000
#: Frames per second of the cameras of Cityscapes.
RECORDING_RATE_HZ = 17.0

_NAME = re.compile(r"(\d{6})_(\d{6})_(.+)_(\d+)_(leftImg8bit|gtFine_instanceTrainIds|depth)\.png")


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame's name, parted."""

    stem: str
    sequence: str
    frame: int
    number: int


class CityscapesDvpsSource:
    """The frames of a split, sequence after sequence.

    Labels and depth may be missing for all frames, never for some.

    Args:
        path: folder of the images, or one that holds ``video_sequence/<split>`` or ``<split>`` for one split only.
        labels: label space of the truth.

    Raises:
        DataError: there are no images, a frame lacks a partner, or a label or depth has no image.
    """

    def __init__(self, path: Path, labels: LabelSpace = CITYSCAPES) -> None:
        self.path = image_folder(path, IMAGE)
        self._labels = labels
        by_kind: dict[str, dict[str, _Frame]] = {IMAGE: {}, LABEL: {}, DEPTH: {}}
        for file in list_folder(self.path, [".png"]):
            match = _NAME.fullmatch(file.name)
            if match is None:
                raise DataError(
                    f"{file}: is not named as in Cityscapes-DVPS (SSSSSS_FFFFFF_<city>_…_NNNNNN_<kind>.png)"
                )
            stem = file.name.removesuffix(f"_{match[5]}.png")
            by_kind[match[5]][stem] = _Frame(stem, match[1], int(match[2]), int(match[4]))
        self._frames = sorted(by_kind[IMAGE].values(), key=lambda frame: (frame.sequence, frame.frame))
        self._kinds = [kind for kind in (LABEL, DEPTH) if by_kind[kind]]
        for kind in self._kinds:
            check_partners(self.path, by_kind[IMAGE].keys(), by_kind[kind].keys(), kind)
        self._camera_samples = CameraSamples(str(self.path))
        self._cameras = {
            sequence: read_sequence_camera(self.path, sequence)
            for sequence in {frame.sequence for frame in self._frames}
        }

    @property
    def rate_hz(self) -> float:
        """Annotated frames per second: the recording's rate over the usual distance of two frames."""
        steps = [
            after.number - before.number
            for before, after in pairwise(self._frames)
            if after.sequence == before.sequence and after.number > before.number
        ]
        return self._recording_rate_hz(self._frames[0].sequence) / (float(np.median(steps)) if steps else 1.0)

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the truth."""
        return self._labels

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._frames)

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first frame of the first sequence; goes on after a frame that cannot be read.

        Raises:
            DataError: a file cannot be read, stamps do not increase, or sizes or label values are wrong.
        """
        return Reading(self._makers())

    def _makers(self) -> Iterator[Callable[[], Sample]]:
        for sequence, frames in groupby(self._frames, key=lambda frame: frame.sequence):
            previous_ns = 0
            for index, frame in enumerate(frames):
                stamp_ns = START_NS + round(frame.number * 1e9 / self._recording_rate_hz(sequence))
                yield partial(self._checked, previous_ns, frame, index, stamp_ns)
                previous_ns = max(previous_ns, stamp_ns)

    def _checked(self, previous_ns: int, frame: _Frame, index: int, stamp_ns: int) -> Sample:
        check_increasing(previous_ns, stamp_ns, str(self._file(frame, IMAGE)))
        return self._sample(frame, index, stamp_ns)

    def _sample(self, frame: _Frame, index: int, stamp_ns: int) -> Sample:
        path, camera = self._file(frame, IMAGE), self._cameras[frame.sequence]
        image = read_picture(path)
        size = (image.shape[0], image.shape[1])
        if camera is not None:
            check_size(size, camera.size, str(path), "the camera of its camera.json")
        panoptic = depth_m = None
        if LABEL in self._kinds:
            panoptic = self._read_label(self._file(frame, LABEL), size)
        if DEPTH in self._kinds:
            depth_m = read_depth(self._file(frame, DEPTH))
            check_size(depth_m.shape, size, str(self._file(frame, DEPTH)))
        calibration = None if camera is None else camera.calibration
        joined = self._camera_samples.join(image, stamp_ns, calibration, FrameTruth(panoptic, depth_m))
        return Sample(*joined, frame.sequence, index, str(path))

    def _read_label(self, path: Path, size: tuple[int, int]) -> NDArray[np.uint16]:
        values = np.asarray(read_map(path, [np.uint16]), np.uint16)
        check_size(values.shape, size, str(path))
        panoptic = np.where(values == VOID_IN_FILES, np.uint16(VOID_PANOPTIC_ID), values)
        if (values == VOID_PANOPTIC_ID).any():
            raise DataError(f"{path}: contains value {VOID_PANOPTIC_ID}; void is {VOID_IN_FILES} in this data set")
        check_panoptic(panoptic, self._labels, str(path))
        return panoptic

    def _recording_rate_hz(self, sequence: str) -> float:
        camera = self._cameras[sequence]
        return RECORDING_RATE_HZ if camera is None else camera.rate_hz

    def _file(self, frame: _Frame, kind: str) -> Path:
        return self.path / f"{frame.stem}_{kind}.png"


class CityscapesDvpsWriter:
    """Appends one sequence to a split; the first of an empty folder has the number 0.

    A frame's picture is written last, so that a reader sees a frame whole or not at all.

    Args:
        path: folder that holds or will hold ``video_sequence``.
        rate_hz: frames per second.
        split: such as train or val.
        city: third part of the names; no underscore.
        camera_height_m: of the camera above the road; goes into the sequence's camera.json.
        sequence: its number; None takes the first after those that are there.

    Attributes:
        folder: of the images.
        sequence: number of the sequence.

    Raises:
        DataError: `city` holds an underscore.
    """

    def __init__(
        self,
        path: Path,
        rate_hz: float,
        split: str = "train",
        city: str = "synthetic",
        camera_height_m: float | None = None,
        sequence: int | None = None,
    ) -> None:
        if "_" in city or not city:
            raise DataError(f"city is '{city}'; it must be without underscores, which separate the parts of file names")
        self.folder = path / "video_sequence" / split
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sequence = next_sequence(self.folder) if sequence is None else sequence
        self._rate_hz, self._city, self._camera_height_m = rate_hz, city, camera_height_m
        self._frames = 0

    def add(self, sample: Sample) -> None:
        """Write the next frame: its picture, and what it has of panoptic labels and depth.

        Raises:
            DataError: a file cannot be written.
        """
        name = f"{self.sequence:06d}_{self._frames:06d}_{self._city}_{self.sequence:06d}_{self._frames:06d}"
        if self._frames == 0:
            camera = CameraFile(sample.frame.size, self._rate_hz, sample.frame.intrinsics, self._camera_height_m)
            write_camera(self.folder / f"{self.sequence:06d}_{CAMERA_FILE}", camera)
        if sample.truth.panoptic is not None:
            panoptic = sample.truth.panoptic
            label = np.where(panoptic == VOID_PANOPTIC_ID, np.uint16(VOID_IN_FILES), panoptic)
            write_image(self.folder / f"{name}_{LABEL}.png", label)
        if sample.truth.depth_m is not None:
            write_image(self.folder / f"{name}_{DEPTH}.png", depth_to_file(sample.truth.depth_m))
        write_image(self.folder / f"{name}_{IMAGE}.png", sample.frame.rectified().image)
        self._frames += 1


def next_sequence(folder: Path) -> int:
    """Return the first number after those of the sequences in a split's folder."""
    used = [int(file.name[:6]) for file in entries(folder) if re.match(r"\d{6}_", file.name)]
    return max(used, default=-1) + 1


def is_cityscapes_dvps(path: Path) -> bool:
    """Say whether a folder, or the one split in it, contains pictures named as in Cityscapes-DVPS."""
    return any(
        (match := _NAME.fullmatch(file.name)) and match[5] == IMAGE
        for folder in split_folders(path)
        for file in entries(folder)
    )


def image_folder(path: Path, kind: str) -> Path:
    """Find the folder of a data set's images: the path itself, or the only split below it.

    Args:
        path: where to look.
        kind: last part of the images' names.

    Raises:
        DataError: there is none, or more than one split.
    """
    folders = [
        folder for folder in split_folders(path) if any(file.name.endswith(f"_{kind}.png") for file in entries(folder))
    ]
    if len(folders) != 1:
        found = ", ".join(str(folder) for folder in folders)
        wrong = f"contains several splits; choose one of: {found}" if folders else f"contains no *_{kind}.png"
        raise DataError(f"{path}: {wrong}")
    return folders[0]


def split_folders(path: Path) -> list[Path]:
    """List where the images of a data set of ViP-DeepLab's layout may lie below a path."""
    bases = [base for base in (path / "video_sequence", path) if base.is_dir()]
    return [path, *(folder for base in bases for folder in list_folder(base) if folder.is_dir())]


def check_partners(folder: Path, images: Set[str], partners: Set[str], kind: str) -> None:
    """Check that each image has its file of a kind and each such file its image; both by the begin of their names.

    Raises:
        DataError: one has not; the message names it.
    """
    if images - partners:
        missing = min(images - partners)
        files = counted(len(images), "such file")
        raise DataError(f"{folder / missing}_{kind}: is missing ({len(images - partners)} of {files})")
    if partners - images:
        files = counted(len(partners - images), "such file")
        raise DataError(f"{folder / min(partners - images)}_{kind}: has no image ({files})")


def _encode(classes: NDArray[np.uint8], instances: NDArray[np.integer]) -> Sequence[NDArray[np.integer]]:
    return [np.stack([classes, instances.astype(np.uint8), np.zeros_like(classes)], axis=-1)]


def _decode(files: Sequence[Path]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    values = read_map(files[0], [np.uint8], 3)
    return values[..., 0], values[..., 1]


FORMAT = Format(
    "a split of Cityscapes-DVPS",
    is_cityscapes_dvps,
    lambda path, options: CityscapesDvpsSource(path, options.labels or CITYSCAPES),
    frozenset({"labels"}),
    rules=DatasetRules("cityscapes-dvps"),
    layout=PredictionLayout("cityscapes-dvps", CITYSCAPES, 255, (f"_{IMAGE}.png",), f"_{IMAGE}.png", _encode, _decode),
)
