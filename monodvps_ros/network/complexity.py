# SPDX-License-Identifier: Apache-2.0
"""What each part of the network costs: parameters and multiply-adds, counted without computing anything."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from monodvps_ros.config import NetworkConfig
from monodvps_ros.network.monodvps import MonoDVPS


@dataclass(frozen=True)
class PartCost:
    """Cost of one part.

    Attributes:
        name: attribute of `MonoDVPS`, dotted where it lies deeper.
        parameters: numbers that are learnt.
        training_multiply_adds: for one image of the input size with everything that training needs.
        live_multiply_adds: for one image of the input size as a live pipeline asks for it, with flow.
    """

    name: str
    parameters: int
    training_multiply_adds: int
    live_multiply_adds: int


def measure_complexity(config: NetworkConfig) -> list[PartCost]:
    """Count parameters and multiply-adds of convolutions and matrix products, part by part.

    Nothing is allocated: the network is built on torch's meta device, so that any size is counted at once.
    Normalisations, activations and resizing are not counted, as is usual.

    Args:
        config: the network.

    Returns:
        One entry per part in the order of computation.

    Raises:
        ConfigError: the encoder cannot be built so.
    """
    with torch.device("meta"):
        network = MonoDVPS(config).eval()
        image = torch.zeros(1, 3, config.input_height, config.input_width)
    training, live = _count(network, image, finest_only=False), _count(network, image, finest_only=True)
    return [
        PartCost(name, _parameters(part), training.get(name, 0), live.get(name, 0)) for name, part in _parts(network)
    ]


def _parts(network: MonoDVPS) -> list[tuple[str, nn.Module]]:
    names = ["encoder"]
    for decoder in ("semantic_decoder", "instance_decoder"):
        names += [f"{decoder}.{stage}" for stage in ("aspp", "stage8", "stage4")]
    names += ["semantic_head", "center_head", "offset_head", "depth_head"]
    if network.flow_decoder is not None:
        names.append("flow_decoder")
    return [(name, network.get_submodule(name)) for name in names]


def _parameters(part: nn.Module) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _count(network: MonoDVPS, image: torch.Tensor, finest_only: bool) -> dict[str, int]:
    with torch.no_grad(), FlopCounterMode(network, display=False, depth=None) as counter:
        features = network.encode(image)
        output = network.decode(features, finest_only=finest_only)
        remembering = _total(counter, "FlowDecoder")
        if output.memory:
            network.find_flow(output.memory, output.memory)
    found = {}
    for name, operations in counter.get_flop_counts().items():
        found[name.partition(".")[2]] = sum(operations.values()) // 2
    if network.flow_decoder is not None:
        found["flow_decoder"] = (counter.get_total_flops() - remembering) // 2
    return found


def _total(counter: FlopCounterMode, _: str) -> int:
    return counter.get_total_flops()
