# SPDX-License-Identifier: Apache-2.0
"""Brings together truth and predictions, by name or by stamp, reading each once and holding one frame of each."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.data.chain import bags_in
from monodvps_ros.data.image_files import read_map
from monodvps_ros.data.natural_order import natural_key
from monodvps_ros.data.predicted_frame import PredictedFrame
from monodvps_ros.data.predictions import frame_name, open_predictions
from monodvps_ros.data.pseudo_labels import is_pseudo_labelled
from monodvps_ros.data.semkitti_dvps import CLASS, IMAGE, INSTANCE
from monodvps_ros.data.sources import open_source
from monodvps_ros.errors import DataError
from monodvps_ros.evaluation.runner import FramePair, Names
from monodvps_ros.metrics import DatasetRules, PanopticMap
from monodvps_ros.types import Sample

Key: TypeAlias = tuple[Any, ...]


class FramePairs:
    """Pairs of a true and a predicted frame, in the order of the truth.

    Predictions that say their stamp are paired by it, others by the name of the picture. Where either side is several
    recordings, sequences are paired by name as well.

    Args:
        rules: of the data set.
        truth: data set or recording with truth.
        predictions: folder or recording.
        image_topic: of a recording with several cameras.
        rectified: auto, true or false: whether the images of the truth are rectified.

    Attributes:
        space: label space of the truth.
        without_truth: predictions that no true frame belongs to; whole when all pairs are read.

    Raises:
        DataError: one side cannot be opened.
    """

    def __init__(
        self,
        rules: DatasetRules,
        truth: Path,
        predictions: Path,
        image_topic: str | None = None,
        rectified: str = "auto",
    ) -> None:
        self._rules = rules
        self._source = open_source(truth, image_topic=image_topic, rectified=rectified)
        if is_pseudo_labelled(truth):
            raise DataError(
                f"{truth}: holds pseudo-labels, a teacher's guesses; give --ground-truth data with true ones"
            )
        self._predictions = open_predictions(predictions, rules.name)
        self._many = max(len(bags_in(truth)), len(bags_in(predictions))) > 1
        self.space = self._source.label_space
        self.without_truth = Names()

    def __len__(self) -> int:
        """Number of frames of the truth's source."""
        return len(self._source)

    def __iter__(self) -> Iterator[FramePair]:
        """Read pair by pair; frames that have truth but no prediction come with `paired` false.

        Raises:
            DataError: a file cannot be read.
        """
        self.without_truth = Names()
        predictions = iter(self._predictions)
        predicted = next(predictions, None)
        for sample in self._source:
            if sample.truth.panoptic_is_pseudo:
                raise DataError(f"{sample.source}: has a pseudo-label, a teacher's guess; give data with true labels")
            if sample.truth.panoptic is None and sample.truth.depth_m is None:
                continue
            while predicted is not None and self._key_of(predicted) < self._key_like(predicted, sample):
                self.without_truth.add(predicted.name)
                predicted = next(predictions, None)
            if predicted is None or self._key_of(predicted) != self._key_like(predicted, sample):
                yield FramePair(sample.sequence, _name(sample), paired=False)
                continue
            yield self._pair(sample, predicted)
            predicted = next(predictions, None)
        while predicted is not None:
            self.without_truth.add(predicted.name)
            predicted = next(predictions, None)

    def _key_of(self, predicted: PredictedFrame) -> Key:
        if predicted.stamp_ns is None:
            return (predicted.name,)
        return (natural_key(Path(predicted.sequence)) if self._many else (), predicted.stamp_ns)

    def _key_like(self, predicted: PredictedFrame, sample: Sample) -> Key:
        # the truth's key, of the kind that the prediction has
        if predicted.stamp_ns is None:
            return (frame_name(sample),)
        return (natural_key(Path(sample.sequence)) if self._many else (), sample.frame.stamp_ns)

    def _pair(self, sample: Sample, predicted: PredictedFrame) -> FramePair:
        return FramePair(
            sample.sequence,
            _name(sample),
            sample.frame.rectified().image,
            sample.frame.intrinsics,
            self._truth(sample),
            sample.truth.depth_m,
            (predicted.class_ids, predicted.instance_ids),
            predicted.depth_m,
        )

    def _truth(self, sample: Sample) -> PanopticMap | None:
        # Instances of SemKITTI-DVPS go beyond panoptic ids, and its void may have instances: both change the numbers.
        path = Path(sample.source)
        ending = f"_{IMAGE}.png"
        if self._rules.name != "semkitti-dvps" or not path.name.endswith(ending) or sample.truth.panoptic is None:
            return sample.truth.panoptic
        stem = path.name.removesuffix(ending)
        return _ids(path.with_name(f"{stem}_{CLASS}.png")), _ids(path.with_name(f"{stem}_{INSTANCE}.png"))


def check_any(frames: int, without_prediction: Names, without_truth: Names, truth: Path) -> None:
    """Check that there was anything to measure.

    Raises:
        DataError: there is no truth, or no prediction has a true frame; the message shows the first names of both.
    """
    if frames:
        return
    if not without_prediction.count:
        raise DataError(
            f"{truth}: holds no truth, neither panoptic labels nor depth; give --ground-truth the data set or "
            "recording that has it (a recording of the node alone has predictions only)"
        )
    raise DataError(
        f"no prediction belongs to a true frame: true frames are named {', '.join(without_prediction.names[:2])}, "
        f"predictions {', '.join(without_truth.names[:2])}; check that both are of the same recording"
    )


def _name(sample: Sample) -> str:
    path = Path(sample.source)
    return frame_name(sample) if path.name.endswith(f"_{IMAGE}.png") else str(sample.frame.stamp_ns)


def _ids(path: Path) -> NDArray[Any]:
    return read_map(path, [np.uint8, np.uint16])
