# SPDX-License-Identifier: Apache-2.0
"""Gives frames to a metric in the tests of metrics."""

from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.metrics import Frame


def count(metric, truth, prediction, true_depth_m=None, predicted_depth_m=None, sequence=""):
    """Count one frame of panoptic maps, and of depth where it is given."""
    depth = {"true_depth_m": true_depth_m, "predicted_depth_m": predicted_depth_m}
    thresholds = getattr(metric, "depth_thresholds", ())
    metric.measure(Frame(metric.space, thresholds, truth, prediction, **depth, sequence=sequence))


def count_depth(metric, truth_m, prediction_m, moving=None):
    """Count one frame of depth; return its score."""
    return metric.measure(Frame(CITYSCAPES, true_depth_m=truth_m, predicted_depth_m=prediction_m, moving=moving))


def count_groups(metric, truth, prediction):
    """Count one frame of class groups; return its score."""
    return metric.measure(Frame(CITYSCAPES, true_groups=truth, predicted_groups=prediction))
