# SPDX-License-Identifier: Apache-2.0
"""The network as an ONNX file: written by torch, run by onnxruntime."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from monodvps_ros.engines.graph import GraphRunner, InferenceGraph, input_shapes, output_names
from monodvps_ros.errors import DeviceError, WeightsError
from monodvps_ros.network.header import HEADER_KEY, header_text
from monodvps_ros.optional import import_optional, missing_dependency

#: Version of ONNX's operators; the first that has all that the network needs in torch's exporter.
OPSET = 18


def write_onnx(path: Path, graph: InferenceGraph, header: Mapping[str, Any]) -> None:
    """Write a graph in evaluation mode with its header, which says what the file is wherever it is taken.

    Raises:
        MissingDependencyError: onnxscript is not installed, which torch exports with.
        WeightsError: the file cannot be written.
    """
    config = graph.network.config
    shapes = input_shapes(config)
    inputs = tuple(torch.zeros(shape) for shape in shapes.values())
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own deprecated parts
            program = torch.onnx.export(
                graph,
                inputs,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=list(shapes),
                output_names=list(output_names(config)),
            )
    except ImportError as error:
        raise missing_dependency(error, "export to ONNX") from error
    assert program is not None
    program.model.metadata_props[HEADER_KEY] = header_text(header)
    try:
        program.save(str(path))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error}") from error


class OnnxRunner(GraphRunner):
    """Runs an ONNX file on tensors where they lie, without copies over the host.

    Raises:
        DeviceError: onnxruntime cannot use the device.
        MissingDependencyError: onnxruntime is not installed.
        WeightsError: it is no ONNX file, not of this package, or its graph is not that of its header.
    """

    def __init__(self, path: Path, device: torch.device, threads: int) -> None:
        runtime = import_optional("onnxruntime", "running .onnx files")
        provider = "CUDAExecutionProvider" if device.type == "cuda" else "CPUExecutionProvider"
        if provider not in runtime.get_available_providers():
            raise DeviceError(
                f"{path}: onnxruntime as installed here cannot use '{device}'; install onnxruntime-gpu, or set "
                "pipeline.device to cpu"
            )
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others work here too
        options.log_severity_level = 3  # errors alone
        place = {"device_id": device.index or 0} if device.type == "cuda" else {}
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=[(provider, place)])
        except Exception as error:  # onnxruntime's exceptions have no base of their own
            reason = " ".join(str(error).split())
            raise WeightsError(f"{path}: onnxruntime cannot load it: {reason}; copy or export it again") from error
        super().__init__(path, device, self._session.get_modelmeta().custom_metadata_map, "ONNX")
        inputs = {entry.name: tuple(entry.shape) for entry in self._session.get_inputs()}
        self._outputs = {entry.name: tuple(entry.shape) for entry in self._session.get_outputs()}
        self._check_signature(inputs, list(self._outputs))

    def _run(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        made = [torch.empty(shape, device=self._device) for shape in self._outputs.values()]
        binding = self._session.io_binding()
        for name, tensor in zip(input_shapes(self.config), inputs, strict=True):
            binding.bind_input(name, *self._place(tensor))
        for name, tensor in zip(self._outputs, made, strict=True):
            binding.bind_output(name, *self._place(tensor))
        if self._device.type == "cuda":  # onnxruntime has a stream of its own
            torch.cuda.current_stream(self._device).synchronize()
        self._session.run_with_iobinding(binding)
        return made

    def _place(self, tensor: Tensor) -> tuple[str, int, Any, list[int], int]:
        return self._device.type, self._device.index or 0, np.float32, list(tensor.shape), tensor.data_ptr()
