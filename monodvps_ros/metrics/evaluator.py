# SPDX-License-Identifier: Apache-2.0
"""All measures of a run at once: each pixel is counted once for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from numpy.typing import ArrayLike
from torch import Tensor

from monodvps_ros.labels import LabelSpace
from monodvps_ros.metrics.cooccurrence import CooccurrenceTable
from monodvps_ros.metrics.depth_errors import DepthErrors, DepthErrorScores, DepthProtocol
from monodvps_ros.metrics.id_switches import IdSwitches, IdSwitchScores
from monodvps_ros.metrics.metric import Metric
from monodvps_ros.metrics.panoptic_quality import PanopticCounts, PanopticQuality, count_matches
from monodvps_ros.metrics.segmentation_tracking_quality import (
    DepthQuality,
    DepthQualityScores,
    SegmentationTrackingQuality,
    SegmentationTrackingScores,
)
from monodvps_ros.metrics.segments import PanopticMap
from monodvps_ros.metrics.video_panoptic_quality import VideoPanopticQuality, VideoPanopticScores


@dataclass(frozen=True, slots=True)
class FrameScores:
    """What one frame alone scores, to find the worst: PQ 0..1, absRel and id switches; None where not measured."""

    pq: float | None
    abs_rel: float | None
    id_switches: int


@dataclass(frozen=True, eq=False, slots=True)
class Scores:
    """The scores of all measures."""

    panoptic: PanopticCounts
    video: VideoPanopticScores
    depth_video: VideoPanopticScores
    tracking: SegmentationTrackingScores
    depth: DepthErrorScores
    depth_quality: DepthQualityScores
    switches: IdSwitchScores


class Evaluator:
    """PQ, VPQ, DVPQ, STQ, DSTQ, depth errors and id switches over sequences.

    A map may be None where it is not known: the measures that need it leave the frame out, as if it were not annotated.
    Windows of VPQ and DVPQ are over the frames that they measure.
    """

    def __init__(
        self,
        space: LabelSpace,
        windows: Sequence[int] = (1, 2, 3, 4),
        depth_thresholds: Sequence[float] = (0.5, 0.25, 0.1),
        depth_ratios: Sequence[float] = (1.25, 1.1),
        protocol: DepthProtocol | None = None,
    ) -> None:
        """Choose classes and constants; `monodvps_ros.metrics.datasets` has those of the data sets.

        Raises:
            ConfigError: a window, a threshold or a ratio is out of range.
        """
        self.space = space
        self.panoptic = PanopticQuality(space)
        self.video = VideoPanopticQuality(space, windows)
        self.depth_video = VideoPanopticQuality(space, windows, depth_thresholds)
        self.tracking = SegmentationTrackingQuality(space)
        self.depth = DepthErrors(protocol)
        self.depth_quality = DepthQuality(depth_ratios)
        self.switches = IdSwitches(space)

    @property
    def metrics(self) -> dict[str, Metric]:
        """All metrics by name."""
        return {
            "panoptic": self.panoptic,
            "video": self.video,
            "depth_video": self.depth_video,
            "tracking": self.tracking,
            "depth": self.depth,
            "depth_quality": self.depth_quality,
            "switches": self.switches,
        }

    def update(
        self,
        truth: PanopticMap | None,
        prediction: PanopticMap | None,
        truth_depth_m: ArrayLike | Tensor | None = None,
        predicted_depth_m: ArrayLike | Tensor | None = None,
        sequence: str = "",
    ) -> FrameScores:
        """Count one frame of the open sequence.

        Args:
            truth: (H, W) panoptic ids (65535 void), or a pair of class ids (255 void) and instance ids, which persist.
            prediction: the same, of the same size.
            truth_depth_m: (H, W) metres, NaN or 0 where there is none.
            predicted_depth_m: (H, W) metres, scaled as it is to be measured.
            sequence: name of the open sequence.

        Returns:
            The scores of this frame alone.

        Raises:
            ShapeError: maps differ in size, or ids are not whole numbers.
            LabelError: an id is of a class that the label space has not.
        """
        abs_rel = None
        depths = truth_depth_m is not None and predicted_depth_m is not None
        if truth_depth_m is not None and predicted_depth_m is not None:
            abs_rel = self.depth.update(truth_depth_m, predicted_depth_m)
            self.depth_quality.update(truth_depth_m, predicted_depth_m)
        if truth is None or prediction is None:
            return FrameScores(None, abs_rel, 0)
        if depths:
            table = self.depth_video.table(truth, prediction, truth_depth_m, predicted_depth_m)
            self.depth_video.update_table(table)
        else:
            table = self.video.table(truth, prediction)
        return self._count(table, abs_rel, sequence)

    def end_sequence(self) -> None:
        """Say that the next frame does not follow the last one."""
        for metric in self.metrics.values():
            metric.end_sequence()

    def reset(self) -> None:
        """Forget everything measured."""
        for metric in self.metrics.values():
            metric.reset()

    def merge(self, other: "Evaluator") -> None:
        """Add what another evaluator with the same settings has measured.

        Raises:
            ConfigError: the other has other settings.
        """
        for name, metric in self.metrics.items():
            metric.merge(other.metrics[name])

    def compute(self) -> Scores:
        """Return the scores of everything measured."""
        return Scores(
            self.panoptic.compute(),
            self.video.compute(),
            self.depth_video.compute(),
            self.tracking.compute(),
            self.depth.compute(),
            self.depth_quality.compute(),
            self.switches.compute(),
        )

    def _count(self, table: CooccurrenceTable, abs_rel: float | None, sequence: str) -> FrameScores:
        plain = table.without_depth()
        self.panoptic.update_table(plain)
        self.video.update_table(plain)
        self.tracking.update_table(plain)
        switches = self.switches.update_table(plain, sequence)
        return FrameScores(count_matches(plain, self.space).mean(), abs_rel, switches)
