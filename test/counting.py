# SPDX-License-Identifier: Apache-2.0
"""Gives frames to a metric in the tests of metrics."""

from monodvps_ros.metrics import Frame


def count(metric, truth, prediction, true_depth_m=None, predicted_depth_m=None, sequence=""):
    """Count one frame of panoptic maps, and of depth where it is given."""
    depth = {"true_depth_m": true_depth_m, "predicted_depth_m": predicted_depth_m}
    thresholds = getattr(metric, "depth_thresholds", ())
    metric.measure(Frame(metric.space, thresholds, truth, prediction, **depth, sequence=sequence))
