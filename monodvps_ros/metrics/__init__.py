# SPDX-License-Identifier: Apache-2.0
"""The field's measures of depth, panoptic segmentation and tracking: `update`, `end_sequence`, `compute`, `merge`."""

from monodvps_ros.metrics.cooccurrence import CooccurrenceTable, cooccurrence, depth_error_levels, raw_depth, sum_tables
from monodvps_ros.metrics.datasets import DATASETS, DatasetRules, dataset_rules
from monodvps_ros.metrics.depth_errors import (
    CROPS,
    DepthBand,
    DepthErrors,
    DepthErrorScores,
    DepthProtocol,
    median_scale,
)
from monodvps_ros.metrics.evaluator import Evaluator, FrameScores, Scores
from monodvps_ros.metrics.id_switches import IdSwitches, IdSwitchScores, Run, TrackHistory
from monodvps_ros.metrics.metric import Metric, State
from monodvps_ros.metrics.panoptic_quality import (
    GROUPS,
    PanopticCounts,
    PanopticQuality,
    SegmentMatches,
    count_matches,
    match_segments,
)
from monodvps_ros.metrics.results import AVERAGING, results
from monodvps_ros.metrics.segmentation_tracking_quality import (
    DepthQuality,
    DepthQualityScores,
    SegmentationTrackingQuality,
    SegmentationTrackingScores,
    dstq,
    void_removed,
)
from monodvps_ros.metrics.segments import PanopticMap
from monodvps_ros.metrics.video_panoptic_quality import VideoPanopticQuality, VideoPanopticScores

__all__ = [
    "AVERAGING",
    "CROPS",
    "DATASETS",
    "GROUPS",
    "CooccurrenceTable",
    "DatasetRules",
    "DepthBand",
    "DepthErrorScores",
    "DepthErrors",
    "DepthProtocol",
    "DepthQuality",
    "DepthQualityScores",
    "Evaluator",
    "FrameScores",
    "IdSwitchScores",
    "IdSwitches",
    "Metric",
    "PanopticCounts",
    "PanopticMap",
    "PanopticQuality",
    "Run",
    "Scores",
    "SegmentMatches",
    "SegmentationTrackingQuality",
    "SegmentationTrackingScores",
    "State",
    "TrackHistory",
    "VideoPanopticQuality",
    "VideoPanopticScores",
    "cooccurrence",
    "count_matches",
    "dataset_rules",
    "depth_error_levels",
    "dstq",
    "match_segments",
    "median_scale",
    "raw_depth",
    "results",
    "sum_tables",
    "void_removed",
]
