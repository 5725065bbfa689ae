# SPDX-License-Identifier: Apache-2.0
"""What the network sees of a recording: to calibrate an int8 graph with, and to compare an engine with torch."""

from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor

from monodvps_ros.config import PipelineConfig, ScaleConfig
from monodvps_ros.engines.graph import input_shapes
from monodvps_ros.errors import DataError
from monodvps_ros.geometry import disparity_to_inverse_depth
from monodvps_ros.labels import LabelSpace
from monodvps_ros.network import MonoDVPS
from monodvps_ros.outputs import Output
from monodvps_ros.perception.pipeline import Pipeline
from monodvps_ros.types import NetworkOutput, PerceptionModel, Sample, SampleSource


class _Recording:
    """A network that notes what it is given; keeps `monodvps_ros.types.PerceptionModel`."""

    def __init__(self, network: MonoDVPS) -> None:
        self._network = network
        self.inputs: list[list[Tensor]] = []
        self.label_space: LabelSpace = network.label_space
        self.input_size, self.depth_range_m = network.input_size, network.depth_range_m
        self.is_metric, self.canonical_focal_px = network.is_metric, network.canonical_focal_px
        self.has_flow, self.description = network.has_flow, network.description

    def infer(self, image: Tensor, memory: tuple[Tensor, ...] = ()) -> NetworkOutput:
        blank = [torch.zeros(shape) for shape in list(input_shapes(self._network.config).values())[1:]]
        self.inputs.append([image, *(memory or blank)])
        return self._network.infer(image, memory)


def calibration_inputs(source: SampleSource, network: MonoDVPS, count: int) -> list[list[Tensor]]:
    """Run the pipeline over a recording and note the network's inputs: image, then memory where there is flow.

    Args:
        source: the recording.
        network: on the CPU.
        count: frames wanted, at most; they are spread evenly over the recording.

    Raises:
        DataError: the recording contains no frames.
    """
    recorder = _Recording(network)
    pipeline = Pipeline(recorder, PipelineConfig(device="cpu", scale=ScaleConfig(mode="none")))
    sequence = None
    for sample in _spread(source, count):
        if sample.sequence != sequence:
            sequence = sample.sequence
            pipeline.reset()
        pipeline.step(sample.frame, frozenset({Output.PANOPTIC}))  # tracking keeps the memory of the frame before
    if not recorder.inputs:
        raise DataError("the recording to calibrate with contains no frames; give one with images of the camera")
    return recorder.inputs


def agreement(model: PerceptionModel, network: MonoDVPS, inputs: Sequence[Sequence[Tensor]]) -> tuple[float, float]:
    """Compare what an engine and torch say of the same inputs.

    Returns:
        Share of the pixels that get the same class, and the median relative difference of inverse depth.
    """
    same, differences = [], []
    for image, *memory in inputs:
        found, expected = (each.infer(image, tuple(memory)) for each in (model, network))
        same.append((found.class_logits.argmax(1) == expected.class_logits.argmax(1)).float().mean())
        near, right = (
            disparity_to_inverse_depth(each.disparities[0], *network.depth_range_m) for each in (found, expected)
        )
        differences.append(((near - right).abs() / right).median())
    return torch.stack(same).mean().item(), torch.stack(differences).median().item()


def _spread(source: SampleSource, count: int) -> Iterable[Sample]:
    every = max(1, len(source) // count)
    return islice(source, 0, every * count, every)
