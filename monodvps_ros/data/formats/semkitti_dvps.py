# SPDX-License-Identifier: Apache-2.0
"""SemKITTI-DVPS: reader of its layout.

``video_sequence/<split>/SSSSSS_FFFFFF_<kind>.png`` with S the sequence and F the frame in it. The kinds:

- ``leftImg8bit``: the picture;
- ``gtFine_class``: class ids, 255 is void; labels come from LiDAR, so most pixels are void;
- ``gtFine_instance``: instance ids, which persist over the sequence, 0 for stuff;
- ``depth_<focal length in pixels>``: uint16, metres times 256, 0 where there is none.

The files name the focal length but not the principal point, so K is not known unless ``SSSSSS_camera.json`` (of one
sequence) or ``camera.json`` (of all) stands in the folder of the images. Frames are taken at 10 Hz.

Instance ids are renumbered from 1 within each class and sequence, in the order in which they appear, for panoptic
ids hold 999 of a class and the ids in the files go further; who is who stays the same.

Predictions: ``pan/`` holds ``<frame>_cat.png`` (uint8 class) and ``<frame>_ins.png`` (uint16 instance id), ``dep/``
holds ``<frame>_dep.png``.

Source: Qiao et al. 2021 (ViP-DeepLab) and the scripts published with it, and the data set's own description.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.camera_file import CameraFile, read_sequence_camera
from monodvps_ros.data.camera_samples import CameraSamples
from monodvps_ros.data.checks import check_classes, check_size
from monodvps_ros.data.format import Format, PredictionLayout
from monodvps_ros.data.formats.cityscapes_dvps import check_partners, image_folder, split_folders
from monodvps_ros.data.formats.folder import START_NS
from monodvps_ros.data.image_files import read_depth, read_map, read_picture
from monodvps_ros.data.instance_ids import InstanceIds
from monodvps_ros.data.listing import entries, list_folder
from monodvps_ros.data.reading import Reading
from monodvps_ros.errors import DataError
from monodvps_ros.labels import MAX_INSTANCE_ID, SEMKITTI, VOID_CLASS_ID, LabelSpace, encode_panoptic
from monodvps_ros.metrics import DatasetRules, PanopticMap
from monodvps_ros.types import FrameTruth, Sample

IMAGE, CLASS, INSTANCE, DEPTH = "leftImg8bit", "gtFine_class", "gtFine_instance", "depth"
RATE_HZ = 10.0

_NAME = re.compile(r"((\d{6})_(\d{6}))_(leftImg8bit|gtFine_class|gtFine_instance|depth_[0-9.]+)\.png")


class SemkittiDvpsSource:
    """The frames of a split, sequence after sequence.

    Labels and depth may be missing for all frames, never for some; classes and instances come together.

    Args:
        path: folder of the images, or one that holds ``video_sequence/<split>`` or ``<split>`` for one split only.
        labels: label space of the truth.

    Raises:
        DataError: there are no images, a frame lacks a partner, or a label or depth has no image.
    """

    def __init__(self, path: Path, labels: LabelSpace = SEMKITTI) -> None:
        self.path = image_folder(path, IMAGE)
        self._labels = labels
        self._files: dict[str, dict[str, Path]] = {IMAGE: {}, CLASS: {}, INSTANCE: {}, DEPTH: {}}
        for file in list_folder(self.path, [".png"]):
            match = _NAME.fullmatch(file.name)
            if match is None:
                raise DataError(f"{file}: is not named as in SemKITTI-DVPS (SSSSSS_FFFFFF_<kind>.png)")
            self._files[DEPTH if match[4].startswith(DEPTH) else match[4]][match[1]] = file
        for kind in (CLASS, INSTANCE, DEPTH):
            if self._files[kind] or (kind == INSTANCE and self._files[CLASS]):
                check_partners(self.path, self._files[IMAGE].keys(), self._files[kind].keys(), kind)
        if self._files[INSTANCE] and not self._files[CLASS]:
            raise DataError(f"{self.path}: contains *_{INSTANCE}.png but no *_{CLASS}.png")
        self._stems = sorted(self._files[IMAGE])
        self._camera_samples = CameraSamples(str(self.path))

    @property
    def rate_hz(self) -> float:
        """Frames per second."""
        return RATE_HZ

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the truth."""
        return self._labels

    def __len__(self) -> int:
        """Number of frames."""
        return len(self._stems)

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first frame of the first sequence; goes on after a frame that cannot be read.

        Raises:
            DataError: a file cannot be read, or sizes or label values are wrong.
        """
        return Reading(self._makers())

    def _makers(self) -> Iterator[Callable[[], Sample]]:
        for sequence, stems in groupby(self._stems, key=lambda stem: stem.partition("_")[0]):
            instances, camera = InstanceIds(MAX_INSTANCE_ID), read_sequence_camera(self.path, sequence)
            for index, stem in enumerate(stems):
                yield partial(self._sample, stem, index, camera, instances)

    def _sample(self, stem: str, index: int, camera: CameraFile | None, instances: InstanceIds) -> Sample:
        sequence, _, number = stem.partition("_")
        path = self._files[IMAGE][stem]
        image = read_picture(path)
        size = (image.shape[0], image.shape[1])
        if camera is not None:
            check_size(size, camera.size, str(path), "the camera of its camera.json")
        depth_m = None
        if self._files[DEPTH]:
            depth_m = read_depth(self._files[DEPTH][stem])
            check_size(depth_m.shape, size, str(self._files[DEPTH][stem]))
        joined = self._camera_samples.join(
            image,
            START_NS + round(int(number) * 1e9 / RATE_HZ),
            None if camera is None else camera.calibration,
            FrameTruth(self._panoptic(stem, size, instances), depth_m),
        )
        return Sample(*joined, sequence, index, str(path))

    def _panoptic(self, stem: str, size: tuple[int, int], instances: InstanceIds) -> NDArray[np.uint16] | None:
        if not self._files[CLASS]:
            return None
        maps = []
        for kind in (CLASS, INSTANCE):
            values = read_map(self._files[kind][stem], [np.uint8, np.uint16])
            check_size(values.shape, size, str(self._files[kind][stem]))
            maps.append(values.astype(np.int64))
        classes, ids = maps
        check_classes(classes, self._labels, str(self._files[CLASS][stem]))
        is_thing = np.append(self._labels.is_thing, np.zeros(VOID_CLASS_ID + 1 - len(self._labels), bool))[classes]
        assigned = instances.assign(classes, np.where(is_thing, ids, 0))
        if instances.reused or instances.dropped:
            raise DataError(f"{self._files[INSTANCE][stem]}: more than {MAX_INSTANCE_ID} instances of one class")
        return encode_panoptic(classes, assigned)


def is_semkitti_dvps(path: Path) -> bool:
    """Say whether a folder, or the one split in it, contains pictures named as in SemKITTI-DVPS."""
    return any(
        (match := _NAME.fullmatch(file.name)) and match[4] == IMAGE
        for folder in split_folders(path)
        for file in entries(folder)
    )


def _read_panoptic(sample: Sample) -> PanopticMap:
    """Read the instances beyond panoptic ids, and those of void: both change the figures."""
    path = Path(sample.source)
    stem = path.name.removesuffix(f"_{IMAGE}.png")
    classes, instances = (
        read_map(path.with_name(f"{stem}_{kind}.png"), [np.uint8, np.uint16]) for kind in (CLASS, INSTANCE)
    )
    return classes, instances


def _encode(classes: NDArray[np.uint8], instances: NDArray[np.integer]) -> Sequence[NDArray[np.integer]]:
    return [classes, instances.astype(np.uint16)]


def _decode(files: Sequence[Path]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    classes, instances = read_map(files[0], [np.uint8]), read_map(files[1], [np.uint8, np.uint16])
    check_size(instances.shape, classes.shape, str(files[1]), "its class map")
    return classes, instances


FORMAT = Format(
    "a split of SemKITTI-DVPS",
    is_semkitti_dvps,
    lambda path, options: SemkittiDvpsSource(path, options.labels or SEMKITTI),
    frozenset({"labels"}),
    rules=DatasetRules("semkitti-dvps", (1, 5, 10, 20)),
    layout=PredictionLayout("semkitti-dvps", SEMKITTI, 65535, ("_cat.png", "_ins.png"), "_dep.png", _encode, _decode),
    read_panoptic=_read_panoptic,
)
