# SPDX-License-Identifier: Apache-2.0
"""What each part of the network costs: parameters and multiply-adds, counted without computing anything."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from monodvps_ros.config import NetworkConfig
from monodvps_ros.network.blank import without_values
from monodvps_ros.network.monodvps import MonoDVPS

_FLOW_MODULES = ("flow_decoder", *(f"flow_decoder.project.{level}" for level in range(3)))


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
    """Count parameters and multiply-adds of convolutions and matrix products, part by part in the order of computation.

    Nothing is allocated: the network is built on torch's meta device, so that any size is counted at once.
    Normalisations, activations and resizing are not counted, as is usual.

    Raises:
        ConfigError: the encoder cannot be built so.
    """
    with without_values():
        network = MonoDVPS(config).eval()
        image = torch.zeros(1, 3, config.input_height, config.input_width)
    training, live = _count(network, image, finest_only=False), _count(network, image, finest_only=True)
    sizes = {name: sum(parameter.numel() for parameter in part.parameters()) for name, part in _parts(network)}
    return [PartCost(name, size, training.get(name, 0), live.get(name, 0)) for name, size in sizes.items()]


def _parts(network: MonoDVPS) -> list[tuple[str, nn.Module]]:
    names = ["encoder"]
    for decoder in ("semantic_decoder", "instance_decoder"):
        names += [f"{decoder}.{stage}" for stage, _ in network.get_submodule(decoder).named_children()]
    names += ["semantic_head", "center_head", "offset_head", "depth_head"]
    if network.flow_decoder is not None:
        names.append("flow_decoder")
    return [(name, network.get_submodule(name)) for name in names]


class _Frame(nn.Module):
    """All that is done for one frame, as one call: modules are named by the way they are reached from it."""

    def __init__(self, network: MonoDVPS, finest_only: bool) -> None:
        super().__init__()
        self.network = network
        self.finest_only = finest_only

    def forward(self, image: Tensor) -> None:
        memory = self.network.decode(self.network.encode(image), finest_only=self.finest_only).memory
        if memory:
            self.network.find_flow(memory, memory)


def _count(network: MonoDVPS, image: Tensor, finest_only: bool) -> dict[str, int]:
    """Count by the module's dotted name; what its submodules cost is counted in it too."""
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415 - imports triton, 75 MB

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        _Frame(network, finest_only)(image)
    found: dict[str, int] = {}
    for name, operations in counter.get_flop_counts().items():
        found[name.removeprefix("_Frame.network.")] = sum(operations.values()) // 2
    # Remembering a frame is not a call of the flow decoder's `forward`, which is what the counter sees.
    found["flow_decoder"] = sum(count for name, count in found.items() if name in _FLOW_MODULES)
    return found
