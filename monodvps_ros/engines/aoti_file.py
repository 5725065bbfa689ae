# SPDX-License-Identifier: Apache-2.0
"""The network compiled ahead of time by torch (AOTInductor): a package of machine code for one kind of machine.

Such a package is a program: loading it runs what it holds, so load only those that you or people you trust have made.
"""

import json
import platform
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monodvps_ros.engines.graph import GraphRunner, InferenceGraph, input_shapes
from monodvps_ros.errors import MissingDependencyError, WeightsError
from monodvps_ros.network.header import HEADER_KEY, header_text

_MADE_FOR = "made_for"
_METADATA_ENDING = "_metadata.json"


def write_aoti(path: Path, graph: InferenceGraph, header: Mapping[str, Any]) -> None:
    """Compile a graph for the device that it lies on and write it to a .pt2 file, with its header and what it is for.

    Raises:
        MissingDependencyError: this torch has no AOTInductor, or there is no C++ compiler.
        WeightsError: torch cannot compile the graph, or the file cannot be written.
    """
    compile_package = getattr(torch._inductor, "aoti_compile_and_package", None)
    if compile_package is None:
        raise MissingDependencyError(f"ahead-of-time compilation needs torch 2.6 or newer; this is {torch.__version__}")
    device = next(graph.parameters()).device
    inputs = tuple(torch.zeros(shape, device=device) for shape in input_shapes(graph.network.config).values())
    text = header_text({**header, _MADE_FOR: _machine(device)})
    try:
        with torch.no_grad():
            program = torch.export.export(graph, inputs, strict=False)
            compile_package(
                program, package_path=str(path), inductor_configs={"aot_inductor.metadata": {HEADER_KEY: text}}
            )
    except OSError as error:
        raise WeightsError(f"{path}: cannot be written: {error}") from error
    except Exception as error:  # the compiler's exceptions are of many kinds
        reason = " ".join(str(error).split())[:300]
        if "C++ compiler" in reason or "Compiler: " in reason:
            raise MissingDependencyError(
                f"ahead-of-time compilation needs a C++ compiler: {reason}; install g++ or set CXX"
            ) from error
        raise WeightsError(f"{path}: torch {torch.__version__} cannot compile the network: {reason}") from error


class AotiRunner(GraphRunner):
    """Runs a compiled package.

    The header is read and compared with this machine before anything in the file is executed.

    Raises:
        WeightsError: it is no such package, not of this package, made for another machine, or cannot be loaded.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        super().__init__(path, device, _read_metadata(path), "a torch package")
        made_for, here = self.header.get(_MADE_FOR), _machine(device)
        if made_for != here:
            raise WeightsError(
                f"{path}: compiled for {made_for} but this is {here}; export it on this machine, or use the "
                ".safetensors file"
            )
        try:
            self._package = torch._inductor.aoti_load_package(str(path))
        except Exception as error:  # torch raises RuntimeErrors and others for what the loader finds
            reason = " ".join(str(error).split())[:300]
            raise WeightsError(f"{path}: torch cannot load it: {reason}; export it again") from error

    def _run(self, inputs: list[Tensor]) -> Sequence[Tensor]:
        outputs: Sequence[Tensor] = self._package(*inputs)
        return outputs


def _machine(device: torch.device) -> dict[str, str]:
    """Say what compiled code depends on."""
    if device.type == "cuda":
        capability = torch.cuda.get_device_name(device)
    else:
        capability = torch.backends.cpu.get_cpu_capability()
    return {"torch": torch.__version__, "machine": platform.machine(), "device": device.type, "capability": capability}


def _read_metadata(path: Path) -> dict[str, str]:
    """Read what was stored beside the code, without loading the code."""
    try:
        with zipfile.ZipFile(path) as package:
            found = [name for name in package.namelist() if name.endswith(_METADATA_ENDING)]
            metadata: dict[str, str] = json.loads(package.read(found[0])) if found else {}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path}: not a complete package: {error}; copy or export it again") from error
    return metadata
