# SPDX-License-Identifier: Apache-2.0
"""Segmentation and tracking quality (Weber et al. 2021, STEP), and its depth-aware form.

STQ is the geometric mean of the association quality AQ, over the pixels of whole sequences, and of the mean class IoU.
Behaviour is that of the evaluation published with deeplab2, with what is easily missed in it:

* a true thing whose instance id is 0 is a crowd: its pixels count for neither true nor predicted tracks;
* AQ does not ask for equal classes: a right mask of a wrong thing class is a perfect track, and costs IoU only;
* void predicted on labelled pixels is one more class, of IoU 0, in the mean;
* pixels of the void class in the truth do not count for IoU, but count for the area of predicted tracks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.errors import ConfigError
from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics.cooccurrence import CooccurrenceTable, sum_tables
from monodvps_ros.metrics.metric import Figure, Frame, Metric, Need, Totals, mean_or_none, percent
from monodvps_ros.metrics.segments import as_array, class_of, instance_of
from monodvps_ros.shapes import check_shapes


@dataclass(frozen=True, eq=False, slots=True)
class SegmentationTrackingScores:
    """STQ and what it is made of.

    Attributes:
        stq: 0..1, square root of aq * iou; None where nothing labelled was measured.
        aq: 0..1 mean over all true tracks; 0 where there is none, as in deeplab2.
        iou: 0..1 mean over classes with any pixel; None where nothing labelled was measured.
        tracks: number of true tracks.
    """

    stq: float | None
    aq: float
    iou: float | None
    tracks: int


class SegmentationTrackingQuality(Metric):
    """STQ, AQ and IoU.

    While a sequence is open, pixel counts of its pairs of tracks are kept; memory grows with the number of objects,
    not of frames. When it ends they are folded into two numbers.
    """

    needs = frozenset({Need.PANOPTIC})
    figures = (Figure("stq", "STQ", ("stq",), card="segmentation and tracking quality"),)

    def __init__(self, space: LabelSpace) -> None:
        self.space = space
        self._tracks: CooccurrenceTable | None = None
        super().__init__()

    def measure(self, frame: Frame) -> None:
        """Count one frame of the open sequence."""
        table = frame.table
        classes = len(self.space)
        truth, predicted = (np.minimum(class_of(ids), classes) for ids in (table.truth_ids, table.predicted_ids))
        np.add.at(self._totals["confusion"], (truth, predicted), table.counts[:, 0])
        of_tracks = self._is_track(table.truth_ids) | self._is_thing(table.predicted_ids)
        table = CooccurrenceTable(table.pairs[of_tracks], table.counts[of_tracks])
        self._tracks = table if self._tracks is None else sum_tables([self._tracks, table])

    def end_sequence(self) -> None:
        """Say that the next frame does not follow the last one; equal ids in it are other objects."""
        association, tracks = self._open_tracks()
        self._totals["association"] += association
        self._totals["tracks"] += tracks
        self._tracks = None

    def compute(self) -> SegmentationTrackingScores:
        """Return the qualities of everything measured; a sequence still open is counted as if it ended here."""
        association, open_tracks = self._open_tracks()
        confusion = self._totals["confusion"].copy()
        confusion[len(self.space)] = 0
        intersection = np.diagonal(confusion)
        union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
        iou = mean_or_none((intersection / np.maximum(union, 1))[union > 0])
        tracks = int(self._totals["tracks"].item()) + open_tracks
        aq = (float(self._totals["association"].item()) + association) / max(tracks, 1)
        stq = None if iou is None else float(np.sqrt(aq * iou))
        return SegmentationTrackingScores(stq, aq, iou, tracks)

    def result(self) -> dict[str, Any]:
        """Return STQ, AQ, IoU and the number of true tracks."""
        scores = self.compute()
        aq = None if scores.iou is None else percent(scores.aq)
        return {"stq": percent(scores.stq), "aq": aq, "iou": percent(scores.iou), "tracks": scores.tracks}

    def _is_thing(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.isin(class_of(ids), self.space.thing_ids)

    def _is_track(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        return self._is_thing(ids) & (instance_of(ids) > 0)

    def _open_tracks(self) -> tuple[float, int]:
        # sum over true tracks of AQ, and their number
        if self._tracks is None or not self._tracks.pairs.size:
            return 0.0, 0
        truth, predicted, pixels = self._tracks.truth_ids, self._tracks.predicted_ids, self._tracks.counts[:, 0]
        is_true_track = self._is_track(truth)
        crowd = self._is_thing(truth) & ~is_true_track
        is_predicted_track = self._is_thing(predicted) & ~crowd
        true_ids, true_rank = np.unique(truth, return_inverse=True)
        predicted_ids, predicted_rank = np.unique(predicted, return_inverse=True)
        true_area, predicted_area = np.zeros(len(true_ids), np.int64), np.zeros(len(predicted_ids), np.int64)
        np.add.at(true_area, true_rank, pixels)
        np.add.at(predicted_area, predicted_rank, pixels * is_predicted_track)
        both = is_true_track & is_predicted_track
        shared, of_truth = pixels[both].astype(np.float64), true_area[true_rank[both]]
        union = of_truth + predicted_area[predicted_rank[both]] - shared
        association = float(np.sum(shared * shared / union / of_truth))
        return association, int(np.count_nonzero(self._is_track(true_ids)))

    def _zeros(self) -> Totals:
        size = len(self.space) + 1
        return {
            "confusion": np.zeros((size, size), np.int64),
            "association": np.zeros(1, np.float64),
            "tracks": np.zeros(1, np.int64),
        }


@dataclass(frozen=True, slots=True)
class DepthQualityScores:
    """Shares of true depth pixels whose predicted depth is close enough.

    Attributes:
        dq: 0..1, geometric mean over thresholds; 0 where there is no true depth, as in deeplab2.
        by_threshold: ratio to share, 0..1.
        pixels: number of pixels with true depth.
    """

    dq: float
    by_threshold: dict[float, float]
    pixels: int


class DepthQuality(Metric):
    """DQ, the depth part of DSTQ: the share of pixels with max(p / g, g / p) at or below a ratio, over all frames.

    Args:
        ratios: one or more.

    Raises:
        ConfigError: there is no ratio, or one is below 1.

    Source: the DSTQ evaluation published with deeplab2.
    """

    needs = frozenset({Need.DEPTH})

    def __init__(self, ratios: Sequence[float] = (1.25, 1.1)) -> None:
        if not ratios or min(ratios) < 1:
            raise ConfigError(f"depth ratios must be one or more of 1 or above but are {tuple(ratios)}")
        self.ratios = tuple(ratios)
        super().__init__()

    def measure(self, frame: Frame) -> None:
        """Count one frame; a prediction that is NaN or not above 0 is never close.

        Raises:
            ShapeError: the maps differ in size.
        """
        assert frame.true_depth_m is not None and frame.predicted_depth_m is not None
        truth, prediction = as_array(frame.true_depth_m), as_array(frame.predicted_depth_m)
        check_shapes("resize the prediction to the truth", truth=(truth, "H W"), prediction=(prediction, "H W"))
        known = truth > 0
        truth, prediction = truth[known].astype(np.float64), prediction[known].astype(np.float64)
        self._totals["pixels"] += truth.size
        predicted = prediction > 0
        ratio = np.maximum(truth[predicted] / prediction[predicted], prediction[predicted] / truth[predicted])
        self._totals["inliers"] += [np.count_nonzero(ratio <= limit) for limit in self.ratios]

    def compute(self) -> DepthQualityScores:
        """Return the shares over everything measured."""
        pixels = int(self._totals["pixels"].item())
        shares = self._totals["inliers"] / max(pixels, 1)
        dq = float(np.prod(shares) ** (1 / len(self.ratios)))
        return DepthQualityScores(dq, {ratio: float(s) for ratio, s in zip(self.ratios, shares, strict=True)}, pixels)

    def result(self) -> dict[str, Any]:
        """Return DQ, and the shares of pixels that it is made of by ratio."""
        scores = self.compute()
        known = scores.pixels > 0
        shares = {f"{ratio:g}": percent(share) if known else None for ratio, share in scores.by_threshold.items()}
        return {"dq": percent(scores.dq) if known else None, "dq_by_ratio": shares}

    def _zeros(self) -> Totals:
        return {"inliers": np.zeros(len(self.ratios), np.int64), "pixels": np.zeros(1, np.int64)}


class DepthSegmentationTrackingQuality(Metric):
    """DSTQ over the frames that have panoptic maps and depth; `ratios` are those of `DepthQuality`."""

    needs = frozenset({Need.PANOPTIC, Need.DEPTH})
    figures = (Figure("dstq", "DSTQ", ("dstq",), card="segmentation, tracking and depth quality"),)

    def __init__(self, space: LabelSpace, ratios: Sequence[float] = (1.25, 1.1)) -> None:
        self._tracking = SegmentationTrackingQuality(space)
        self._depth = DepthQuality(ratios)
        super().__init__()

    def measure(self, frame: Frame) -> None:
        """Count one frame of the open sequence."""
        self._tracking.measure(frame)
        self._depth.measure(frame)

    def end_sequence(self) -> None:
        """Say that the next frame does not follow the last one."""
        self._tracking.end_sequence()

    def state(self) -> dict[str, Any]:
        """Return the totals of both parts; see `Metric.state`."""
        return {"tracking": self._tracking.state(), "depth": self._depth.state()}

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Add the totals of both parts; see `Metric.add_state`."""
        self._tracking.add_state(state["tracking"])
        self._depth.add_state(state["depth"])

    def result(self) -> dict[str, Any]:
        """Return DSTQ, DQ, and the shares of pixels that DQ is made of by ratio."""
        stq, depth = self._tracking.compute().stq, self._depth.compute()
        known = None if stq is None or not depth.pixels else dstq(stq, depth.dq)
        return {"dstq": percent(known), **self._depth.result()}

    def _zeros(self) -> Totals:
        return {}


def dstq(stq: float, dq: float) -> float:
    """Return DSTQ, the cube root of STQ squared times DQ, all 0..1.

    Source: the DSTQ evaluation published with deeplab2.
    """
    return float((stq * stq * dq) ** (1 / 3))
