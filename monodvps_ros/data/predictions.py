# SPDX-License-Identifier: Apache-2.0
"""Predictions in the layouts that the public evaluation scripts read, and in recordings.

``pan/`` and ``dep/`` lie in one folder; the public scripts read every file in them, so nothing else may lie there.

The data set's format says how panoptic maps are stored in ``pan/``. Depth in ``dep/`` is uint16 PNG, metres times 256,
0 where it is not known. Void is written as the class after the last (19), where the scripts count it for nothing.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import is_bag
from monodvps_ros.data.bag.recorded_predictions import BagPredictions
from monodvps_ros.data.chain import bags_in
from monodvps_ros.data.checks import check_size
from monodvps_ros.data.format import PredictionLayout
from monodvps_ros.data.formats import format_named, prediction_layout
from monodvps_ros.data.image_files import depth_to_file, read_depth, write_image
from monodvps_ros.data.listing import entries
from monodvps_ros.data.predicted_frame import PredictedFrame
from monodvps_ros.errors import DataError, counted
from monodvps_ros.files import partials
from monodvps_ros.labels import VOID_CLASS_ID
from monodvps_ros.types import Sample

PANOPTIC_FOLDER, DEPTH_FOLDER = "pan", "dep"

#: Layout of predictions for data that has none of its own.
DEFAULT_LAYOUT = "cityscapes-dvps"
#: Pictures of data sets in ViP-DeepLab's layouts end so; their frames keep the rest of the name.
IMAGE_ENDING = "_leftImg8bit.png"
_STAMP = re.compile(r"\d{6}_\d{6}_(\d{19})")


class Predictions(Protocol):
    """Predictions of one or more sequences."""

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def __iter__(self) -> Iterator[PredictedFrame]:
        """Read frame by frame, in the order of the sequences and of time."""
        ...


def open_predictions(path: Path | str, dataset: str) -> Predictions:
    """Open predictions.

    Args:
        path: folder that holds ``pan/`` and ``dep/``, or a recording with ``panoptic/image`` and ``depth/image``, or a
            folder of such recordings, each a sequence.
        dataset: name of the data set, whose layout applies; that of Cityscapes-DVPS where it has none. A recording may
            be opened under any name.

    Raises:
        DataError: there are no predictions, or a frame lacks a part.
        ConfigError: the data set is not known.
    """
    path = Path(path)
    layout = format_named(dataset).layout or prediction_layout(DEFAULT_LAYOUT)
    if not path.exists():
        raise DataError(f"{path}: does not exist")
    bags = [path] if is_bag(path) else bags_in(path)
    if bags:
        return BagPredictions(bags)
    return FolderPredictions(path, layout)


def frame_name(sample: Sample, sequence_number: int = 0) -> str:
    """Name a frame as its prediction's files begin.

    A data set's frame keeps its picture's name. Any other is named by the number of its sequence, its place in it and
    its stamp, so that predictions can be paired with truth by the stamp.
    """
    name = Path(sample.source).name
    if name.endswith(IMAGE_ENDING):
        return name.removesuffix(IMAGE_ENDING)
    return f"{sequence_number:06d}_{sample.index:06d}_{sample.frame.stamp_ns:019d}"


def stamp_in(name: str) -> int | None:
    """Return the stamp in nanoseconds that the name of a frame says; None for frames named after their pictures."""
    match = _STAMP.fullmatch(name)
    return int(match[1]) if match else None


class FolderPredictions:
    """Predictions in ``pan/`` and ``dep/``.

    Args:
        path: folder that holds both.
        layout: of the files.

    Raises:
        DataError: a folder is missing or holds other files, there is no frame, or a frame lacks a part.
    """

    def __init__(self, path: Path, layout: PredictionLayout) -> None:
        self.path = path
        self.layout = layout
        parts = [_names(path / PANOPTIC_FOLDER, ending) for ending in layout.panoptic_endings]
        parts.append(_names(path / DEPTH_FOLDER, layout.depth_ending))
        self.names = sorted(parts[0])
        for part in parts[1:]:
            if part ^ parts[0]:
                name = min(part ^ parts[0])
                raise DataError(
                    f"{path}: frame {name} has not all of its parts ({counted(len(part ^ parts[0]), 'such frame')}); "
                    "run the prediction again to complete it"
                )
        if not self.names:
            raise DataError(f"{path}: contains no predictions; expected files {PANOPTIC_FOLDER}/*{layout.depth_ending}")

    def __len__(self) -> int:
        """Number of frames."""
        return len(self.names)

    def __iter__(self) -> Iterator[PredictedFrame]:
        """Read frame by frame.

        Raises:
            DataError: as `read` says.
        """
        for name in self.names:
            yield self.read(name)

    def read(self, name: str) -> PredictedFrame:
        """Read one frame.

        Raises:
            DataError: a file cannot be read, the sizes of its parts differ, or a class is not of the label space.
        """
        depth_path = self.path / DEPTH_FOLDER / f"{name}{self.layout.depth_ending}"
        depth_m = read_depth(depth_path)
        class_ids, instance_ids = read_panoptic(self.path, name, self.layout)
        check_size(depth_m.shape, class_ids.shape, str(depth_path), "the panoptic prediction")
        return PredictedFrame(name.partition("_")[0], name, stamp_in(name), class_ids, instance_ids, depth_m)


def read_panoptic(path: Path, name: str, layout: PredictionLayout) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Read the panoptic part of a prediction.

    Returns:
        (H, W) uint8 class ids, 255 is void, and (H, W) int32 instance ids.

    Raises:
        DataError: a file cannot be read, sizes differ, or a class is not of the label space.
    """
    files = [path / PANOPTIC_FOLDER / f"{name}{ending}" for ending in layout.panoptic_endings]
    classes, instances = layout.decode(files)
    void = len(layout.labels)
    if int(classes.max()) > void:
        raise DataError(f"{files[0]}: contains class {classes.max()}; expected 0..{void - 1}, or {void} for void")
    return np.where(classes == void, np.uint8(VOID_CLASS_ID), classes).astype(np.uint8), instances.astype(np.int32)


def write_prediction(
    path: Path,
    name: str,
    layout: PredictionLayout,
    class_ids: NDArray[np.uint8],
    instance_ids: NDArray[np.integer],
    depth_m: NDArray[np.float32],
) -> None:
    """Write one frame; the depth file last, so that the frame is whole when that is there.

    Args:
        path: folder that holds ``pan/`` and ``dep/``.
        name: of the frame, as `frame_name` says.
        layout: of the files.
        class_ids: (H, W) uint8, 255 is void.
        instance_ids: (H, W) integer, 0..`layout.largest_instance`.
        depth_m: (H, W) float32 metres; NaN where there is none.

    Raises:
        DataError: an id does not fit into the layout, or a file cannot be written.
    """
    void, wrong = len(layout.labels), (class_ids >= len(layout.labels)) & (class_ids != VOID_CLASS_ID)
    if wrong.any():
        raise DataError(f"frame {name}: class {class_ids[wrong][0]} is not in label space '{layout.labels.name}'")
    if instance_ids.size and not 0 <= int(instance_ids.min()) <= int(instance_ids.max()) <= layout.largest_instance:
        raise DataError(
            f"frame {name}: instance ids {instance_ids.min()}..{instance_ids.max()} do not fit into "
            f"{layout.name} (0..{layout.largest_instance})"
        )
    classes = np.where(class_ids == VOID_CLASS_ID, np.uint8(void), class_ids).astype(np.uint8)
    instances = np.where(class_ids == VOID_CLASS_ID, 0, instance_ids)
    files = [path / PANOPTIC_FOLDER / f"{name}{ending}" for ending in layout.panoptic_endings]
    for file, image in zip(files, layout.encode(classes, instances), strict=True):
        write_image(file, image)
    write_image(path / DEPTH_FOLDER / f"{name}{layout.depth_ending}", depth_to_file(depth_m))


def whole_frames(path: Path, layout: PredictionLayout) -> set[str]:
    """List the frames in a folder that have all of their files; remove what an interrupted run left half-written."""
    found: set[str] | None = None
    for folder, endings in ((PANOPTIC_FOLDER, layout.panoptic_endings), (DEPTH_FOLDER, (layout.depth_ending,))):
        (path / folder).mkdir(parents=True, exist_ok=True)
        for partial in partials(path / folder):
            partial.unlink()
        for ending in endings:
            names = _names(path / folder, ending)
            found = names if found is None else found & names
    return found or set()


def _names(folder: Path, ending: str) -> set[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder; predictions lie in {PANOPTIC_FOLDER}/ and {DEPTH_FOLDER}/")
    return {file.name.removesuffix(ending) for file in entries(folder) if file.name.endswith(ending)}
