# SPDX-License-Identifier: Apache-2.0
"""Export of checkpoints and weights files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from monodvps_ros.config import TrainingConfig, from_dict
from monodvps_ros.engines import export_graph
from monodvps_ros.errors import ConfigError, DeviceError, WeightsError
from monodvps_ros.network import MonoDVPS, load_network, read_card, save_weights
from monodvps_ros.training.checkpoints import CONFIG_KEY, DATA_KEY, METRICS_KEY, read_checkpoint

_PREFIX = "network."
_WEIGHTS = ".safetensors"


def export_checkpoint(
    checkpoint: Path, out: Path, half: bool = False, more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write the network of a checkpoint to a weights file.

    Args:
        checkpoint: of a training run, or a weights file.
        out: file to write.
        half: store float16, half the size.
        more: further entries of the model card.

    Returns:
        The model card that was written: training data, steps, last metrics.

    Raises:
        WeightsError: the checkpoint is missing, damaged or not of this package, or the file cannot be written.
    """
    network, card = _read_network(checkpoint)
    card |= more or {}
    save_weights(out, network, card, half)
    return card


def export_checkpoint_graph(
    checkpoint: Path, out: Path, device: str = "cpu", more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write the network of a checkpoint as a graph, and check it; see `monodvps_ros.engines.export_graph`.

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
    network, card = _read_network(checkpoint)
    card |= more or {}
    try:
        network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device '{device}' cannot hold the network: {error}; use cpu") from error
    export_graph(out, network, card)
    return card


def _read_network(checkpoint: Path) -> tuple[MonoDVPS, dict[str, Any]]:
    """Read a network with its weights, and its model card."""
    if checkpoint.suffix == _WEIGHTS:
        return load_network(checkpoint, for_inference=False), read_card(checkpoint)["card"]
    held = read_checkpoint(checkpoint)
    if CONFIG_KEY not in held:
        raise WeightsError(f"{checkpoint}: not a checkpoint of this package; give one that 'monodvps train' wrote")
    try:
        config = from_dict(TrainingConfig, held[CONFIG_KEY], str(checkpoint))
    except ConfigError as error:
        raise WeightsError(f"{error}; it was written by another version of this package") from error
    with torch.random.fork_rng(devices=[]):
        network = MonoDVPS(config.network).eval()
    state = {
        name.removeprefix(_PREFIX): value for name, value in held["state_dict"].items() if name.startswith(_PREFIX)
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{checkpoint}: does not fit its own configuration: {error}") from error
    return network, {
        "training_data": held.get(DATA_KEY, []),
        "steps": held["global_step"],
        "metrics": held.get(METRICS_KEY, {}),
    }
