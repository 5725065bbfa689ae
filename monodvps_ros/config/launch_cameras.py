# SPDX-License-Identifier: Apache-2.0
"""What the launch arguments say of each camera: topics to remap, parameters to set. Imports neither launch nor rclpy.

With ``cameras:=front,left`` the arguments `image`, `camera_info`, `camera_height`, `rectified` and `compressed` are
lists too: a value for each camera in that order, or, of those that are no topics, one value for all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monodvps_ros.config.nodes import NodeConfig
from monodvps_ros.errors import ConfigError, counted, shortened
from monodvps_ros.files import read_yaml

TOPICS = ("image", "camera_info")


@dataclass(frozen=True)
class LaunchCamera:
    """One camera's arguments, as texts; empty where nothing is said.

    Attributes:
        name: of the camera; empty for a single one without a name.
        image: image topic.
        camera_info: camera_info topic; empty: beside the image topic.
        camera_height: metres above the road.
        rectified: auto, true or false.
        compressed: true or false.
    """

    name: str = ""
    image: str = ""
    camera_info: str = ""
    camera_height: str = ""
    rectified: str = ""
    compressed: str = ""

    @property
    def prefix(self) -> str:
        """Namespace of its topics, relative to the node's, with a slash at its end; empty for one without a name."""
        return f"{self.name}/" if self.name else ""

    def input_topics(self, namespace: str, parameters: Mapping[str, Any]) -> tuple[str, str]:
        """Return the full names of the image topic and the camera_info topic that the node hears.

        Args:
            namespace: of the node.
            parameters: those of the parameter file; they say whether the images are compressed where it does not.
        """
        named = f"cameras.{self.name}.compressed" if self.name else "compressed"
        in_file = parameters.get(named, parameters.get("compressed", False))
        compressed = is_true("compressed", self.compressed) if self.compressed else bool(in_file)
        image = self.image or f"{self.prefix}image"
        info = self.camera_info or (sibling(self.image, "camera_info") if self.image else f"{self.prefix}camera_info")
        return full_name(namespace, f"{image}/compressed" if compressed else image), full_name(namespace, info)

    def remappings(self) -> list[tuple[str, str]]:
        """Return the node's names of its input topics, and those to hear instead."""
        info = self.camera_info or (sibling(self.image, "camera_info") if self.image else "")
        image = [("image", self.image), ("image/compressed", f"{self.image}/compressed")] if self.image else []
        return [(self.prefix + name, topic) for name, topic in [*image, ("camera_info", info)] if topic]

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that its arguments set.

        Raises:
            ConfigError: an argument is not of its type.
        """
        prefix = f"cameras.{self.name}." if self.name else ""
        height = f"{prefix}camera_height_m" if self.name else "pipeline.scale.camera_height_m"
        chosen: dict[str, Any] = {}
        if self.camera_height:
            chosen[height] = number("camera_height", self.camera_height, 0.0, 50.0)
        if self.rectified:
            chosen[f"{prefix}rectified"] = self.rectified
        if self.compressed:
            chosen[f"{prefix}compressed"] = is_true("compressed", self.compressed)
        return chosen


def launch_cameras(values: Mapping[str, str]) -> list[LaunchCamera]:
    """Read the arguments of all cameras.

    Args:
        values: arguments by name: `cameras`, `params_file`, and those of the cameras that the launch file has. The
            names in `params_file` count where `cameras` is empty.

    Raises:
        ConfigError: an argument cannot apply to these cameras, or the parameter file cannot be read.
    """
    names = [name.strip() for name in values.get("cameras", "").split(",")]
    if names == [""]:
        names = _names_in(values.get("params_file", "")) or [""]
    NodeConfig(cameras=tuple(names))  # checks them
    chosen = {
        argument: _for_each(argument, values.get(argument, ""), names)
        for argument in LaunchCamera.__dataclass_fields__
        if argument != "name"
    }
    return [
        LaunchCamera(name, **{argument: each[index] for argument, each in chosen.items()})
        for index, name in enumerate(names)
    ]


def full_name(namespace: str, topic: str) -> str:
    """Return the name of a topic in a namespace, with a slash at its begin; one that has that already is full."""
    parts = [topic] if topic.startswith("/") else [namespace, topic]
    return "/" + "/".join(part.strip("/") for part in parts if part.strip("/"))


def sibling(topic: str, name: str) -> str:
    """Return a topic of the same namespace: /cam/image_raw, camera_info gives /cam/camera_info."""
    namespace, slash, _ = topic.rpartition("/")
    return f"{namespace}{slash}{name}"


def is_true(argument: str, text: str) -> bool:
    """Read a launch argument as true or false.

    Raises:
        ConfigError: it is something else.
    """
    if text.lower() not in ("true", "false", "1", "0"):
        raise ConfigError(f"launch argument {argument} is '{shortened(text)}'; it must be true or false")
    return text.lower() in ("true", "1")


def _for_each(argument: str, text: str, names: Sequence[str]) -> list[str]:
    given = [value.strip() for value in text.split(",")]
    if text and len(given) == len(names):
        return given
    if not text or (len(given) == 1 and argument not in TOPICS):
        return [text.strip()] * len(names)
    if names == [""]:
        raise ConfigError(
            f"launch argument {argument} has {counted(len(given), 'value')} but cameras names none; set cameras too"
        )
    raise ConfigError(
        f"launch argument {argument} has {counted(len(given), 'value')} for the {counted(len(names), 'camera')} "
        f"{shortened(', '.join(names))}: '{shortened(text)}'; give one for each, in that order"
    )


def number(argument: str, text: str, least: float, most: float) -> float:
    """Read a launch argument as a number within bounds.

    Raises:
        ConfigError: it is something else.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise ConfigError(
            f"launch argument {argument} is '{shortened(text)}'; it must be a number from {least:g} to {most:g}"
        )
    return value


def parameters_in(params_file: str) -> dict[str, Any]:
    """Return the parameters that a parameter file gives, to whichever node; none where it is empty.

    Raises:
        ConfigError: it cannot be read.
    """
    if not params_file:
        return {}
    try:
        nodes = read_yaml(Path(params_file), ConfigError)
    except ConfigError as error:
        raise ConfigError(f"launch argument params_file: {error}") from None
    found: dict[str, Any] = {}
    for node in nodes.values() if isinstance(nodes, dict) else ():
        group = node.get("ros__parameters", {}) if isinstance(node, dict) else {}
        found |= group if isinstance(group, dict) else {}
    return found


def _names_in(params_file: str) -> list[str]:
    """Return the names that a parameter file gives to cameras; none where it gives none."""
    cameras = parameters_in(params_file).get("cameras")
    return [str(name) for name in cameras if name] if isinstance(cameras, list) else []
