# SPDX-License-Identifier: Apache-2.0
"""The network as a graph of fixed sizes, flat tensors in and out, and what is asked of whatever runs it."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from monodvps_ros.config import NetworkConfig
from monodvps_ros.errors import WeightsError, counted
from monodvps_ros.network.flow import FLOW_FEATURES, FLOW_STRIDES
from monodvps_ros.network.header import network_config, parse_header
from monodvps_ros.network.monodvps import MonoDVPS

log = logging.getLogger(__name__)

#: Runs a graph: tensors in the order of `input_shapes` to tensors in the order of `output_names`.
Runner = Callable[[Sequence[Tensor]], Sequence[Tensor]]
#: Outputs may differ from the network's by so much of their greatest magnitude right after the export ...
EXPORT_TOLERANCE = 1e-3
#: ... and by so much, by precision, where they are run, which may be another device that rounds in its own way. An
#: int8 file remembers what it gave when it was made, not what the network gives.
RUN_TOLERANCE = {"float32": 1e-2, "float16": 1e-2, "bfloat16": 5e-2, "int8": 5e-2}
#: Key of a header for what `remember_probe` takes.
PROBE = "probe"
#: Threads that torch takes by itself, before this package changes that.
_TORCH_THREADS = torch.get_num_threads()
_MAPS = ("class_logits", "center_heatmap", "offsets_px", "disparity")
_PROBED = 32  # values of each output that a header remembers beside the means of its channels


class InferenceGraph(nn.Module):
    """What a live pipeline computes, without the containers that a graph cannot hold."""

    def __init__(self, network: MonoDVPS) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """Predict the tensors of `output_names`.

        Args:
            image: (1, 3, H, W) in 0..1.
            memory: of the previous frame; none for a network without flow.
        """
        output = self.network.decode(self.network.encode(image), memory, finest_only=True)
        assert output.center_heatmap is not None and output.offsets_px is not None
        return (
            output.class_logits,
            output.center_heatmap,
            output.offsets_px,
            *output.disparities,
            *output.flow_px,
            *output.memory,
        )


class GraphRunner:
    """A graph loaded from a file, as a `Runner` on one device.

    Attributes:
        header: of the file.
        config: shape of the network.

    Args:
        path: the file.
        device: to run on.
        metadata: of the file, with the header.
        kind: of the file, for error messages.
    """

    def __init__(self, path: Path, device: torch.device, metadata: Mapping[str, str], kind: str) -> None:
        self.header = parse_header(path, metadata, kind)
        self.config = network_config(path, self.header)
        self._path, self._device = path, device

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run the graph."""
        return self._run([tensor.to(self._device, torch.float32).contiguous() for tensor in inputs])

    def _run(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        raise NotImplementedError

    def _check_signature(self, inputs: Mapping[str, tuple[int, ...]], outputs: Sequence[str]) -> None:
        """Compare the inputs and outputs of the graph with those that its header describes.

        Raises:
            WeightsError: one differs.
        """
        found = {"takes": inputs, "gives": list(outputs)}
        described = {"takes": input_shapes(self.config), "gives": list(output_names(self.config))}
        for what, value in found.items():
            if value != described[what]:
                raise WeightsError(
                    f"{self._path}: {what} {value} but by its header {described[what]}; it was changed after its "
                    "export; export it again"
                )


def thread_count(wanted: int) -> int:
    """Return how many CPU threads to compute with.

    Args:
        wanted: at most one for each core that this process may use is taken; 0: as many as torch takes by itself.
    """
    return _at_most_cores(wanted, len(os.sched_getaffinity(0))) if wanted else _TORCH_THREADS


@cache  # so that it is logged once
def _at_most_cores(wanted: int, cores: int) -> int:
    if wanted > cores:
        log.warning(
            "%d threads are wanted, but this process may use %s: %d are taken",
            wanted, counted(cores, "core"), cores,
        )  # fmt: skip
    return min(wanted, cores)


def input_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Name a graph's inputs in order, with their shapes: ``image``, and ``memory_<stride>`` where there is flow."""
    height, width = config.input_height, config.input_width
    strides = FLOW_STRIDES if config.flow else ()
    memory = {f"memory_{stride}": (1, FLOW_FEATURES, height // stride, width // stride) for stride in strides}
    return {"image": (1, 3, height, width), **memory}


def output_names(config: NetworkConfig) -> tuple[str, ...]:
    """Name a graph's outputs in order; ``next_memory_<stride>`` is the ``memory_<stride>`` of the next frame."""
    if not config.flow:
        return _MAPS
    return (*_MAPS, "flow_px", *(f"next_memory_{stride}" for stride in FLOW_STRIDES))


def probe_run(run: Runner, config: NetworkConfig) -> dict[str, Tensor]:
    """Run a graph on two made-up images, the second with the memory of the first.

    Returns:
        Outputs of the second run by name, on the CPU.
    """
    names, shapes = output_names(config), list(input_shapes(config).values())
    count = len(shapes) - 1
    first = run([_pattern(shapes[0]), *(torch.zeros(shape) for shape in shapes[1:])])
    memory = list(first[len(first) - count :])
    second = run([_pattern(shapes[0]).flip(-1), *memory])
    return {name: value.detach().float().cpu() for name, value in zip(names, second, strict=True)}


def remember_probe(outputs: Mapping[str, Tensor]) -> dict[str, Any]:
    """Take of each output what a header can hold: shape, greatest magnitude, means of channels, and some values."""
    return {
        name: {"shape": list(value.shape), "largest": value.abs().max().item(), "values": _digest(value).tolist()}
        for name, value in outputs.items()
    }


def compare(outputs: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Compare all values of a graph with the network's.

    Raises:
        WeightsError: an output differs by more than `EXPORT_TOLERANCE` of its greatest magnitude.
    """
    for name, value in expected.items():
        _check(where, name, (outputs[name] - value).abs().max().item(), value.abs().max().item(), EXPORT_TOLERANCE)


def check_probe(
    outputs: Mapping[str, Tensor], remembered: Mapping[str, Any], where: str, precision: str = "float32"
) -> None:
    """Compare what a graph says here with what its header remembers of the export.

    Raises:
        WeightsError: an output is missing, of another shape, or differs by more than `RUN_TOLERANCE` of its greatest
            magnitude.
    """
    for name, value in outputs.items():
        known = remembered.get(name, {})
        if known.get("shape") != list(value.shape):
            raise WeightsError(
                f"{where}: output '{name}' is {tuple(value.shape)} but its header says {known.get('shape')}; "
                "the file was changed after its export; export it again"
            )
        difference = (_digest(value) - torch.tensor(known["values"])).abs().max().item()
        _check(where, name, difference, known["largest"], RUN_TOLERANCE[precision])


def _check(where: str, name: str, difference: float, largest: float, tolerance: float) -> None:
    if not difference <= tolerance * largest:  # so that NaN does not pass
        raise WeightsError(
            f"{where}: output '{name}' is up to {difference:.2g} off the network's at values of up to {largest:.2g}; "
            f"allowed is a share of {tolerance:g}; the file is damaged, or what runs it computes something else here: "
            "export it again, or use the .safetensors file"
        )


def _pattern(shape: tuple[int, ...]) -> Tensor:
    """Make an image of stripes and blocks from integers, the same on every machine."""
    _, channels, height, width = shape
    channel, row, column = torch.meshgrid(*(torch.arange(size) for size in (channels, height, width)), indexing="ij")
    values = (37 * channel + 5 * (row // 4) * (column // 8) + 3 * row + 2 * column) % 256
    return values[None].float() / 255.0


def _digest(value: Tensor) -> Tensor:
    """Take the mean of each channel, and values at even distances."""
    flat = value.flatten()
    count = min(len(flat), _PROBED)
    return torch.cat([value.mean((0, 2, 3)), flat[torch.arange(count) * len(flat) // count]])
