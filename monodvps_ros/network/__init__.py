# SPDX-License-Identifier: Apache-2.0
"""The network: one definition for a small encoder on a CPU, ResNet-50 as in the paper, and HRNet as a teacher."""

from monodvps_ros.network.complexity import PartCost, measure_complexity
from monodvps_ros.network.header import network_config
from monodvps_ros.network.inference import prepare_for_inference
from monodvps_ros.network.monodvps import MonoDVPS
from monodvps_ros.network.pose import PoseNetwork
from monodvps_ros.network.weights import (
    GRAPH_SUFFIXES,
    copy_fitting,
    description,
    is_shipped,
    load_fitting_weights,
    load_network,
    load_pose_network,
    load_pose_weights,
    load_weights,
    read_card,
    save_weights,
    weights_file,
)

__all__ = [
    "GRAPH_SUFFIXES",
    "MonoDVPS",
    "PartCost",
    "PoseNetwork",
    "copy_fitting",
    "description",
    "is_shipped",
    "load_fitting_weights",
    "load_network",
    "load_pose_network",
    "load_pose_weights",
    "load_weights",
    "measure_complexity",
    "network_config",
    "prepare_for_inference",
    "read_card",
    "save_weights",
    "weights_file",
]
