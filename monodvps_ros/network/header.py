# SPDX-License-Identifier: Apache-2.0
"""The header of every file that contains a network: JSON that says what the network is and where it comes from."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monodvps_ros.config import NetworkConfig, from_dict, to_dict
from monodvps_ros.errors import ConfigError, WeightsError, shortened, shown
from monodvps_ros.files import parse_json
from monodvps_ros.labels import label_space
from monodvps_ros.network.monodvps import MonoDVPS
from monodvps_ros.network.normalize import IMAGENET_MEAN, IMAGENET_STD
from monodvps_ros.network.pose import PoseNetwork

FORMAT = "monodvps_ros/1"
#: Under this name the header lies in the metadata of a file.
HEADER_KEY = "monodvps"
#: Entry of a header that describes the pose network; absent where the file has none.
POSE_KEY = "pose"
_MAX_SHRINK = 8
#: Beyond these, images in 0..1 are beyond what the network can compute with.
_MOST_MEAN, _STD_RANGE = 1000.0, (0.001, 1000.0)
_NAMED = 6  # how many names an error shows
#: Types of a header's entries that are always there.
_TYPES: dict[str, type] = {
    "network": dict,
    "label_space": list,
    "input_size": list,
    "depth_range_m": list,
    "card": dict,
}


def make_header(network: MonoDVPS, card: Mapping[str, Any], pose_network: PoseNetwork | None = None) -> dict[str, Any]:
    """Describe a network, with a model card; `weights.read_card` says what the header holds."""
    described = {
        "format": FORMAT,
        "network": to_dict(network.config),
        "label_space": list(network.label_space.names),
        "input_size": list(network.input_size),
        "depth_range_m": list(network.depth_range_m),
        "normalization": network.normalize.values,
        "card": dict(card),
    }
    if pose_network is not None:
        described[POSE_KEY] = {
            "encoder": pose_network.encoder_name,
            "shrink": pose_network.shrink,
            "normalization": pose_network.normalize.values,
        }
    return described


def header_text(header: Mapping[str, Any]) -> str:
    """Write a header as JSON.

    Raises:
        WeightsError: the card in it is not of JSON's types.
    """
    try:
        return json.dumps(header)
    except TypeError as error:
        raise WeightsError(f"the model card must contain numbers, texts, lists and groups only: {error}") from error


def parse_header(path: Path, metadata: Mapping[str, str], kind: str) -> dict[str, Any]:
    """Find the header in a file's metadata; `path` and `kind` of the file go into error messages.

    Raises:
        WeightsError: there is no header, or it is not of this version of the package.
    """
    if HEADER_KEY not in metadata:
        raise WeightsError(f"{path}: {kind}, but without the '{HEADER_KEY}' header; give a file of this package")
    header = parse_json(metadata[HEADER_KEY], f"{path}: its header", WeightsError)
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else type(header).__name__
        raise WeightsError(f"{path}: its format is {shown(found)}; this version reads '{FORMAT}'; export it again")
    for key, expected in _TYPES.items():
        found = header.get(key)
        if not isinstance(found, expected):
            raise WeightsError(f"{path}: '{key}' of its header is {shown(found)}; expected a {expected.__name__}")
    return header


def network_config(path: Path, header: Mapping[str, Any]) -> NetworkConfig:
    """Read the shape of the network out of a header.

    Raises:
        WeightsError: it describes no network, one of another version, or other classes than this version has.
    """
    try:
        config = from_dict(NetworkConfig, header["network"], "its header", "network.")
    except ConfigError as error:
        raise WeightsError(f"{path}: {error}; it was written by another version of this package") from error
    if header["label_space"] != list(label_space(config.label_space).names):
        found = shown(header["label_space"])
        raise WeightsError(f"{path}: its classes are {found}, not those of '{config.label_space}' in this version")
    return config


def normalization(path: Path, header: Mapping[str, Any]) -> tuple[Sequence[float], Sequence[float]]:
    """Read mean and deviation of red, green and blue out of a header; ImageNet's where it does not say.

    Raises:
        WeightsError: they are not three numbers each, of use for images in 0..1.
    """
    values = header.get("normalization", {"mean": IMAGENET_MEAN, "std": IMAGENET_STD})
    try:
        mean, std = ([float(value) for value in values[name]] for name in ("mean", "std"))
    except (KeyError, TypeError, ValueError, OverflowError):
        mean, std = [], []
    usable = len(mean) == len(std) == 3 and all(abs(m) <= _MOST_MEAN for m in mean)  # which NaN is not
    if not usable or not all(_STD_RANGE[0] <= deviation <= _STD_RANGE[1] for deviation in std):
        raise WeightsError(
            f"{path}: its normalisation is {shown(values)}; expected 'mean' and 'std' of three colours each, finite, "
            f"with means up to {_MOST_MEAN:g} and deviations of {_STD_RANGE[0]:g} to {_STD_RANGE[1]:g}"
        )
    return mean, std


def make_pose_network(path: Path, header: Mapping[str, Any]) -> PoseNetwork | None:
    """Make the pose network that a header describes, with weights yet to be filled in; None where it has none.

    Raises:
        WeightsError: the description is damaged, or is of another network than the one beside it.
        ConfigError: there is no such encoder.
    """
    given = header.get(POSE_KEY)
    if given is None:
        return None
    encoder, shrink = (given.get(key) for key in ("encoder", "shrink")) if isinstance(given, dict) else (None, None)
    if not isinstance(encoder, str) or not isinstance(shrink, int) or not 1 <= shrink <= _MAX_SHRINK:
        raise WeightsError(
            f"{path}: '{POSE_KEY}' of its header is {shown(given)}; "
            f"expected an encoder and a shrink of 1 to {_MAX_SHRINK}"
        )
    pose_network = PoseNetwork(encoder, shrink=shrink, metric=network_config(path, header).metric)
    pose_network.normalize.set(*normalization(path, given))
    return pose_network


def describe(path: Path, header: Mapping[str, Any]) -> str:
    """Say in a few words what a file holds: its name, encoder, training recordings, and licence."""
    card = header["card"]
    data = card.get("training_data")
    if isinstance(data, list):  # paths of what it was trained on
        data = some([Path(str(entry)).name for entry in data])
    trained = f", trained on {shortened(str(data))}" if data else ""
    licence = f"; licence: {shortened(str(card['license']))}" if card.get("license") else ""
    return f"{shortened(path.name)}: {shortened(str(header['network'].get('encoder')))}{trained}{licence}"


def some(names: list[str]) -> str:
    """Name the first few, which may come from a file."""
    if not names:
        return "none"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return shortened(", ".join(names[:_NAMED])) + more
