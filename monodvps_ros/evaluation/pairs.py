# SPDX-License-Identifier: Apache-2.0
"""A true and a predicted frame together, and pairs of truth with what was predicted before, by name or by stamp."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.bag import whole_sequence
from monodvps_ros.data.chain import bags_in
from monodvps_ros.data.image_files import IMAGE_SUFFIXES
from monodvps_ros.data.label_file import LabelFile
from monodvps_ros.data.listing import natural_key
from monodvps_ros.data.predicted_frame import PredictedFrame
from monodvps_ros.data.predictions import IMAGE_ENDING, Predictions, frame_name
from monodvps_ros.data.sequence_watch import LeftOut, in_order
from monodvps_ros.errors import DataError
from monodvps_ros.evaluation.motion import MotionFinder
from monodvps_ros.labels import LABEL_DIVISOR, VOID_CLASS_ID, VOID_PANOPTIC_ID
from monodvps_ros.metrics import PanopticMap
from monodvps_ros.types import Sample

#: Names of frames without a partner that are listed; all are counted.
MOST_NAMES_LISTED = 200
#: What follows the last prediction.
_NONE: tuple[tuple[Any, ...], PredictedFrame | None] = ((), None)


@dataclass(frozen=True, eq=False, slots=True)
class FramePair:
    """One frame of the truth and what was predicted for it; what is not known is None.

    Attributes:
        sequence: name of its sequence; frames of one sequence follow each other.
        name: what it is called in reports: a file's name, or a stamp.
        image: (H, W, 3) uint8.
        intrinsics: (3, 3) float64 K of the image.
        truth: (H, W) panoptic ids, or a pair of class and instance ids.
        true_groups: (H, W) uint8 class groups, where the truth has classes alone.
        truth_depth_m: (H, W) float32 metres, NaN where there is none.
        moving: (H, W) int8: 1 moves over the ground, 0 stands, -1 is not known.
        prediction: like `truth`, of any size.
        predicted_depth_m: (H, W) float32 of any size, NaN where there is none, as it was predicted.
        metres_per_unit: factor with which the node would publish that depth; None where it would have no metres.
        paired: false where there is truth but nothing was predicted.
        against_pseudo_labels: `truth` is a teacher's guess.
    """

    sequence: str
    name: str
    image: NDArray[np.uint8] | None = None
    intrinsics: NDArray[np.float64] | None = None
    truth: PanopticMap | None = None
    true_groups: NDArray[np.uint8] | None = None
    truth_depth_m: NDArray[np.float32] | None = None
    moving: NDArray[np.int8] | None = None
    prediction: PanopticMap | None = None
    predicted_depth_m: NDArray[np.float32] | None = None
    metres_per_unit: float | None = None
    paired: bool = True
    against_pseudo_labels: bool = False

    @property
    def has_truth(self) -> bool:
        """Whether there is anything to measure against."""
        return not (self.truth is None and self.true_groups is None and self.truth_depth_m is None)


class TruthReader:
    """Turns samples into pairs that have the truth alone.

    Args:
        data: folder of the data set, for the label images of `labels`.
        labels: of a folder of label images: classes are measured by them alone. None: by the panoptic truth.
        min_area_px: true things of which fewer pixels are to be seen count as void, in that frame.
        read_panoptic: reads classes and instances of a sample from the data set's files; None: those of the sample.
    """

    def __init__(
        self,
        data: Path,
        labels: LabelFile | None = None,
        min_area_px: int = 0,
        read_panoptic: Callable[[Sample], PanopticMap] | None = None,
    ) -> None:
        self._data, self._labels, self._min_area_px, self._read_panoptic = data, labels, min_area_px, read_panoptic
        self._motion = MotionFinder()

    def read(self, sample: Sample) -> FramePair:
        """Read the truth of the next sample.

        Raises:
            DataError: a label image cannot be read, is of another size, or has an unknown value.
        """
        moving, groups, truth = self._motion.find(sample), None, self._panoptic(sample)
        stem, size = Path(sample.source).stem, sample.frame.size
        if self._labels is not None:
            moving = self._labels.read_moving(self._data, stem, size) if self._labels.moving else moving
            if self._labels.groups is not None:
                groups, truth = self._labels.read_groups(self._data, stem, size), None
            rectification = sample.frame.rectification
            if rectification is not None:
                groups = None if groups is None else rectification.nearest(groups, VOID_CLASS_ID)
                moving = None if moving is None else rectification.nearest(moving, -1)
        return FramePair(
            sample.sequence, _name(sample), sample.frame.rectified().image, sample.frame.intrinsics, truth, groups,
            sample.truth.depth_m, moving,
            against_pseudo_labels=truth is not None and sample.truth.panoptic_is_pseudo,
        )  # fmt: skip

    def _panoptic(self, sample: Sample) -> PanopticMap | None:
        panoptic = sample.truth.panoptic
        if panoptic is not None and self._read_panoptic is not None:
            return self._read_panoptic(sample)
        if panoptic is not None and self._min_area_px:
            return without_small_things(panoptic, self._min_area_px)
        return panoptic


def without_small_things(panoptic: NDArray[np.uint16], min_area_px: int) -> NDArray[np.uint16]:
    """Return a copy of an (H, W) map of panoptic ids in which things of fewer pixels are void."""
    ids, place, area = np.unique(panoptic, return_inverse=True, return_counts=True)
    small = (area < min_area_px) & (ids % LABEL_DIVISOR > 0)
    return np.where(small, np.uint16(VOID_PANOPTIC_ID), ids)[place].reshape(panoptic.shape)


class Names:
    """Counts names and lists the first of them."""

    def __init__(self) -> None:
        self.count = 0
        self.names: list[str] = []

    def add(self, name: str) -> None:
        """Count a name."""
        self.count += 1
        if len(self.names) < MOST_NAMES_LISTED:
            self.names.append(name)

    def add_summary(self, summary: Mapping[str, Any]) -> None:
        """Count the names of a summary."""
        self.count += summary["count"]
        self.names = [*self.names, *summary["names"]][:MOST_NAMES_LISTED]

    def summary(self) -> dict[str, Any]:
        """Return count and names."""
        return {"count": self.count, "names": list(self.names)}


class PredictionPairs:
    """Pairs of samples with what was predicted for them before, both in the order of the samples.

    Predictions that say their stamp are paired by it, others by the name of the picture. Where either side is several
    recordings, sequences are paired by name as well (`by_sequence`). What follows a jump back of the stamps is paired
    with what follows it on the other side.

    Attributes:
        without_truth: predictions that no true frame belongs to; whole when all pairs are read.
    """

    def __init__(self, truth: TruthReader, predictions: Predictions, by_sequence: bool) -> None:
        self._truth, self._predictions, self._by_sequence = truth, predictions, by_sequence
        self.without_truth = Names()

    def pairs(self, samples: Iterable[Sample]) -> Iterator[FramePair]:
        """Read pair by pair; frames that have truth but no prediction come with `paired` false.

        Raises:
            DataError: a file cannot be read, or a sample has pseudo-labels.
        """
        predictions, times = self._placed(), _Times(self._by_sequence)
        place, predicted = next(predictions, _NONE)
        for sample in samples:
            time = times.place(sample.sequence, sample.frame.stamp_ns)
            pair = self._truth.read(sample)
            if pair.against_pseudo_labels:
                raise DataError(f"{sample.source}: has a pseudo-label, not ground truth; give --data with true labels")
            if not pair.has_truth:
                continue
            wanted = time if len(place) == len(time) else (frame_name(sample),)
            while predicted is not None and place < wanted:
                self.without_truth.add(predicted.name)
                place, predicted = next(predictions, _NONE)
            if predicted is None or place != wanted:
                yield FramePair(pair.sequence, pair.name, paired=False)
                continue
            prediction = predicted.class_ids, predicted.instance_ids
            yield replace(pair, prediction=prediction, predicted_depth_m=predicted.depth_m, metres_per_unit=1.0)
            place, predicted = next(predictions, _NONE)
        while predicted is not None:
            self.without_truth.add(predicted.name)
            place, predicted = next(predictions, _NONE)

    def _placed(self) -> Iterator[tuple[tuple[Any, ...], PredictedFrame]]:
        """Give predictions with what orders them: their time where they say it, else their name."""
        times = _Times(self._by_sequence)
        for _, frames in groupby(self._predictions, key=lambda frame: (frame.sequence, frame.stamp_ns is None)):
            first = next(frames)
            if first.stamp_ns is None:
                yield from (((frame.name,), frame) for frame in chain([first], frames))
                continue
            left_out = LeftOut()
            for _, frame in in_order(chain([first], frames), lambda frame: frame.stamp_ns or 0, left_out):
                yield times.place(frame.sequence, frame.stamp_ns or 0), frame
            self.without_truth.count += left_out.repeated + left_out.backward + left_out.unstamped


class _Times:
    """Orders frames by their recording, by how often its time jumped back, and by their stamp."""

    def __init__(self, by_sequence: bool) -> None:
        self._by_sequence = by_sequence
        self._recording: tuple[Any, ...] = ()
        self._jumps, self._last_ns = 0, -1

    def place(self, sequence: str, stamp_ns: int) -> tuple[tuple[Any, ...], int, int]:
        """Take the next frame."""
        recording = tuple(natural_key(Path(whole_sequence(sequence)))) if self._by_sequence else ()
        jumps = self._jumps + (stamp_ns < self._last_ns) if recording == self._recording else 0
        self._recording, self._jumps, self._last_ns = recording, jumps, stamp_ns
        return recording, jumps, stamp_ns


def are_many(*paths: Path) -> bool:
    """Say whether one of some paths is a folder of several recordings."""
    return max(len(bags_in(path)) for path in paths) > 1


def _name(sample: Sample) -> str:
    path = Path(sample.source)
    if path.name.endswith(IMAGE_ENDING):
        return frame_name(sample)
    return path.name if path.suffix.lower() in IMAGE_SUFFIXES else str(sample.frame.stamp_ns)
