# SPDX-License-Identifier: Apache-2.0
"""The losses of MonoDVPS, one function for each equation of the paper, and their weighted sum."""

from monodvps_ros.losses.batch import TrainingBatch, TrainingPrediction
from monodvps_ros.losses.flow import flow_loss, flow_photometric_loss, flow_smoothness
from monodvps_ros.losses.flow_residual import flow_residual_mask
from monodvps_ros.losses.moving_objects import (
    OCCLUDED_PANOPTIC_ID,
    iou_threshold_at,
    moving_object_mask,
    occlusion_mask,
    reconstruct_depth,
    reconstruct_panoptic,
)
from monodvps_ros.losses.objective import Objective
from monodvps_ros.losses.panoptic import center_loss, class_target, offset_loss, semantic_loss, small_instance_weights
from monodvps_ros.losses.panoptic_edge_discontinuity import panoptic_edge_discontinuity
from monodvps_ros.losses.panoptic_smoothness import panoptic_smoothness
from monodvps_ros.losses.photometric import minimum_reprojection_loss, photometric_error
from monodvps_ros.losses.pseudo_depth import scale_shift_invariant
from monodvps_ros.losses.smoothness import edge_aware_smoothness, normalize_disparity
from monodvps_ros.losses.supervised_depth import scale_invariant_log
from monodvps_ros.losses.terms import TERMS, Need, Term
from monodvps_ros.losses.triplet import panoptic_triplet

__all__ = [
    "OCCLUDED_PANOPTIC_ID",
    "TERMS",
    "Need",
    "Objective",
    "Term",
    "TrainingBatch",
    "TrainingPrediction",
    "center_loss",
    "class_target",
    "edge_aware_smoothness",
    "flow_loss",
    "flow_photometric_loss",
    "flow_residual_mask",
    "flow_smoothness",
    "iou_threshold_at",
    "minimum_reprojection_loss",
    "moving_object_mask",
    "normalize_disparity",
    "occlusion_mask",
    "offset_loss",
    "panoptic_edge_discontinuity",
    "panoptic_smoothness",
    "panoptic_triplet",
    "photometric_error",
    "reconstruct_depth",
    "reconstruct_panoptic",
    "scale_invariant_log",
    "scale_shift_invariant",
    "semantic_loss",
    "small_instance_weights",
]
