# SPDX-License-Identifier: Apache-2.0
"""The field's measures of depth, panoptic segmentation and tracking; `table` lists them, `Evaluator` runs them all."""

from monodvps_ros.metrics.class_iou import ClassIoU
from monodvps_ros.metrics.cooccurrence import CooccurrenceTable, cooccurrence, depth_error_levels, raw_depth, sum_tables
from monodvps_ros.metrics.depth_errors import CROPS, DepthErrors, DepthProtocol, median_scale
from monodvps_ros.metrics.evaluator import Evaluator
from monodvps_ros.metrics.id_switches import IdSwitches
from monodvps_ros.metrics.metric import Figure, Frame, Metric, Need
from monodvps_ros.metrics.panoptic_quality import GROUPS, PanopticQuality
from monodvps_ros.metrics.segmentation_tracking_quality import (
    DepthQuality,
    DepthSegmentationTrackingQuality,
    SegmentationTrackingQuality,
    dstq,
)
from monodvps_ros.metrics.segments import PanopticMap
from monodvps_ros.metrics.table import METRICS, RECORDING_RULES, DatasetRules, MetricSettings, figures
from monodvps_ros.metrics.video_panoptic_quality import DepthVideoPanopticQuality, VideoPanopticQuality

__all__ = [
    "CROPS",
    "GROUPS",
    "METRICS",
    "RECORDING_RULES",
    "ClassIoU",
    "CooccurrenceTable",
    "DatasetRules",
    "DepthErrors",
    "DepthProtocol",
    "DepthQuality",
    "DepthSegmentationTrackingQuality",
    "DepthVideoPanopticQuality",
    "Evaluator",
    "Figure",
    "Frame",
    "IdSwitches",
    "Metric",
    "MetricSettings",
    "Need",
    "PanopticMap",
    "PanopticQuality",
    "SegmentationTrackingQuality",
    "VideoPanopticQuality",
    "cooccurrence",
    "depth_error_levels",
    "dstq",
    "figures",
    "median_scale",
    "raw_depth",
    "sum_tables",
]
