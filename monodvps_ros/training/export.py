# SPDX-License-Identifier: Apache-2.0
"""From a checkpoint to a weights file."""

from pathlib import Path
from typing import Any

from monodvps_ros.config import TrainingConfig, from_dict
from monodvps_ros.errors import ConfigError, WeightsError
from monodvps_ros.network import MonoDVPS, save_weights
from monodvps_ros.training.checkpoints import read_checkpoint
from monodvps_ros.training.module import CONFIG_KEY, DATA_KEY, METRICS_KEY

_PREFIX = "network."


def export_checkpoint(checkpoint: Path, out: Path, half: bool = False) -> dict[str, Any]:
    """Write the network of a checkpoint to a weights file.

    Args:
        checkpoint: of a training run.
        out: file to write.
        half: store float16, half the size.

    Returns:
        The model card that was written: training data, steps, last figures.

    Raises:
        WeightsError: the checkpoint is not there, damaged, not of this package, or the file cannot be written.
    """
    held = read_checkpoint(checkpoint)
    if CONFIG_KEY not in held:
        raise WeightsError(f"{checkpoint}: not a checkpoint of this package; give one that 'monodvps train' wrote")
    try:
        config = from_dict(TrainingConfig, held[CONFIG_KEY], str(checkpoint))
    except ConfigError as error:
        raise WeightsError(f"{error}; it was written by another version of this package") from error
    network = MonoDVPS(config.network)
    state = {
        name.removeprefix(_PREFIX): value for name, value in held["state_dict"].items() if name.startswith(_PREFIX)
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"{checkpoint}: does not fit its own configuration: {error}") from error
    card = {
        "training_data": held.get(DATA_KEY, []),
        "steps": held["global_step"],
        "metrics": held.get(METRICS_KEY, {}),
    }
    save_weights(out, network, card, half)
    return card
