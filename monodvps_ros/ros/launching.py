# SPDX-License-Identifier: Apache-2.0
"""What the launch files share: reading their arguments, and ending with an error where a process does."""

import difflib
import re
from collections.abc import Sequence

import launch.logging
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, EmitEvent, ExecuteProcess, LogInfo, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.launch_context import LaunchContext
from launch.substitutions import LaunchConfiguration

from monodvps_ros.errors import ConfigError, shortened
from monodvps_ros.ros_environment import REFUSED

#: How alike an argument that is not known must be to one that is, for a warning: an including launch file has its own.
_ALIKE = 0.8


def argument_values(context: LaunchContext, arguments: Sequence[DeclareLaunchArgument]) -> dict[str, str]:
    """Return the values of a launch file's arguments, and warn of given ones that look like a misspelt name.

    Raises:
        ConfigError: namespace is not one.
    """
    names = [argument.name for argument in arguments]
    for given in context.launch_configurations.keys() - set(names):
        for name in difflib.get_close_matches(given, names, 1, _ALIKE):
            launch.logging.get_logger("monodvps_ros").warning(
                f"launch argument '{given}' is unknown and ignored; did you mean '{name}'?"
            )
    values = {name: str(LaunchConfiguration(name).perform(context)).strip() for name in names}
    namespace = values.get("namespace", "")
    if not re.fullmatch(r"/?([A-Za-z_]\w*(/[A-Za-z_]\w*)*)?/?", namespace, re.ASCII):
        raise ConfigError(
            f"launch argument namespace is '{shortened(namespace)}'; it must be names of letters, digits and "
            "underscores, with slashes between them"
        )
    return values


def require_package(argument: str, package: str) -> None:
    """Check, before anything is started, that a package is installed which an argument asks for.

    Raises:
        ConfigError: it is not.
    """
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        raise ConfigError(
            f"launch argument {argument} needs {package}, which is not installed: "
            f"sudo apt install ros-$ROS_DISTRO-{package.replace('_', '-')}"
        ) from None


def program_of(name: str) -> str:
    """Return the path of a program of this package."""
    return f"{get_package_prefix('monodvps_ros')}/lib/monodvps_ros/{name}"


def end_with(process: ExecuteProcess, name: str, respawn: bool = False) -> RegisterEventHandler:
    """End the launch when a process ends: with an error where the process does.

    Args:
        process: whose end is waited for.
        name: how messages call it.
        respawn: whether launch starts it again; then only a refusal to start (exit code 2) ends the launch.
    """

    def on_exit(event: ProcessExited, context: LaunchContext) -> EmitEvent | None:
        if context.is_shutdown or (respawn and event.returncode != REFUSED):
            return None
        if event.returncode:
            raise RuntimeError(failure(name, event.returncode))
        return EmitEvent(event=Shutdown(reason=f"{name} has ended"))

    return RegisterEventHandler(OnProcessExit(target_action=process, on_exit=on_exit))


def report_failure(process: ExecuteProcess, name: str, consequence: str) -> RegisterEventHandler:
    """Say when a process fails that the others can do without."""

    def on_exit(event: ProcessExited, context: LaunchContext) -> LogInfo | None:
        if context.is_shutdown or not event.returncode:
            return None
        return LogInfo(msg=f"{failure(name, event.returncode)}; {consequence}")

    return RegisterEventHandler(OnProcessExit(target_action=process, on_exit=on_exit))


def failure(name: str, code: int) -> str:
    """Say that a process failed."""
    return f"{name} ended with exit code {code}, see above for the reason"
