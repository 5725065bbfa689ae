# SPDX-License-Identifier: Apache-2.0
"""The model that a configuration names: our network, as weights or as an exported graph, or a pair of hub models."""

from pathlib import Path

import torch

from monodvps_ros.config import PipelineConfig
from monodvps_ros.engines import GraphModel, load_engine, open_graph, thread_count
from monodvps_ros.errors import ConfigError, shortened
from monodvps_ros.foundation.pair import FoundationModel
from monodvps_ros.network import GRAPH_SUFFIXES, PoseNetwork, load_pose_network
from monodvps_ros.perception.device import resolve_device
from monodvps_ros.types import PerceptionModel


def load_model(config: PipelineConfig, device: torch.device | None = None) -> PerceptionModel:
    """Load the model of a configuration.

    Args:
        config: `model` names a pair of hub models; where it is empty, `weights` names our network's file, which
            `save_weights` or `export_graph` wrote, and `engine` what runs it; `threads` holds for the process.
        device: where to run it; None: the one that `device` of the configuration names.

    Raises:
        ConfigError: both a pair and weights are named, the pair is not one, or engine, precision and file do not go
            together.
        DeviceError: the device is absent.
        LabelError: the panoptic model has classes without a counterpart.
        MissingDependencyError: transformers, or what runs a graph, is not installed.
        WeightsError: a file or model cannot be had.
    """
    device = device or resolve_device(config.device)
    torch.set_num_threads(thread_count(config.threads))
    if not config.model:
        is_graph = config.weights.endswith(GRAPH_SUFFIXES)
        model = open_graph(Path(config.weights), config, device) if is_graph else load_engine(config, device)
        if device.type == "cpu" and isinstance(model, GraphModel) and model.engine != "torch":
            # What is left for torch is small, and its threads would spin beside the engine's.
            torch.set_num_threads(1)
        return model
    if config.weights:
        raise ConfigError(
            f"model '{shortened(config.model)}' and weights '{shortened(config.weights)}' are both named; "
            "leave one empty"
        )
    return FoundationModel(config.model, device)


def load_pose(config: PipelineConfig, device: torch.device | None = None) -> PoseNetwork | None:
    """Load the pose network of a configuration's weights; None where they have none.

    Raises:
        DeviceError: the device is absent.
        WeightsError: the file is damaged or missing.
    """
    return None if config.model else load_pose_network(config.weights, device or resolve_device(config.device))
