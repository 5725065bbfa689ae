# SPDX-License-Identifier: Apache-2.0
"""Panoptic quality: matching of segments, PQ, SQ and RQ (Kirillov et al. 2019), with the rules of depth-aware VPS.

The rules are those of the scripts published with ViP-DeepLab (Qiao et al. 2021):

* a true and a predicted segment match where they are of one class and their IoU is above one half, not at it;
* the union leaves out those pixels of the predicted segment that lie on void (class 255, instance 0);
* a predicted segment without a match is excused where more than half of it lies on pixels of the void class;
* a true thing whose instance id is 0 is a segment like any other: there is no crowd.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monodvps_ros.labels import VOID_CLASS_ID, LabelSpace
from monodvps_ros.metrics.cooccurrence import CooccurrenceTable
from monodvps_ros.metrics.metric import Figure, Frame, Metric, Need, Totals, mean_or_none, percent
from monodvps_ros.metrics.segments import VOID_SEGMENT, class_of

#: Groups of classes over which means are taken.
GROUPS = ("all", "things", "stuff")


@dataclass(frozen=True, eq=False, slots=True)
class SegmentMatches:
    """Pairs of segments that match.

    Attributes:
        truth_ids: (m,) int64 segment ids.
        predicted_ids: (m,) int64 segment ids.
        iou: (m,) float64, each above 0.5.
        missed_ids: true segments without a match, void left out.
        false_ids: predicted segments without a match, void and excused ones left out.
    """

    truth_ids: NDArray[np.int64]
    predicted_ids: NDArray[np.int64]
    iou: NDArray[np.float64]
    missed_ids: NDArray[np.int64]
    false_ids: NDArray[np.int64]


def match_segments(table: CooccurrenceTable) -> SegmentMatches:
    """Match true and predicted segments by the rules at the top of this file."""
    truth, predicted, pixels = table.truth_ids, table.predicted_ids, table.counts.sum(axis=1)
    true_ids, true_rank = np.unique(truth, return_inverse=True)
    predicted_ids, predicted_rank = np.unique(predicted, return_inverse=True)
    true_area = _sum_by(true_rank, pixels, len(true_ids))
    predicted_area = _sum_by(predicted_rank, pixels, len(predicted_ids))
    on_void = _sum_by(predicted_rank, pixels * (truth == VOID_SEGMENT), len(predicted_ids))
    on_ignored = _sum_by(predicted_rank, pixels * (class_of(truth) == VOID_CLASS_ID), len(predicted_ids))

    same_class = (class_of(truth) == class_of(predicted)) & (class_of(truth) != VOID_CLASS_ID)
    union = true_area[true_rank] + predicted_area[predicted_rank] - pixels - on_void[predicted_rank]
    matched = same_class & (2 * pixels > union)
    missed = class_of(true_ids) != VOID_CLASS_ID
    missed[true_rank[matched]] = False
    false = (class_of(predicted_ids) != VOID_CLASS_ID) & (2 * on_ignored <= predicted_area)
    false[predicted_rank[matched]] = False
    return SegmentMatches(
        truth[matched], predicted[matched], pixels[matched] / union[matched], true_ids[missed], predicted_ids[false]
    )


@dataclass(frozen=True, eq=False, slots=True)
class PanopticCounts:
    """What matching found, per class, and the qualities that follow from it.

    Attributes:
        space: the classes.
        iou_sum: (C,) float64 sum of the IoU of matches.
        tp: (C,) int64 matches.
        fn: (C,) int64 true segments without a match.
        fp: (C,) int64 predicted segments without a match.
    """

    space: LabelSpace
    iou_sum: NDArray[np.float64]
    tp: NDArray[np.int64]
    fn: NDArray[np.int64]
    fp: NDArray[np.int64]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(C,) true for classes with any segment, true or predicted."""
        return (self.tp + self.fn + self.fp) > 0

    @property
    def sq(self) -> NDArray[np.float64]:
        """(C,) segmentation quality 0..1, the mean IoU of matches; 0 without a match."""
        quality: NDArray[np.float64] = self.iou_sum / np.maximum(self.tp, 1)
        return quality

    @property
    def rq(self) -> NDArray[np.float64]:
        """(C,) recognition quality 0..1, tp / (tp + fn / 2 + fp / 2); 0 for absent classes."""
        quality: NDArray[np.float64] = self.tp / np.maximum(self.tp + 0.5 * self.fn + 0.5 * self.fp, 0.5)
        return quality

    @property
    def pq(self) -> NDArray[np.float64]:
        """(C,) panoptic quality 0..1, the product of both; 0 for absent classes."""
        return self.sq * self.rq

    def mean(self, quality: str = "pq", group: str = "all", fill_absent: bool = False) -> float | None:
        """Mean of a quality over classes.

        Args:
            quality: "pq", "sq" or "rq".
            group: "all", "things" or "stuff".
            fill_absent: count classes that are absent as 0 instead of leaving them out.

        Returns:
            0..1, or None where the group has no class to count.
        """
        chosen = np.ones(len(self.space), np.bool_)
        if group != "all":
            chosen = self.space.is_thing if group == "things" else ~self.space.is_thing
        values: NDArray[np.float64] = getattr(self, quality)
        return mean_or_none(values[chosen if fill_absent else chosen & self.present])


def count_matches(table: CooccurrenceTable, space: LabelSpace) -> PanopticCounts:
    """Match the segments of a table and count the outcome per class."""
    matches = match_segments(table)
    classes = len(space)
    matched_class = class_of(matches.truth_ids)
    return PanopticCounts(
        space,
        np.bincount(matched_class, weights=matches.iou, minlength=classes).astype(np.float64),
        np.bincount(matched_class, minlength=classes),
        np.bincount(class_of(matches.missed_ids), minlength=classes),
        np.bincount(class_of(matches.false_ids), minlength=classes),
    )


def group_means(counts: PanopticCounts, quality: str = "pq", fill_absent: bool = False) -> dict[str, float | None]:
    """Return the means of a quality over each of `GROUPS` in percent; None in all where nothing was counted."""
    if not counts.present.any():
        return dict.fromkeys(GROUPS)
    return {group: percent(counts.mean(quality, group, fill_absent)) for group in GROUPS}


def class_quality(counts: PanopticCounts, class_id: int, quality: str = "pq") -> float | None:
    """Return a quality of one class in percent, None where the class is absent."""
    return percent(getattr(counts, quality)[class_id]) if counts.present[class_id] else None


class PanopticQuality(Metric):
    """PQ, SQ and RQ over single frames of the classes of a label space."""

    needs = frozenset({Need.PANOPTIC})
    figures = (
        Figure("pq", "PQ", ("all",), card="panoptic quality of single frames"),
        Figure("pq_things", "PQ things", ("things",)),
        Figure("pq_stuff", "PQ stuff", ("stuff",)),
        Figure("sq", "SQ", ("sq", "all")),
        Figure("rq", "RQ", ("rq", "all")),
    )

    def __init__(self, space: LabelSpace) -> None:
        self.space = space
        super().__init__()

    def measure(self, frame: Frame) -> float | None:
        """Count a frame; return its PQ, 0..1."""
        counts = count_matches(frame.table, self.space)
        for name in self._totals:
            self._totals[name] += getattr(counts, name)
        return counts.mean()

    def compute(self) -> PanopticCounts:
        """Return counts and qualities of everything measured."""
        return PanopticCounts(self.space, **{name: total.copy() for name, total in self._totals.items()})

    def result(self) -> dict[str, Any]:
        """Return PQ, SQ and RQ by group of classes, absent classes left out and, beside it, counted as 0."""
        counts = self.compute()

        def qualities(fill_absent: bool) -> dict[str, Any]:
            parts = {quality: group_means(counts, quality, fill_absent) for quality in ("sq", "rq")}
            return {**group_means(counts, "pq", fill_absent), **parts}

        return {**qualities(fill_absent=False), "zero_filled": qualities(fill_absent=True)}

    def per_class(self) -> dict[str, dict[str, Any]]:
        """Return PQ, SQ, RQ and the numbers of segments of each class."""
        counts = self.compute()
        return {
            name: {
                **{quality: class_quality(counts, index, quality) for quality in ("pq", "sq", "rq")},
                **{kind: int(getattr(counts, kind)[index]) for kind in ("tp", "fp", "fn")},
            }
            for index, name in enumerate(self.space.names)
        }

    def _zeros(self) -> Totals:
        return zero_counts(len(self.space))


def zero_counts(*shape: int) -> Totals:
    """Arrays for the fields of `PanopticCounts`, of a shape, with nothing counted."""
    return {
        "iou_sum": np.zeros(shape, np.float64),
        "tp": np.zeros(shape, np.int64),
        "fn": np.zeros(shape, np.int64),
        "fp": np.zeros(shape, np.int64),
    }


def _sum_by(rank: NDArray[np.intp], pixels: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, rank, pixels)
    return sums
