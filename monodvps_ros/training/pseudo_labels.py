# SPDX-License-Identifier: Apache-2.0
"""Labels a recording by a teacher, frame by frame; goes on where an interrupted run ended."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monodvps_ros.config import PseudoLabelConfig, to_dict
from monodvps_ros.data.fingerprints import fingerprint
from monodvps_ros.data.formats.pseudo_labels import (
    INVERSE_DEPTH_FOLDER,
    MANIFEST,
    METRIC,
    PANOPTIC_FOLDER,
    RELATIVE,
    keeps_truth,
    label_file,
    write_inverse_depth,
    write_panoptic,
)
from monodvps_ros.data.listing import entries
from monodvps_ros.data.manifest import check_manifest
from monodvps_ros.data.reading import ReadableSamples
from monodvps_ros.errors import ConfigError, DataError, counted
from monodvps_ros.files import partials
from monodvps_ros.labels import VOID_PANOPTIC_ID
from monodvps_ros.training.depth_teachers import DepthTeacher
from monodvps_ros.training.ego_region import EgoRegion
from monodvps_ros.training.teachers import Teacher, label_image
from monodvps_ros.types import CameraFrame, Sample, SampleSource

_NOTHING = "the recording contains nothing at their time, or under their name, that the depth teacher could use"


@dataclass(frozen=True, eq=False)
class Recording:
    """What is labelled.

    Attributes:
        path: where it lies, for the folder of labels to find it again.
        source: its frames.
        image_topic: which of several cameras; None where it was not asked for.
        rectified: auto, true or false: whether its images are rectified.
    """

    path: Path
    source: SampleSource
    image_topic: str | None = None
    rectified: str = "auto"


class PseudoLabelling:
    """One run over a recording; iterate over it to do the work.

    Args:
        recording: what is labelled.
        out: folder for the labels; see `monodvps_ros.data.formats.pseudo_labels`.
        teacher: says classes and instances; None for none, where the frames keep the labels that they have.
        config: thresholds.
        device: of the teachers.
        ego: where the ego car is in the image; void there. None for nowhere.
        depth_teacher: says inverse depth; None for none. One of the two must be given.
        keep_labels: frames with a true label keep it.
        limit: label this many frames at most; None for all.

    Attributes:
        description: who labels, in words.
        length: frames to go through.
        written: frames labelled in this run.
        kept: frames whose labels were there already.
        true: frames that keep their true label.
        without_depth: frames of which the depth teacher knows nothing.

    Raises:
        ConfigError: there is no teacher, or the recording's label space is not the teacher's.
        DataError: `out` holds labels that were made otherwise, or something else; or it cannot be written.
    """

    def __init__(
        self,
        recording: Recording,
        out: Path,
        teacher: Teacher | None,
        config: PseudoLabelConfig,
        device: torch.device,
        *,
        ego: EgoRegion | None = None,
        depth_teacher: DepthTeacher | None = None,
        keep_labels: bool = False,
        limit: int | None = None,
    ) -> None:
        source = recording.source
        if teacher is None and depth_teacher is None:
            raise ConfigError("there is no teacher; give one of classes and instances, one of depth, or both")
        if teacher is not None and source.label_space.name != teacher.labels.name:
            raise ConfigError(
                f"{recording.path}: has label space '{source.label_space.name}' but the teacher "
                f"'{teacher.labels.name}'; choose a teacher of the same classes"
            )
        self._out, self._teacher, self._config, self._device = out, teacher, config, device
        self._ego, self._depth_teacher, self._keep_labels = ego, depth_teacher, keep_labels
        parts = [] if teacher is None else [teacher.description]
        if depth_teacher is not None:
            kind = "in metres" if depth_teacher.is_metric else RELATIVE
            parts.append(f"inverse depth, {kind}, by {depth_teacher.description}")
        self.description = "; ".join(parts)
        self.length = len(source) if limit is None else min(limit, len(source))
        self._samples = ReadableSamples(source, str(recording.path), limit)
        self.written = self.kept = self.true = self.without_depth = 0
        self._void = self._known = 0.0
        self._new_depth, self._depth_trouble = 0, ""
        _prepare(out)
        check_manifest(out / MANIFEST, self._manifest(recording), "pseudo-labels")

    def __iter__(self) -> Iterator[Sample]:
        """Label; give each frame once its labels are whole in the folder.

        Raises:
            DataError: a label cannot be written, or no frame can be read.
        """
        for sample in self._samples:
            self._label(sample)
            yield sample
        if self.written + self.kept + self.true == 0:
            raise DataError(f"{self._out}: no frame can be labelled: {self._depth_trouble or _NOTHING}")

    @property
    def unreadable(self) -> int:
        """Frames that cannot be read."""
        return self._samples.left_out

    @property
    def damage(self) -> list[str]:
        """What is missing of the recording, in sentences; whole once all was labelled."""
        return self._samples.damage

    def summary(self) -> list[str]:
        """Say in sentences what was done."""
        lines = [f"{counted(self.written, 'frame')} labelled, {self.kept} kept from an earlier run"]
        if self.written and self._teacher is not None:
            lines[0] += f"; {self._void / self.written:.1%} of the new labels is void"
        if self._new_depth:
            share = self._known / self._new_depth
            lines.append(f"{share:.1%} of the pixels of {counted(self._new_depth, 'frame')} have depth")
        if self.without_depth:
            frames = counted(self.without_depth, "frame has", "frames have")
            lines.append(f"{frames} no depth; {self._depth_trouble or _NOTHING}")
        if self.true:
            lines.append(counted(self.true, "frame keeps its true label", "frames keep their true label"))
        if self.unreadable:
            lines.append(f"{counted(self.unreadable, 'frame')} could not be read: no label")
        return [*lines, f"{self._out}: give it to 'monodvps train --data'; the recording must stay where it is"]

    def _label(self, sample: Sample) -> None:
        is_true = self._teacher is not None and keeps_truth(sample, self._keep_labels)
        panoptic_there = self._teacher is None or is_true or label_file(self._out, PANOPTIC_FOLDER, sample).is_file()
        depth_there = self._depth_teacher is None or label_file(self._out, INVERSE_DEPTH_FOLDER, sample).is_file()
        blank = self._blank(sample.frame)
        has_depth = depth_there or self._write_depth(sample, blank)
        if not panoptic_there:  # written last: the frame is whole when it is there
            self._write_panoptic(sample, blank)
        is_new = not panoptic_there or (has_depth and not depth_there)
        self.without_depth += not has_depth
        self.true += is_true
        self.written += is_new and not is_true
        self.kept += not (is_new or is_true) and (self._teacher is not None or depth_there)

    def _write_depth(self, sample: Sample, blank: NDArray[np.bool_]) -> bool:
        assert self._depth_teacher is not None
        try:
            inverse_depth = self._depth_teacher.inverse_depth(sample)
        except DataError as error:
            self._depth_trouble = self._depth_trouble or str(error)
            return False
        if inverse_depth is None:
            return False
        inverse_depth[blank] = np.nan
        self._known += float(np.isfinite(inverse_depth).mean())
        self._new_depth += 1
        write_inverse_depth(self._out, sample, inverse_depth, self._depth_teacher.is_metric)
        return True

    def _write_panoptic(self, sample: Sample, blank: NDArray[np.bool_]) -> None:
        assert self._teacher is not None
        panoptic = label_image(self._teacher, sample.frame.rectified().image, self._config, self._device)
        panoptic[blank] = VOID_PANOPTIC_ID
        write_panoptic(self._out, sample, panoptic)
        self._void += float((panoptic == VOID_PANOPTIC_ID).mean())

    def _blank(self, frame: CameraFrame) -> NDArray[np.bool_]:
        """(H, W), true for the ego car, and for what the camera did not see of a rectified image."""
        blank = np.zeros(frame.size, bool) if self._ego is None else self._ego.mask(frame.size)
        return blank if frame.rectification is None else blank | ~frame.rectification.seen

    def _manifest(self, recording: Recording) -> dict[str, Any]:
        """Say how labels are made: all that must be the same for a second run to go on with them."""
        path, config, depth_teacher = recording.path.resolve(), to_dict(self._config), self._depth_teacher
        made: dict[str, Any] = {
            "format": "monodvps_ros/pseudo-labels/1",
            "data": str(path),
            "data_fingerprint": fingerprint(path, without=self._out),
            "data_from_here": os.path.relpath(path, self._out.resolve()),
            "image_topic": recording.image_topic,
            "rectified": recording.rectified,
            "label_space": recording.source.label_space.name,
            **({"teacher": None} if self._teacher is None else self._teacher.made_with),
            "confidence": config["confidence"],
            "ego_region": None if self._ego is None else self._ego.made_with,
            "keep_labels": self._keep_labels,
            "depth_teacher": None if depth_teacher is None else depth_teacher.made_with,
            "inverse_depth": None if depth_teacher is None else METRIC if depth_teacher.is_metric else RELATIVE,
        }
        return {**made, **{f"grouping.{name}": value for name, value in config["grouping"].items()}}


def _prepare(out: Path) -> None:
    """Make the folder; one that contains something else is refused."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file; give a folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{out}: cannot be made: {error.strerror}") from None
    if not (out / MANIFEST).exists() and any(entries(out)):
        raise DataError(f"{out}: contains files that are not pseudo-labels; give an empty folder with --out")
    for part in (PANOPTIC_FOLDER, INVERSE_DEPTH_FOLDER):
        for sequence in entries(out / part):
            for unfinished in partials(sequence):  # of a run that was killed
                unfinished.unlink()
