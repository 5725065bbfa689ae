# SPDX-License-Identifier: Apache-2.0
"""A network that is as small as ours gets, for tests of what is done with weights."""

from dataclasses import replace

import torch

from monodvps_ros.config import NetworkConfig
from monodvps_ros.network import MonoDVPS, save_weights

TINY = NetworkConfig(
    encoder="mobilenetv3_small_050",
    input_height=64,
    input_width=96,
    aspp_channels=16,
    semantic_channels=16,
    instance_channels=16,
    flow=False,
)


def write_tiny_weights(path, said_class=None, **changes):
    """Write untrained weights, the same each time; with `said_class` they see this class everywhere."""
    torch.manual_seed(0)
    network = MonoDVPS(replace(TINY, **changes))
    if said_class is not None:
        with torch.no_grad():
            *_, bias = network.semantic_head.parameters()
            bias[said_class] = 50.0
    save_weights(path, network, {})
    return path
