# SPDX-License-Identifier: Apache-2.0
"""ROS parameters as a view of the configuration tree: same names, defaults, descriptions and ranges."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from monodvps_ros.config import NodeConfig, Setting, from_dict, settings
from monodvps_ros.config.tree import ConfigT, did_you_mean, set_value
from monodvps_ros.errors import ConfigError

_INTEGER_LIMITS = (-(2**63), 2**63 - 1)
_FLOAT_LIMITS = (-sys.float_info.max, sys.float_info.max)


def descriptor(setting: Setting) -> ParameterDescriptor:
    """Describe one setting: text with unit, choices, range, and whether it is read-only."""
    described = ParameterDescriptor(
        description=setting.description + (f" Unit: {setting.unit}." if setting.unit else ""),
        additional_constraints=f"One of: {', '.join(setting.choices)}." if setting.choices else "",
        read_only=setting.read_only,
    )
    if setting.at_least is None and setting.at_most is None:
        return described
    integer = setting.type is int
    lowest, highest = _INTEGER_LIMITS if integer else _FLOAT_LIMITS
    low = lowest if setting.at_least is None else setting.at_least
    high = highest if setting.at_most is None else setting.at_most
    if integer:
        described.integer_range.append(IntegerRange(from_value=int(low), to_value=int(high), step=0))
    else:
        described.floating_point_range.append(FloatingPointRange(from_value=float(low), to_value=float(high)))
    return described


def parameter_type(setting: Setting) -> str:
    """Return the name of a setting's parameter type, as ``ros2 param describe`` shows it."""
    names = {bool: "boolean", int: "integer", float: "double", str: "string"}
    return names.get(setting.type, "string array")


def declare(node: Node, config_class: type[ConfigT]) -> ConfigT:
    """Declare every setting of a configuration on a node and read what it was started with.

    Raises:
        ConfigError: a value that was given is of the wrong type, out of range or not among the choices.
    """
    for setting in settings(config_class):
        _declare(node, setting)
    for name in undeclared(node, [setting.name for setting in settings(config_class)]):
        node.get_logger().warning(f"parameter {name}: ignored")
    return read(node, config_class)


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
    changed = {parameter.name: parameter.value for parameter in changes}
    values: dict[str, Any] = {}
    for setting in settings(config_class):
        set_value(values, setting.name, changed.get(setting.name, node.get_parameter(setting.name).value))
    return from_dict(config_class, values, "parameters")


def accept_changes(node: Node, apply: Callable[[NodeConfig], None]) -> None:
    """Let parameters be changed while the node runs; what the configuration refuses is refused with its reason.

    Args:
        node: one that `declare` was called on with `NodeConfig`.
        apply: called with the new configuration once a change was accepted.
    """
    names = {setting.name for setting in settings(NodeConfig)}

    def check(parameters: list[Parameter]) -> SetParametersResult:
        try:
            read(node, NodeConfig, parameters)
        except ConfigError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def changed(parameters: list[Parameter]) -> None:
        if any(parameter.name in names for parameter in parameters):
            apply(read(node, NodeConfig))

    node.add_on_set_parameters_callback(check)
    node.add_post_set_parameters_callback(changed)
