# SPDX-License-Identifier: Apache-2.0
"""ROS parameters as a view of the configuration tree: same names, defaults, descriptions and ranges."""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from monodvps_ros.config import CameraConfig, NodeConfig, Setting, from_dict, settings
from monodvps_ros.config.tree import ConfigT, did_you_mean, set_value
from monodvps_ros.errors import ConfigError, MonoDVPSError


def descriptor(setting: Setting) -> ParameterDescriptor:
    """Describe one setting: text with unit, choices, range, and whether it is read-only."""
    described = ParameterDescriptor(
        description=setting.description + (f" Unit: {setting.unit}." if setting.unit else ""),
        additional_constraints=f"One of: {', '.join(setting.choices)}." if setting.choices else "",
        read_only=setting.read_only,
    )
    low, high = setting.at_least, setting.at_most
    if low is None or high is None:
        return described
    if setting.type is int:
        described.integer_range.append(IntegerRange(from_value=int(low), to_value=int(high), step=0))
    elif setting.type is float:  # ROS has no ranges for arrays
        described.floating_point_range.append(FloatingPointRange(from_value=float(low), to_value=float(high)))
    return described


def parameter_type(setting: Setting) -> str:
    """Return the name of a setting's parameter type, as ``ros2 param describe`` shows it."""
    names = {bool: "boolean", int: "integer", float: "double", str: "string", tuple[int, ...]: "integer array"}
    return names.get(setting.type, "string array")


def declare(node: Node, config_class: type[ConfigT]) -> ConfigT:
    """Declare every setting of a configuration on a node and read what it was started with.

    Raises:
        ConfigError: a value that was given is of the wrong type, out of range or not among the choices.
    """
    for setting in settings(config_class):
        _declare(node, setting)
    config = read(node, config_class)
    if isinstance(config, NodeConfig):
        for name in config.cameras:
            _declare_camera(node, config, name)
    for name in undeclared(node, node.list_parameters([], 0).names):
        node.get_logger().warning(f"parameter {name}: ignored")
    return config


def _declare_camera(node: Node, config: NodeConfig, name: str) -> None:
    """Declare the parameters of a named camera, by default as the node's."""
    for setting in _camera_settings(name):
        default = getattr(config, setting.name.rpartition(".")[2], setting.default)
        _declare(node, replace(setting, default=default))


def _camera_settings(name: str) -> Iterator[Setting]:
    """List the settings of a camera; none of one without a name."""
    return settings(CameraConfig, f"cameras.{name}.") if name else iter(())


def undeclared(node: Node, names: Sequence[str]) -> list[str]:
    """List the parameters that the node was started with and does not have, each with the name it resembles most.

    Args:
        node: one that has all its parameters.
        names: of parameters that may have been meant.
    """
    found = []
    for given in node._parameter_overrides:  # rclpy keeps them here, and says nothing of those that nobody declares
        if node.has_parameter(given) or given.startswith("qos_overrides."):
            continue
        found.append(f"'{given}' is none of this node's{did_you_mean(given, names)}")
    return found


def _declare(node: Node, setting: Setting) -> None:
    try:
        node.declare_parameter(setting.name, setting.plain_default, descriptor(setting))
    except ParameterException as error:
        raise ConfigError(f"parameter '{setting.name}' ({parameter_type(setting)}): {error}") from None


def read(node: Node, config_class: type[ConfigT], changes: Iterable[Parameter] = ()) -> ConfigT:
    """Read the node's parameters as a configuration.

    Args:
        node: one that `declare` was called on.
        config_class: of the configuration that was declared.
        changes: parameters to take instead of the node's.

    Raises:
        ConfigError: a value is out of range or not among the choices.
    """
    return _read(node, config_class, "", {parameter.name: parameter.value for parameter in changes})


def read_cameras(node: Node, changes: Iterable[Parameter] = ()) -> dict[str, NodeConfig]:
    """Read the configuration of each camera by its name: the node's, with what `cameras.NAME.*` says of that camera.

    Args:
        node: one that `declare` was called on with `NodeConfig`.
        changes: parameters to take instead of the node's.

    Raises:
        ConfigError: a value is out of range or not among the choices.
    """
    changed = {parameter.name: parameter.value for parameter in changes}
    config = _read(node, NodeConfig, "", changed)
    return {
        name: config.of_camera(_read(node, CameraConfig, f"cameras.{name}.", changed)) if name else config
        for name in config.cameras
    }


def _read(node: Node, config_class: type[ConfigT], prefix: str, changed: Mapping[str, Any]) -> ConfigT:
    values: dict[str, Any] = {}
    for setting in settings(config_class):
        name = prefix + setting.name
        value = changed[name] if name in changed else node.get_parameter(name).value
        set_value(values, setting.name, list(value) if isinstance(value, array) else value)
    return from_dict(config_class, values, "parameters", prefix)


def accept_changes(
    node: Node,
    check: Callable[[Mapping[str, NodeConfig]], None],
    apply: Callable[[NodeConfig, Mapping[str, NodeConfig]], None],
) -> None:
    """Let parameters be changed while the node runs; what the configuration refuses is refused with its reason.

    Args:
        node: one that `declare` was called on with `NodeConfig`.
        check: raises a `MonoDVPSError` for configurations of the cameras that cannot be applied.
        apply: called with the new configuration, and that of each camera, once a change was accepted.
    """
    config = read(node, NodeConfig)
    names = {setting.name for setting in settings(NodeConfig)}
    names.update(setting.name for camera in config.cameras for setting in _camera_settings(camera))

    def refuse(parameters: list[Parameter]) -> SetParametersResult:
        if not any(parameter.name in names for parameter in parameters):
            return SetParametersResult(successful=True)
        try:
            check(read_cameras(node, parameters))
        except MonoDVPSError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def changed(parameters: list[Parameter]) -> None:
        if any(parameter.name in names for parameter in parameters):
            apply(read(node, NodeConfig), read_cameras(node))

    node.add_on_set_parameters_callback(refuse)
    node.add_post_set_parameters_callback(changed)
