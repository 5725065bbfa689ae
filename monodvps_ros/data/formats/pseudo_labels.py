# SPDX-License-Identifier: Apache-2.0
"""Pseudo-labels of a recording: a folder beside it, which together with it is a labelled source.

The recording stays as it is: images, stamps and cameras are read from it. The folder holds

- ``pseudo_labels.json``: how the labels were made, and in ``data`` and ``data_from_here`` where the recording is;
- ``panoptic/<sequence>/<index>_<stamp in ns>.png``: uint16, panoptic ids, 65535 is void;
- ``inverse_depth/`` likewise, where a depth teacher was asked: uint16, inverse depth, larger is nearer, 0 where there
  is none. ``inverse_depth`` of the JSON file says of which kind: ``metric`` is 1/m times 16384 (what is nearer than
  0.25 m has none), ``up to scale and shift`` goes from the least value of each image (1) to its greatest (65535).

Metric depth is read as metres, and fills what the recording does not know itself.
"""

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.checks import check_panoptic, check_size
from monodvps_ros.data.format import Format, OpenOptions
from monodvps_ros.data.image_files import read_map, write_image
from monodvps_ros.data.manifest import read_manifest
from monodvps_ros.data.reading import Reading, damage_of
from monodvps_ros.data.sources import open_source
from monodvps_ros.errors import DataError, LabelError, counted
from monodvps_ros.labels import LabelSpace, label_space
from monodvps_ros.types import Sample, SampleSource

log = logging.getLogger(__name__)

MANIFEST = "pseudo_labels.json"
PANOPTIC_FOLDER, INVERSE_DEPTH_FOLDER = "panoptic", "inverse_depth"
METRIC, RELATIVE = "metric", "up to scale and shift"
_MOST = 65535
_METRIC_STEPS = 16384  # of 1/m: 80 m are stored to 0.25 %


class PseudoLabelSource:
    """A recording whose frames have a teacher's labels.

    A frame without a label, because making them was not finished or because it has none, is counted.

    Args:
        path: folder of the labels.
        frames: the recording that they belong to.
        keeps_true_labels: a frame that has a true label keeps it.
        has_panoptic: whether a teacher said classes and instances; else all frames keep the recording's labels.
        is_metric: whether the inverse depth is 1/m.

    Attributes:
        unlabelled: frames without what the teacher was to say, counted while reading.
    """

    def __init__(
        self,
        path: Path,
        frames: SampleSource,
        keeps_true_labels: bool = False,
        has_panoptic: bool = True,
        is_metric: bool = False,
    ) -> None:
        self.path = path
        self._frames = frames
        self._keeps_true_labels, self._has_panoptic, self._is_metric = keeps_true_labels, has_panoptic, is_metric
        self.unlabelled = 0

    @property
    def rate_hz(self) -> float:
        """Frames per second of the recording."""
        return self._frames.rate_hz

    @property
    def label_space(self) -> LabelSpace:
        """Label space of the labels."""
        return self._frames.label_space

    @property
    def camera_height_m(self) -> float | None:
        """Height of the recording's camera above the road; None where it is not known."""
        height: float | None = getattr(self._frames, "camera_height_m", None)
        return height

    @property
    def damage(self) -> Sequence[str]:
        """What cannot be read of the recording."""
        return damage_of(self._frames)

    def __len__(self) -> int:
        """Number of frames of the recording."""
        return len(self._frames)

    def __iter__(self) -> Iterator[Sample]:
        """Read from the first frame.

        Raises:
            DataError: a label cannot be read or does not fit its image; or as the recording says.
        """
        self.unlabelled = 0
        frames = iter(self._frames)
        return Reading(repeat(lambda: self._counted(next(frames))), self._warn)

    def _counted(self, sample: Sample) -> Sample:
        inverse_depth = self._inverse_depth(sample)
        labelled = self._labelled(sample, inverse_depth)
        self.unlabelled += (labelled.truth.panoptic if self._has_panoptic else inverse_depth) is None
        return labelled

    def _warn(self) -> None:
        if self.unlabelled:
            kind = "label" if self._has_panoptic else "depth"
            frames = f"of {counted(len(self), 'frame')}"
            found = counted(self.unlabelled, f"{frames} has no {kind}", f"{frames} have no {kind}")
            log.warning("%s: %s; finish with 'monodvps pseudo-label'", self.path, found)

    def _labelled(self, sample: Sample, inverse_depth: NDArray[np.float32] | None) -> Sample:
        if self._is_metric:
            truth = dataclasses.replace(sample.truth, depth_m=_filled(sample.truth.depth_m, inverse_depth))
        else:
            truth = dataclasses.replace(sample.truth, inverse_depth=inverse_depth)
        if not self._has_panoptic or keeps_truth(sample, self._keeps_true_labels):
            return dataclasses.replace(sample, truth=truth)
        panoptic = None
        file = label_file(self.path, PANOPTIC_FOLDER, sample)
        if file.is_file():
            panoptic = np.asarray(read_map(file, [np.uint16]), np.uint16)
            check_size(panoptic.shape, sample.frame.size, str(file))
            check_panoptic(panoptic, self.label_space, str(file))
        pseudo = dataclasses.replace(truth, panoptic=panoptic, panoptic_is_pseudo=panoptic is not None)
        return dataclasses.replace(sample, truth=pseudo)

    def _inverse_depth(self, sample: Sample) -> NDArray[np.float32] | None:
        file = label_file(self.path, INVERSE_DEPTH_FOLDER, sample)
        if not file.is_file():
            return None
        values = read_map(file, [np.uint16])
        check_size(values.shape, sample.frame.size, str(file))
        steps = _METRIC_STEPS if self._is_metric else _MOST
        return np.asarray(np.where(values > 0, values / np.float32(steps), np.nan), np.float32)


def is_pseudo_labelled(path: Path) -> bool:
    """Say whether a path is a folder of pseudo-labels."""
    return (path / MANIFEST).is_file()


def recording_of(path: Path) -> Path:
    """Find the recording that a folder of pseudo-labels belongs to: where it was, or where it is from this folder.

    Raises:
        DataError: it is in neither place, or the manifest cannot be read.
    """
    manifest = read_manifest(path / MANIFEST)
    places = [Path(str(manifest.get("data"))), path / str(manifest.get("data_from_here"))]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise DataError(
            f"{path}: the recording of these labels is not at {places[0]}; put it there, or write its place into "
            f"'data' of {path / MANIFEST}"
        )
    return found


def keeps_truth(sample: Sample, keeps_true_labels: bool) -> bool:
    """Say whether a frame has a true label that is to be kept."""
    return keeps_true_labels and sample.truth.panoptic is not None and not sample.truth.panoptic_is_pseudo


def label_file(path: Path, folder: str, sample: Sample) -> Path:
    """Name the file of a frame's label; `folder` is the kind of label."""
    return path / folder / sample.sequence / f"{sample.index:06d}_{sample.frame.stamp_ns:019d}.png"


def write_panoptic(path: Path, sample: Sample, panoptic: NDArray[np.uint16]) -> None:
    """Write a frame's panoptic label, whole or not at all.

    Raises:
        DataError: it cannot be written.
    """
    write_image(label_file(path, PANOPTIC_FOLDER, sample), panoptic, make_folder=True)


def write_inverse_depth(
    path: Path, sample: Sample, inverse_depth: NDArray[np.float32], is_metric: bool = False
) -> None:
    """Write a frame's inverse depth, whole or not at all; NaN where there is none.

    Args:
        path: folder of the labels.
        sample: the frame.
        inverse_depth: (H, W) float32, larger is nearer.
        is_metric: it is 1/m, above 0; else of any scale and shift.

    Raises:
        DataError: it cannot be written.
    """
    known = np.isfinite(inverse_depth)
    values = np.zeros(inverse_depth.shape, np.uint16)
    if is_metric:
        steps = np.rint(np.where(known, inverse_depth, 0.0).astype(np.float64) * _METRIC_STEPS)
        values = np.where(known & (steps <= _MOST), steps.clip(1, _MOST), 0).astype(np.uint16)
    elif known.any():
        inner = inverse_depth[known].astype(np.float64)
        span = inner.max() - inner.min()
        values[known] = 1 + np.rint((inner - inner.min()) / (span if span > 0 else 1.0) * (_MOST - 1))
    write_image(label_file(path, INVERSE_DEPTH_FOLDER, sample), values, make_folder=True)


def _filled(
    depth_m: NDArray[np.float32] | None, inverse_depth: NDArray[np.float32] | None
) -> NDArray[np.float32] | None:
    """Fill what a recording's own depth does not know with a teacher's."""
    if inverse_depth is None:
        return depth_m
    teacher_depth_m = 1.0 / inverse_depth
    return teacher_depth_m if depth_m is None else np.where(np.isfinite(depth_m), depth_m, teacher_depth_m)


def _open(path: Path, _: OpenOptions) -> SampleSource:
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


FORMAT = Format("a folder of pseudo-labels", is_pseudo_labelled, _open)
