# SPDX-License-Identifier: Apache-2.0
"""Which parts of the networks a run trains."""

from collections.abc import Sequence

from torch import nn

from monodvps_ros.errors import ConfigError
from monodvps_ros.losses import Objective
from monodvps_ros.network import MonoDVPS, PoseNetwork


def named_parts(network: MonoDVPS, pose_network: PoseNetwork) -> dict[str, list[nn.Module]]:
    """Return the modules of each part that `TrainingConfig.frozen` can name."""
    flow = [] if network.flow_decoder is None else [network.flow_decoder]
    return {
        "encoder": [network.encoder],
        "semantic": [network.semantic_decoder, network.semantic_head],
        "instance": [network.instance_decoder, network.center_head, network.offset_head],
        "depth": [network.depth_head],
        "flow": list(flow),
        "pose": [pose_network],
    }


def trained_parts(objective: Objective, frozen: Sequence[str]) -> set[str]:
    """Return the trained parts: those that an active term reaches and that are not frozen.

    The semantic decoder also carries the depth head, so depth terms train it too.

    Args:
        objective: determines the active terms.
        frozen: parts to keep unchanged.

    Raises:
        ConfigError: nothing is left to train.
    """
    reached = {"encoder"}.union(*(term.trains for term in objective.active))
    left = reached - set(frozen)
    if not left:
        raise ConfigError(f"nothing to train: the active losses reach {sorted(reached)}, and all are frozen")
    return left


def freeze_untrained(
    network: MonoDVPS, pose_network: PoseNetwork, objective: Objective, frozen: Sequence[str]
) -> set[str]:
    """Disable gradients of all modules that the run does not train.

    Args:
        network: the network.
        pose_network: the pose network.
        objective: determines the active terms.
        frozen: parts to keep unchanged.

    Returns:
        Names of the parts that are trained.

    Raises:
        ConfigError: nothing is left to train.
    """
    trained = trained_parts(objective, frozen)
    for name, modules in named_parts(network, pose_network).items():
        for module in modules:
            module.requires_grad_(name in trained)
    if "semantic" in trained and "semantic" not in objective.active_terms:
        network.semantic_head.requires_grad_(False)
    return trained
