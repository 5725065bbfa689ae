# SPDX-License-Identifier: Apache-2.0
"""Runs ONNX files and OpenVINO's own with OpenVINO on the CPU, and quantises the network to int8 with NNCF."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monodvps_ros.engines.graph import (
    PROBE,
    GraphRunner,
    Runner,
    input_shapes,
    probe_run,
    remember_probe,
    thread_count,
)
from monodvps_ros.engines.signal_stack import kept_signal_stack
from monodvps_ros.errors import DeviceError, WeightsError
from monodvps_ros.network.header import HEADER_KEY, header_text, network_config, parse_header
from monodvps_ros.optional import import_optional

#: OpenVINO's names of precisions; an int8 graph says itself which layers are int8, the others are float32.
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
#: Where OpenVINO keeps the metadata of an ONNX file; ours are stored at the same place.
_HEADER_PLACE = ["framework", HEADER_KEY]
#: The module by which OpenVINO and NNCF report their use to their makers.
_TELEMETRY = "openvino_telemetry"


def import_openvino(purpose: str) -> Any:
    """Import OpenVINO without its reports of use, which it would send on each import.

    Raises:
        MissingDependencyError: it is not installed.
    """
    sys.modules.setdefault(_TELEMETRY, None)  # type: ignore[arg-type]  # its import fails, which OpenVINO allows for
    return import_optional("openvino", purpose)


def load_core(purpose: str) -> Any:
    """Load OpenVINO with its CPU plugin.

    Raises:
        MissingDependencyError: it is not installed.
    """
    core = import_openvino(purpose).Core()
    with kept_signal_stack():
        core.get_property("CPU", "FULL_DEVICE_NAME")  # loads the plugin
    return core


def has_bfloat16() -> bool:
    """Whether this CPU computes in bfloat16; without it OpenVINO would emulate it."""
    return "BF16" in load_core("bfloat16").get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoRunner(GraphRunner):
    """Runs an ONNX or an OpenVINO file on the CPU.

    Raises:
        DeviceError: the device is not the CPU.
        MissingDependencyError: OpenVINO is not installed.
        WeightsError: it is no such file, not of this package, or its graph is not that of its header.
    """

    def __init__(self, path: Path, device: torch.device, precision: str, threads: int) -> None:
        if device.type != "cpu":
            raise DeviceError(f"{path}: engine openvino runs on the CPU, not on '{device}'; set pipeline.device to cpu")
        core = load_core(f"running {path.suffix} files with OpenVINO")
        try:
            model = core.read_model(str(path))
            super().__init__(path, device, _metadata(model), "a graph")
            inputs = {entry.get_any_name(): tuple(entry.get_partial_shape().get_min_shape()) for entry in model.inputs}
            self._check_signature(inputs, [entry.get_any_name() for entry in model.outputs])
            self._compiled = _compiled(core, model, precision, threads)
        except RuntimeError as error:  # OpenVINO's own
            reason = " ".join(str(error).split())[-300:]
            raise WeightsError(f"{path}: OpenVINO cannot load it: {reason}; copy or export it again") from error

    def _run(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        return self._compiled(inputs)


def write_int8(source: Path, target: Path, inputs: Sequence[Sequence[Tensor]]) -> None:
    """Quantise an ONNX file's graph to int8 with NNCF and write it as OpenVINO's pair of .xml and .bin.

    Args:
        source: an ONNX file of `export_graph`.
        target: file to write, ending in .xml; its weights go beside it.
        inputs: of the graph, for each frame of the calibration.

    Raises:
        MissingDependencyError: OpenVINO or NNCF is not installed.
    """
    openvino = import_openvino("int8 export")
    os.environ.setdefault("NNCF_CI", "1")  # no reports of use
    nncf = import_optional("nncf", "int8 export")
    nncf.set_log_level(logging.ERROR)
    core = load_core("int8 export")
    model = core.read_model(str(source))
    header = parse_header(source, _metadata(model), "ONNX")
    config = network_config(source, header)
    names = list(input_shapes(config))
    frames = [{name: tensor.numpy() for name, tensor in zip(names, entry, strict=True)} for entry in inputs]
    quantized = nncf.quantize(
        model, nncf.Dataset(frames), preset=nncf.QuantizationPreset.MIXED, subset_size=len(frames)
    )
    probe = remember_probe(probe_run(_compiled(core, quantized, "int8", thread_count(0)), config))
    quantized.set_rt_info(header_text({**header, PROBE: probe}), _HEADER_PLACE)
    openvino.save_model(quantized, str(target), compress_to_fp16=False)


def _metadata(model: Any) -> dict[str, str]:
    return {HEADER_KEY: str(model.get_rt_info(_HEADER_PLACE).value)} if model.has_rt_info(_HEADER_PLACE) else {}


def _compiled(core: Any, model: Any, precision: str, threads: int) -> Runner:
    """Compile a model for the CPU; what it gives belongs to the caller."""
    properties = {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # torch's threads, started later, would inherit the core
    }
    request = core.compile_model(model, "CPU", properties).create_infer_request()

    def run(inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        arrays = {place: tensor.numpy() for place, tensor in enumerate(inputs)}
        return [torch.from_numpy(array) for array in request.infer(arrays, share_inputs=True).values()]

    return run
