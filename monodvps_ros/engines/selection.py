# SPDX-License-Identifier: Apache-2.0
"""Which engine runs the network: the one that is named, or the fastest that passes its check on this machine."""

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from monodvps_ros.config import PipelineConfig
from monodvps_ros.engines.cache import cache_folder
from monodvps_ros.engines.graph import thread_count
from monodvps_ros.engines.model import DEFAULT_ENGINES, GraphModel, export_graph
from monodvps_ros.engines.openvino_file import has_bfloat16, write_int8
from monodvps_ros.errors import ConfigError, DataError, MonoDVPSError, WeightsError, shortened, shown
from monodvps_ros.files import clear_partials, is_file, owned, put_in_place, read_json, write_text, written_whole
from monodvps_ros.network import description, load_network, read_card
from monodvps_ros.network.weights import AOTI, ONNX, OPENVINO
from monodvps_ros.types import PerceptionModel

log = logging.getLogger(__name__)
ModelT = TypeVar("ModelT", bound=PerceptionModel)

#: Names the engine that 'auto' takes, instead of the fastest.
ENGINE_VARIABLE = "MONODVPS_ENGINE"
#: Precisions of each engine by kind of device, the one of 'auto' first.
_PRECISIONS = {
    "cpu": {
        "torch": ("float32", "bfloat16"),
        "openvino": ("float32", "bfloat16", "int8"),
        "onnxruntime": ("float32",),
    },
    "cuda": {"torch": ("float16", "float32", "bfloat16"), "onnxruntime": ("float32",)},
}
_GRAPH_FILE, _INT8_FILE = f"network{ONNX}", f"int8{OPENVINO}"
_TIMED_RUNS = 7


class Choice(NamedTuple):
    """An engine and the precision that it computes with."""

    engine: str
    precision: str


def load_engine(config: PipelineConfig, device: torch.device) -> PerceptionModel:
    """Load weights into the engine of a configuration.

    A converted graph is cached, as is which engine 'auto' found to be the fastest; see `cache_folder`.

    Args:
        config: `weights` as for `load_network`; `engine` and `precision`.
        device: to run on.

    Raises:
        ConfigError: no engine here computes in that precision on that device.
        DataError: the cache cannot be written.
        MissingDependencyError: the engine is not installed.
        WeightsError: as `load_network` says, the engine computes something else, or no int8 graph was made.
    """
    weights, threads = config.weights, thread_count(config.threads)
    found = candidates(config.engine, config.precision, device)
    if len(found) > 1 and weights == "random":  # for tests, which need no speed
        found = [choice for choice in found if choice.engine == "torch"] or found
    if len(found) == 1:
        return _load(weights, device, found[0], threads)
    record = cache_folder(weights) / f"fastest-{_machine_digest(found, device, threads)}.json"
    try:
        if record.is_file():
            return _load(weights, device, _noted(record, found), threads)
    except MonoDVPSError as error:
        log.warning("which engine is the fastest is measured again: %s", error)
    choice, model = _fastest(found, lambda choice: _load(weights, device, choice, threads))
    _note(record, choice)
    return model


def open_graph(path: Path, config: PipelineConfig, device: torch.device) -> GraphModel:
    """Load a graph's file into the engine of a configuration.

    Raises:
        ConfigError: the engine does not run such files, or the file is a program and `allow_programs` is false.
        DeviceError: the engine cannot use the device.
        MissingDependencyError: the engine is not installed.
        WeightsError: as `GraphModel` says.
    """
    if not is_file(path):
        raise WeightsError(f"{shortened(str(path))}: no such file; give one written by 'monodvps export'")
    if path.suffix == AOTI:
        if not config.allow_programs:
            raise ConfigError(
                f"{path}: a .pt2 file is a program, which runs with your rights; set allow_programs to true if you "
                "trust whoever made it, or use a .safetensors or .onnx file"
            )
        log.warning("%s: runs as a program with the rights of this process, since allow_programs is true", path)
    runners = {ONNX: ("onnxruntime", "openvino"), OPENVINO: ("openvino",), AOTI: ("torch",)}[path.suffix]
    if config.engine not in ("auto", *runners):
        raise ConfigError(f"engine {config.engine} does not run {path.suffix} files; use {' or '.join(runners)}")
    if path.suffix != ONNX:
        precision = "int8" if path.suffix == OPENVINO else "float32"
        return GraphModel(path, device, DEFAULT_ENGINES[path.suffix], precision, config.threads)
    found = [choice for choice in candidates(config.engine, config.precision, device) if choice.engine in runners]
    if not found:
        return GraphModel(path, device)
    return _fastest(found, lambda choice: GraphModel(path, device, *choice, config.threads))[1]


def make_int8(weights: str | Path, inputs: Sequence[Sequence[Tensor]], out: Path | None = None) -> Path:
    """Quantise weights to int8 for OpenVINO.

    Args:
        weights: as for `load_network`.
        inputs: of the network, for each frame of the calibration.
        out: file to write, ending in .xml; None: the cache, where engine openvino with precision int8 finds it.

    Returns:
        The file.

    Raises:
        DataError: the file cannot be written, or another process writes it.
        MissingDependencyError: OpenVINO or NNCF is not installed.
        WeightsError: as `load_network` says.
    """
    target = out or _made_folder(cache_folder(weights)) / _INT8_FILE
    with owned(target, is_file=True):
        clear_partials(target)
        graph = _graph(weights)
        with written_whole(target, suffix=OPENVINO) as partial:
            constants = partial.with_suffix(".bin")
            try:
                write_int8(graph, partial, inputs)
                if target.is_file():
                    target.unlink()  # else one that is killed here leaves it with the constants of the new one
                put_in_place(constants, target.with_suffix(".bin"))
            finally:
                constants.unlink(missing_ok=True)
    return target


def candidates(engine: str, precision: str, device: torch.device) -> list[Choice]:
    """List what a configuration allows on a device; 'auto' with one precision for each engine that is installed.

    Raises:
        ConfigError: nothing.
    """
    known = _PRECISIONS[device.type]
    named = os.environ.get(ENGINE_VARIABLE, "auto") if engine == "auto" else engine
    if named != "auto":
        engines = [named]
    elif device.type == "cuda":
        engines = ["torch"]  # the others are untried there
    else:
        engines = [name for name in known if name == "torch" or importlib.util.find_spec(name) is not None]
    if precision == "auto":
        found = [Choice(name, known[name][0]) for name in engines if name in known]
        if device.type == "cpu" and "openvino" in engines and has_bfloat16():
            found.append(Choice("openvino", "bfloat16"))
    else:
        found = [Choice(name, precision) for name in engines if precision in known.get(name, ())]
    if not found:
        possible = "; ".join(f"{name}: {', '.join(precisions)}" for name, precisions in known.items())
        raise ConfigError(
            f"engine {engine} with precision {precision} is not possible on {device.type}; there: {possible}"
        )
    return found


def _load(weights: str, device: torch.device, choice: Choice, threads: int) -> PerceptionModel:
    if choice.engine == "torch":
        network = load_network(weights, device)
        network.description += f"; torch {choice.precision}"
        return network
    if choice.precision == "int8":
        path = cache_folder(weights) / _INT8_FILE
        if not path.is_file():
            raise WeightsError(
                f"weights '{shortened(weights)}' have no int8 graph yet; make it with: monodvps export --engine "
                "openvino --precision int8 --calibrate FRAMES"
            )
    else:
        path = _graph(weights)
    try:
        model = GraphModel(path, device, *choice, threads)
    except WeightsError:
        if choice.precision == "int8":
            raise
        path.unlink(missing_ok=True)  # damaged, or made by another version of a library
        model = GraphModel(_graph(weights), device, *choice, threads)
    if weights != "random":
        model.description = f"{description(weights, model.header)}; {choice.engine} {choice.precision}"
    return model


def _graph(weights: str | Path) -> Path:
    """Return the cached ONNX file of weights; converts them where there is none."""
    path = cache_folder(weights) / _GRAPH_FILE
    if path.is_file():
        return path
    _made_folder(path.parent)
    with owned(path, is_file=True, wait=True):
        if not path.is_file():  # nor made by another process meanwhile
            log.warning("converting %s to a graph, once; later starts find it in the cache", weights or "the weights")
            clear_partials(path)
            card = {} if str(weights) == "random" else read_card(weights)["card"]
            export_graph(path, load_network(weights, for_inference=False), card)
    return path


def _made_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: the cache cannot be made: {error.strerror}; set MONODVPS_CACHE") from error
    return folder


def _fastest(found: Sequence[Choice], load: Callable[[Choice], ModelT]) -> tuple[Choice, ModelT]:
    """Load all, leave out what fails its check, time the others in turn by their best run, and return the fastest."""
    if len(found) == 1:
        return found[0], load(found[0])
    loaded = {choice: model for choice in found if (model := _tried(choice, load)) is not None}
    if not loaded:
        return found[0], load(found[0])  # which says why
    image = torch.zeros(1, 3, *next(iter(loaded.values())).input_size)
    memories = {choice: model.infer(image).memory for choice, model in loaded.items()}
    best_s = dict.fromkeys(loaded, float("inf"))
    for _ in range(_TIMED_RUNS):
        for choice, model in loaded.items():
            best_s[choice] = min(best_s[choice], _time_s(model, image, memories[choice]))
    winner = min(best_s, key=best_s.__getitem__)
    return winner, loaded[winner]


def _tried(choice: Choice, load: Callable[[Choice], ModelT]) -> ModelT | None:
    try:
        return load(choice)
    except MonoDVPSError as error:
        log.warning("engine %s %s is left out: %s", *choice, error)
        return None


def _time_s(model: PerceptionModel, image: Tensor, memory: tuple[Tensor, ...]) -> float:
    begun = time.perf_counter()
    model.infer(image, memory)
    return time.perf_counter() - begun


def _noted(record: Path, found: Sequence[Choice]) -> Choice:
    """Read which engine was the fastest.

    Raises:
        DataError: the file is damaged, or names none of those found.
    """
    noted = read_json(record)
    choice = next((choice for choice in found if choice._asdict() == noted), None)
    if choice is None:
        raise DataError(f"{record}: contains {shown(noted)}, none of the engines found")
    return choice


def _note(record: Path, choice: Choice) -> None:
    try:
        write_text(record, json.dumps(choice._asdict()))
    except DataError as error:
        log.warning("which engine is the fastest is measured again at each start: %s", error)


def _machine_digest(found: Sequence[Choice], device: torch.device, threads: int) -> str:
    """Digest what decides which engine is the fastest: engines with their versions, processor, threads."""
    versions = [importlib.metadata.version(choice.engine) for choice in found]
    parts = [*found, *versions, device.type, threads, torch.backends.cpu.get_cpu_capability(), _cpu()]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.startswith("model name")), "")
