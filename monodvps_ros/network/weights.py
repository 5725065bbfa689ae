# SPDX-License-Identifier: Apache-2.0
"""Weights files: safetensors whose header says what the network is and where it comes from. Nothing is unpickled."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from monodvps_ros.config import NetworkConfig, to_dict
from monodvps_ros.errors import ConfigError, DeviceError, WeightsError, shortened, shown
from monodvps_ros.files import is_file, written_whole
from monodvps_ros.network.blank import without_values
from monodvps_ros.network.header import (
    HEADER_KEY,
    POSE_KEY,
    describe,
    header_text,
    make_header,
    make_pose_network,
    network_config,
    normalization,
    parse_header,
    some,
)
from monodvps_ros.network.inference import prepare_for_inference
from monodvps_ros.network.monodvps import MonoDVPS
from monodvps_ros.network.pose import PoseNetwork

#: Endings of files that hold a network as a graph to be run; see `monodvps_ros.engines`.
ONNX, OPENVINO, AOTI = GRAPH_SUFFIXES = (".onnx", ".xml", ".pt2")
#: Seed of the weights called 'random'.
RANDOM_SEED = 0
#: How the names of tensors begin that are written to the header.
_NORMALIZATION = "normalize."
#: How the names of the pose network's tensors begin.
_POSE = "pose_network."
#: Weights that ship with the package, by name; the first one that is there is the default.
SHIPPED_NAMES = ("street", "drives")
#: Names of the default among them.
DEFAULT_NAMES = ("", "shipped")


def save_weights(
    path: Path | str,
    network: MonoDVPS,
    card: Mapping[str, Any],
    half: bool = False,
    pose_network: PoseNetwork | None = None,
) -> None:
    """Write a network to a file; the file appears whole or not at all.

    Args:
        path: file to write; its folder must exist.
        network: the network; not one that went through `prepare_for_inference`.
        card: what is known of the weights, of JSON's types: by custom ``training_data``, ``metrics``, ``steps``.
        half: store float16, half the size; loaded back as float32.
        pose_network: to be stored beside it; None for none.

    Raises:
        WeightsError: the network was prepared for inference, the card is not of JSON's types, or the file cannot
            be written.
    """
    if network.is_prepared:
        raise WeightsError("a network that was prepared for inference cannot be saved; save it before")
    text = header_text(make_header(network, card, pose_network))
    path = Path(path)
    with written_whole(path, WeightsError, what="weights", durable=True) as partial:
        partial.write_bytes(save(_stored(network, pose_network, half), {"format": "pt", HEADER_KEY: text}))


def load_network(weights: str | Path, device: str | torch.device = "cpu", for_inference: bool = True) -> MonoDVPS:
    """Make the network that a weights file describes.

    Args:
        weights: a safetensors file of `save_weights`; 'random' for the default network with untrained weights from a
            fixed seed; the name of a file that ships with the package (see `SHIPPED_NAMES`), or empty for the
            default one.
        device: where to put it.
        for_inference: pass it through `prepare_for_inference`; else it can be trained and saved.

    Raises:
        WeightsError: there is no such file, it is damaged, it is not of this package, or it does not fit.
        DeviceError: the device is not available.
    """
    if str(weights) == "random":
        network = _random_network()
    else:
        path = weights_file(weights)
        header = read_card(path)
        config = network_config(path, header)
        _check_shapes(path, config, header)
        with torch.random.fork_rng(devices=[]):
            network = MonoDVPS(config)
        _fill(network, path, header)
        network.description = description(weights, header)
    try:
        network = network.to(device)
    except (RuntimeError, AssertionError) as error:
        raise DeviceError(f"device '{device}' cannot hold the network: {error}; see pipeline.device") from error
    return prepare_for_inference(network) if for_inference else network.eval()


def load_pose_network(weights: str | Path, device: str | torch.device = "cpu") -> PoseNetwork | None:
    """Make the pose network of a weights file, in evaluation mode; None where the file has none.

    Args:
        weights: as for `load_network`; exported graphs and 'random' have none.
        device: where to put it.

    Raises:
        WeightsError: as `load_network` says.
    """
    if str(weights) == "random" or Path(weights).suffix in GRAPH_SUFFIXES:
        return None
    path = weights_file(weights)
    header = read_card(path)
    if header.get(POSE_KEY) is None:
        return None
    _check_shapes(path, network_config(path, header), header)
    with torch.random.fork_rng(devices=[]):
        pose_network = make_pose_network(path, header)
    assert pose_network is not None
    _copy(_read(path), pose_network, _POSE)
    return pose_network.to(device).eval().requires_grad_(False)


def load_pose_weights(pose_network: PoseNetwork, path: Path | str) -> bool:
    """Fill a pose network from a weights file, to start training; say whether the file has one of this architecture.

    Raises:
        WeightsError: as `load_network` says.
    """
    stored = load_pose_network(path)
    if stored is None or _architecture(stored) != _architecture(pose_network):
        return False
    pose_network.load_state_dict(stored.state_dict())
    return True


def _architecture(pose_network: PoseNetwork) -> tuple[str, int, bool]:
    return pose_network.encoder_name, pose_network.shrink, pose_network.metric


def load_weights(network: MonoDVPS, path: Path | str) -> None:
    """Fill a network that stands already, to start training from a file.

    Args:
        network: of the architecture that the file was written from; the input size may differ.
        path: a safetensors file of `save_weights`, or a name of `SHIPPED_NAMES`.

    Raises:
        WeightsError: as `load_network` says, or the architectures differ; the message names the settings.
    """
    path = weights_file(path)
    header = read_card(path)
    stored, wanted = to_dict(network_config(path, header)), to_dict(network.config)
    free = ("input_height", "input_width")
    other = [
        f"{k} is {shown(stored[k])} there and {shown(wanted[k])} here"
        for k in wanted
        if stored[k] != wanted[k] and k not in free
    ]
    if other:
        raise WeightsError(
            f"{path}: another architecture: {'; '.join(other)}; take the network of the file with "
            "network_of_weights=true, change the network group of the config, or start from what fits with "
            "partial_start=true"
        )
    _check_shapes(path, network.config, header)
    _fill(network, path, header)
    network.description = describe(path, header)


def load_fitting_weights(network: MonoDVPS, path: Path | str) -> list[str]:
    """Fill what a file has for a network of another architecture, to start training from it.

    Args:
        network: of the encoder that the file was written from; decoders, heads and classes may differ.
        path: a safetensors file of `save_weights`, or a name of `SHIPPED_NAMES`.

    Returns:
        Names of the tensors that the file lacks, or has in another shape; they stay as they are.

    Raises:
        WeightsError: as `load_network` says, or the encoders, or the focal lengths of metric depth, differ.
    """
    path = weights_file(path)
    header = read_card(path)
    stored, wanted = network_config(path, header), network.config
    names = ("encoder", "canonical_focal_px") if stored.metric and wanted.metric else ("encoder",)
    for name in names:
        there, here = (shortened(str(getattr(config, name))) for config in (stored, wanted))
        if there != here:
            raise WeightsError(f"{path}: its {name} is {there}, this network's {here}; set network.{name}={there}")
    network.normalize.set(*normalization(path, header))
    return [name for name in copy_fitting(network, _read(path)) if not name.startswith(_NORMALIZATION)]


def copy_fitting(module: nn.Module, tensors: Mapping[str, Tensor]) -> list[str]:
    """Copy the tensors whose names and shapes a module has too.

    Args:
        module: changed in place.
        tensors: by name, as a state dictionary.

    Returns:
        Names of the module's tensors that stay as they are, sorted.
    """
    own = module.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
    module.load_state_dict(fitting, strict=False)
    return sorted(own.keys() - fitting.keys())


def read_card(path: Path | str) -> dict[str, Any]:
    """Read the header of a weights file.

    Returns:
        ``format``, ``network`` (a NetworkConfig as a dictionary), ``label_space`` (class names), ``input_size``
        (height, width), ``depth_range_m``, ``normalization`` (not in older files), the ``card`` that
        `save_weights` was given, and ``pose`` (``encoder``, ``shrink``, ``normalization``) with a pose network.

    Raises:
        WeightsError: there is no such file, it is damaged or not safetensors, or not of this package.
    """
    path = weights_file(path)
    if path.suffix in GRAPH_SUFFIXES:
        raise WeightsError(
            f"{path}: an exported graph, which can be run but contains no weights to load; give the .safetensors file"
        )
    if not is_file(path):
        raise WeightsError(
            f"{shortened(str(path))}: no such weights file; give a file written by 'monodvps export', or 'random'"
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a complete safetensors file: {error}; copy or export it again") from error
    return parse_header(path, metadata, "safetensors")


def _random_network() -> MonoDVPS:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        network = MonoDVPS(NetworkConfig())
    network.description = "random weights (untrained)"
    return network


def description(weights: str | Path, header: Mapping[str, Any]) -> str:
    """Say in a few words what weights are, by the setting that names them and the header of their file."""
    return ("shipped weights " if is_shipped(weights) else "") + describe(weights_file(weights), header)


def is_shipped(weights: str | Path) -> bool:
    """Whether a setting names weights that ship: one of `DEFAULT_NAMES` or of `SHIPPED_NAMES`."""
    return str(weights) in (*DEFAULT_NAMES, *SHIPPED_NAMES)


def weights_file(weights: str | Path) -> Path:
    """Return the file that a setting names: a path, or a name of `SHIPPED_NAMES` or `DEFAULT_NAMES`.

    Raises:
        WeightsError: weights that ship are named, and this build has no such file.
    """
    if not is_shipped(weights):
        return Path(weights)
    folder = Path(str(files("monodvps_ros"))) / "weights"
    names = SHIPPED_NAMES if str(weights) in DEFAULT_NAMES else [str(weights)]
    candidates = [folder / f"{name}.safetensors" for name in names]
    for path in candidates:
        if path.is_file():
            return path
    raise WeightsError(f"no weights ship with this build ({candidates[-1]} is missing); give a file, or 'random'")


@cache
def _network_shapes(config: NetworkConfig) -> dict[str, tuple[int, ...]]:
    """Find the shapes of a network's tensors; networks that are loaded are often alike."""
    with without_values():
        return _shapes(MonoDVPS(config))


def _shapes(module: nn.Module, prefix: str = "") -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(tensor.shape) for name, tensor in _learnt(module).items()}


def _check_shapes(path: Path, config: NetworkConfig, header: Mapping[str, Any]) -> None:
    """Compare a file's tensors with the network that its header describes, before memory is allocated for it."""
    try:
        with without_values():
            pose_network = make_pose_network(path, header)
        wanted = _network_shapes(config) | ({} if pose_network is None else _shapes(pose_network, _POSE))
        with safe_open(path, framework="pt") as file:
            stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}; copy or export it again") from error
    except (ConfigError, RuntimeError) as error:  # an unknown encoder; more elements than torch can count
        raise WeightsError(f"{path}: its header describes no network: {shortened(str(error))}") from error
    missing, unknown = sorted(wanted.keys() - stored.keys()), sorted(stored.keys() - wanted.keys())
    if missing or unknown:
        raise WeightsError(f"{path}: tensors missing: {some(missing)}; not of this network: {some(unknown)}")
    other = [f"{name} {stored[name]} for {shape}" for name, shape in wanted.items() if stored[name] != shape]
    if other:
        raise WeightsError(f"{path}: tensors of another shape than the network's: {some(other)}")


def _fill(network: MonoDVPS, path: Path, header: Mapping[str, Any]) -> None:
    """Copy a file's tensors, which fit, and its normalisation into a network."""
    network.normalize.set(*normalization(path, header))
    _copy(_read(path), network)


def _copy(stored: Mapping[str, Tensor], module: nn.Module, prefix: str = "") -> None:
    wanted = _learnt(module)
    module.load_state_dict({name: stored[prefix + name].to(like.dtype) for name, like in wanted.items()}, strict=False)


def _learnt(module: nn.Module) -> dict[str, Tensor]:
    """Return a network's tensors but its normalisation, which stands in the header."""
    return {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(_NORMALIZATION)}


def _all_learnt(network: MonoDVPS, pose_network: PoseNetwork | None) -> dict[str, Tensor]:
    """Return the tensors of both networks, by their names in a file."""
    motion = {} if pose_network is None else _learnt(pose_network)
    return _learnt(network) | {_POSE + name: tensor for name, tensor in motion.items()}


def _read(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a file; each must be finite."""
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: cannot be read: {error}; copy or export it again") from error
    broken = [name for name, tensor in stored.items() if tensor.is_floating_point() and not tensor.isfinite().all()]
    if broken:
        raise WeightsError(f"{path}: tensors that are not finite: {some(broken)}; training diverged before the export")
    return stored


def _stored(network: MonoDVPS, pose_network: PoseNetwork | None, half: bool) -> dict[str, Tensor]:
    learnt = _all_learnt(network, pose_network)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learnt.items()}
    if not half:
        return tensors
    return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
