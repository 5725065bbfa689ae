# SPDX-License-Identifier: Apache-2.0
"""One tree of dataclasses holds every setting; YAML files, command lines and ROS parameters are views of it.

A setting's dotted name (``tracker.min_iou``) is the same in all three. `settings` lists them with default, unit,
range and description; `load` reads a YAML file and dotted overrides over the defaults.
"""

from monodvps_ros.config.model import LossConfig, NetworkConfig
from monodvps_ros.config.nodes import CameraConfig, NodeConfig, TrainingNodeConfig
from monodvps_ros.config.perception import (
    CloudConfig,
    GroupingConfig,
    OdometryConfig,
    PipelineConfig,
    ScaleConfig,
    TrackerConfig,
)
from monodvps_ros.config.scenes import SceneConfig
from monodvps_ros.config.training import AugmentationConfig, OptimizerConfig, PseudoLabelConfig, TrainingConfig
from monodvps_ros.config.tree import Setting, from_dict, load, replace, setting, settings, to_dict

__all__ = [
    "AugmentationConfig",
    "CameraConfig",
    "CloudConfig",
    "GroupingConfig",
    "LossConfig",
    "NetworkConfig",
    "NodeConfig",
    "OdometryConfig",
    "OptimizerConfig",
    "PipelineConfig",
    "PseudoLabelConfig",
    "ScaleConfig",
    "SceneConfig",
    "Setting",
    "TrackerConfig",
    "TrainingConfig",
    "TrainingNodeConfig",
    "from_dict",
    "load",
    "replace",
    "setting",
    "settings",
    "to_dict",
]
