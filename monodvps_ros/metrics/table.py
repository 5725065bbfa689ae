# SPDX-License-Identifier: Apache-2.0
"""The one table of metrics: what is made, under which name it stands in the result, in the order of reports.

To add one, write a `Metric` in a file of its own, enter it here, and describe its figures in docs/evaluation.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from monodvps_ros.labels import ClassGroups, LabelSpace
from monodvps_ros.metrics.class_iou import ClassIoU
from monodvps_ros.metrics.depth_errors import DepthErrors, DepthProtocol
from monodvps_ros.metrics.id_switches import IdSwitches
from monodvps_ros.metrics.metric import Figure, Metric
from monodvps_ros.metrics.panoptic_quality import PanopticQuality
from monodvps_ros.metrics.segmentation_tracking_quality import (
    DepthSegmentationTrackingQuality,
    SegmentationTrackingQuality,
)
from monodvps_ros.metrics.video_panoptic_quality import DepthVideoPanopticQuality, VideoPanopticQuality


@dataclass(frozen=True)
class DatasetRules:
    """How a data set is measured.

    Attributes:
        name: as on command lines.
        windows: lengths k in frames over which VPQ and DVPQ are taken.
        depth_thresholds: lambda of DVPQ.
        depth_ratios: of DSTQ.
    """

    name: str
    windows: tuple[int, ...] = (1, 2, 3, 4)
    depth_thresholds: tuple[float, ...] = (0.5, 0.25, 0.1)
    depth_ratios: tuple[float, ...] = (1.25, 1.1)


#: A recording, a folder of images: at the camera's full rate, measured over the windows of Cityscapes-DVPS.
RECORDING_RULES = DatasetRules("recording")


@dataclass(frozen=True)
class MetricSettings:
    """What metrics are made from.

    Attributes:
        space: classes of the panoptic maps.
        groups: classes as the true labels tell them apart.
        rules: constants of the data set.
        protocol: pixels that count for depth errors.
    """

    space: LabelSpace
    groups: ClassGroups
    rules: DatasetRules = RECORDING_RULES
    protocol: DepthProtocol = field(default_factory=DepthProtocol)


@dataclass(frozen=True)
class MetricEntry:
    """A metric of the table: its class, and how it is made from settings."""

    kind: type[Metric]
    make: Callable[[MetricSettings], Metric]


METRICS: Mapping[str, MetricEntry] = MappingProxyType(
    {
        "pq": MetricEntry(PanopticQuality, lambda s: PanopticQuality(s.space)),
        "classes": MetricEntry(ClassIoU, lambda s: ClassIoU(s.groups)),
        "vpq": MetricEntry(VideoPanopticQuality, lambda s: VideoPanopticQuality(s.space, s.rules.windows)),
        "dvpq": MetricEntry(
            DepthVideoPanopticQuality,
            lambda s: DepthVideoPanopticQuality(s.space, s.rules.windows, s.rules.depth_thresholds),
        ),
        "stq": MetricEntry(SegmentationTrackingQuality, lambda s: SegmentationTrackingQuality(s.space)),
        "dstq": MetricEntry(
            DepthSegmentationTrackingQuality,
            lambda s: DepthSegmentationTrackingQuality(s.space, s.rules.depth_ratios),
        ),
        "id_switches": MetricEntry(IdSwitches, lambda s: IdSwitches(s.space)),
        "depth": MetricEntry(DepthErrors, lambda s: DepthErrors(s.protocol)),
    }
)


def figures() -> Iterator[tuple[str, Figure]]:
    """Give all figures, each with the name of its metric."""
    for name, entry in METRICS.items():
        for figure in entry.kind.figures:
            yield name, figure
