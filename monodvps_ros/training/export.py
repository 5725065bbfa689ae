# SPDX-License-Identifier: Apache-2.0
"""Export of checkpoints and weights files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from monodvps_ros.config import TrainingConfig, from_dict
from monodvps_ros.engines import export_graph
from monodvps_ros.errors import ConfigError, DeviceError, WeightsError
from monodvps_ros.network import (
    MonoDVPS,
    PoseNetwork,
    load_network,
    load_pose_network,
    read_card,
    save_weights,
    weights_file,
)
from monodvps_ros.training.checkpoints import CONFIG_KEY, DATA_KEY, METRICS_KEY, POSE_KEY, START_KEY, read_checkpoint

_PREFIX, _POSE_PREFIX = "network.", "pose_network."
_WEIGHTS = ".safetensors"


def export_checkpoint(
    checkpoint: Path, out: Path, half: bool = False, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write the network of a checkpoint to a weights file, and the pose network where one was trained.

    Args:
        checkpoint: of a training run, a weights file, or the name of shipped weights.
        out: file to write.
        half: store float16, half the size.
        more: further entries of the model card.

    Returns:
        The model card that was written: training data, steps, last metrics; name and licence of the initial weights.

    Raises:
        WeightsError: the checkpoint is missing, damaged or not of this package, or the file cannot be written.
    """
    network, pose_network, card = _read_networks(checkpoint)
    card |= more or {}
    save_weights(out, network, card, half, pose_network)
    return card


def export_checkpoint_graph(
    checkpoint: Path, out: Path, device: str = "cpu", more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write the network of a checkpoint as a graph, and check it; see `monodvps_ros.engines.export_graph`.

    The pose network is left out: a graph gives no odometry.

    Args:
        checkpoint: of a training run, or a weights file.
        out: file to write, ending in .onnx or .pt2.
        device: that the graph is traced on; a .pt2 package runs on that one only.
        more: further entries of the model card.

    Returns:
        The model card that was written.

    Raises:
        DeviceError: the device is absent.
        MissingDependencyError: what writes or runs the file is not installed.
        WeightsError: as for `export_checkpoint`, or the file computes something else than the network.
    """
    network, _, card = _read_networks(checkpoint)
    card |= more or {}
    try:
        network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device '{device}' cannot hold the network: {error}; use cpu") from error
    export_graph(out, network, card)
    return card


def _read_networks(checkpoint: Path) -> tuple[MonoDVPS, PoseNetwork | None, dict[str, Any]]:
    """Read the networks with their weights, and the model card."""
    checkpoint = weights_file(str(checkpoint))
    if checkpoint.suffix == _WEIGHTS:
        network = load_network(checkpoint, for_inference=False)
        return network, load_pose_network(checkpoint), read_card(checkpoint)["card"]
    held = read_checkpoint(checkpoint)
    if CONFIG_KEY not in held:
        raise WeightsError(f"{checkpoint}: not a checkpoint of this package; give one that 'monodvps train' wrote")
    try:
        config = from_dict(TrainingConfig, held[CONFIG_KEY], str(checkpoint))
    except ConfigError as error:
        raise WeightsError(f"{error}; it was written by another version of this package") from error
    with torch.random.fork_rng(devices=[]):
        network = MonoDVPS(config.network).eval()
        pose_network = PoseNetwork(config.pose_encoder, shrink=config.pose_shrink, metric=config.network.metric).eval()
    try:
        for part, prefix in ((network, _PREFIX), (pose_network, _POSE_PREFIX)):
            state = held["state_dict"]
            part.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise WeightsError(f"{checkpoint}: does not fit its own configuration: {error}") from error
    return (
        network,
        pose_network if held.get(POSE_KEY) else None,
        {
            "training_data": held.get(DATA_KEY, []),
            "steps": held["global_step"],
            "metrics": held.get(METRICS_KEY, {}),
            **held.get(START_KEY, {}),
        },
    )
