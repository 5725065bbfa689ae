# SPDX-License-Identifier: Apache-2.0
"""Graphs on disk: export a network to one, and run one as the pipeline's model."""

import copy
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monodvps_ros.engines.aoti_file import AotiRunner, write_aoti
from monodvps_ros.engines.graph import (
    PROBE,
    GraphRunner,
    InferenceGraph,
    check_probe,
    compare,
    input_shapes,
    output_names,
    probe_run,
    remember_probe,
    thread_count,
)
from monodvps_ros.engines.onnx_file import OnnxRunner, write_onnx
from monodvps_ros.engines.openvino_file import OpenVinoRunner
from monodvps_ros.errors import ShapeError, WeightsError
from monodvps_ros.files import written_whole
from monodvps_ros.network.header import describe, make_header
from monodvps_ros.network.inference import prepare_for_inference
from monodvps_ros.network.monodvps import ConfiguredModel, MonoDVPS
from monodvps_ros.network.weights import AOTI, ONNX, OPENVINO
from monodvps_ros.types import NetworkOutput

#: Engine of a graph's file, by its ending, where none is named.
DEFAULT_ENGINES = {ONNX: "onnxruntime", OPENVINO: "openvino", AOTI: "torch"}


def export_graph(path: Path, network: MonoDVPS, card: Mapping[str, Any]) -> None:
    """Write a network as a graph for images of its input size, and check that the file computes the same.

    The file ends in .onnx, or in .pt2 for a package compiled for this machine, and appears only after it has been
    loaded again and its outputs for two made-up images, the second with the memory of the first, lie within
    `graph.EXPORT_TOLERANCE` of the network's. The network is not changed; `card` is as for `save_weights`.

    Raises:
        MissingDependencyError: what writes or runs the file is not installed.
        WeightsError: the ending is another one, the file cannot be written, or it computes something else.
    """
    if path.suffix not in (ONNX, AOTI):
        raise WeightsError(f"{path}: a graph's file ends in {ONNX} or {AOTI}; change --out")
    device = next(network.parameters()).device
    header = make_header(network, card)
    prepared = copy.deepcopy(network)
    if not prepared.is_prepared:
        prepare_for_inference(prepared)
    graph = InferenceGraph(prepared.to(memory_format=torch.contiguous_format)).eval()
    with torch.no_grad():
        expected = probe_run(lambda inputs: graph(*(tensor.to(device) for tensor in inputs)), network.config)
    with written_whole(path, WeightsError, suffix=path.suffix) as partial:
        write = write_onnx if path.suffix == ONNX else write_aoti
        write(partial, graph, {**header, PROBE: remember_probe(expected)})
        compare(probe_run(_checking_runner(partial, device), network.config), expected, str(path))


class GraphModel(ConfiguredModel):
    """An exported graph as the pipeline's model; keeps `monodvps_ros.types.PerceptionModel`.

    The file is checked against the outputs stored in its header when it is loaded.

    Args:
        path: a file of `GRAPH_SUFFIXES`.
        device: to run it on.
        engine: that runs it; empty for the one of `DEFAULT_ENGINES`.
        precision: to compute with.
        threads: of the engine on a CPU; 0: as `thread_count` says.

    Raises:
        DeviceError: what runs the file cannot use the device.
        MissingDependencyError: what runs the file is not installed.
        WeightsError: it is damaged, not of this package, or computes something else here.
    """

    def __init__(
        self, path: Path, device: torch.device, engine: str = "", precision: str = "float32", threads: int = 0
    ) -> None:
        self.engine = engine or DEFAULT_ENGINES[path.suffix]
        self._run = _runner(path, device, self.engine, precision, thread_count(threads))
        self.config, self.header = self._run.config, self._run.header
        self._device = device
        self._shapes = input_shapes(self.config)
        self.description = f"{describe(path, self.header)}; {self.engine} {precision}"
        remembered = self.header.get(PROBE)
        if not isinstance(remembered, dict):
            raise WeightsError(f"{path}: its header has no stored outputs to check it against; export it again")
        check_probe(probe_run(self._run, self.config), remembered, str(path), precision)

    def infer(self, image: Tensor, memory: tuple[Tensor, ...] = ()) -> NetworkOutput:
        """Look at one image; see `PerceptionModel`.

        Raises:
            ShapeError: the image is not of `input_size`.
        """
        if tuple(image.shape) != self._shapes["image"]:
            raise ShapeError(f"image is {tuple(image.shape)} but the exported graph takes {self._shapes['image']}")
        names, count = output_names(self.config), len(self._shapes) - 1
        # The graph always looks for flow; where there is no frame before, what it finds is left out.
        blank = [torch.zeros(shape, device=self._device) for shape in list(self._shapes.values())[1:]]
        outputs = list(self._run([image, *(memory or blank)]))
        found = dict(zip(names, outputs, strict=True))
        return NetworkOutput(
            class_logits=found["class_logits"],
            center_heatmap=found["center_heatmap"],
            offsets_px=found["offsets_px"],
            disparities=(found["disparity"],),
            flow_px=(found["flow_px"],) if memory else (),
            memory=tuple(outputs[len(outputs) - count :]),
        )


def _runner(path: Path, device: torch.device, engine: str, precision: str, threads: int) -> GraphRunner:
    if path.suffix == AOTI:
        return AotiRunner(path, device)
    if engine == "onnxruntime":
        return OnnxRunner(path, device, threads)
    return OpenVinoRunner(path, device, precision, threads)


def _checking_runner(path: Path, device: torch.device) -> GraphRunner:
    """Load a file that was just written with an engine that is installed."""
    has_onnxruntime = importlib.util.find_spec("onnxruntime") is not None
    engine = "onnxruntime" if has_onnxruntime or device.type != "cpu" else "openvino"
    return _runner(path, device, engine, "float32", thread_count(0))
