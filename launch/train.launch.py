# SPDX-License-Identifier: Apache-2.0
"""Train on recordings: ``ros2 launch monodvps_ros train.launch.py data:=drive_1,drive_2 out:=runs/first``.

It exits when training ends. Ctrl-C stops with a checkpoint; ``resume:=true`` continues from it.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_description_entity import LaunchDescriptionEntity
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from monodvps_ros.config.launch_cameras import is_true, parameters_in
from monodvps_ros.errors import ConfigError
from monodvps_ros.ros.launching import argument_values, end_with

SHARE = Path(get_package_share_directory("monodvps_ros"))
#: For the current step, the checkpoint and the weights file, before launch kills the node.
SHUTDOWN_TIMEOUT_S = 120

ARGUMENTS = (
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "training_node.yaml"),
        description="Parameter file; the arguments below override it.",
    ),
    DeclareLaunchArgument(
        "data", default_value="", description="Comma-separated bags or data sets to train on; empty: as in params_file."
    ),
    DeclareLaunchArgument("out", default_value="", description="Output folder; empty: as in params_file."),
    DeclareLaunchArgument(
        "config", default_value="", description="Training configuration (YAML); empty: as in params_file."
    ),
    DeclareLaunchArgument(
        "weights", default_value="", description="Weights file to start from; empty: as in params_file."
    ),
    DeclareLaunchArgument(
        "rectified",
        default_value="",
        description="Whether the images are rectified: auto, true or false; empty: as in params_file.",
    ),
    DeclareLaunchArgument(
        "validate",
        default_value="",
        description="Comma-separated data with ground truth for validation; empty: as in params_file.",
    ),
    DeclareLaunchArgument(
        "max_steps", default_value="", description="Total number of training steps; empty: as in params_file."
    ),
    DeclareLaunchArgument(
        "resume",
        default_value="",
        description="true: continue from the last checkpoint in out; empty: as in params_file.",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Describe the node."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Create the process from the values of the arguments."""
    values = argument_values(context, ARGUMENTS)
    parameters_in(values["params_file"])  # it can be read
    training = Node(
        package="monodvps_ros",
        executable="training_node",
        name="training",
        namespace=values["namespace"],
        parameters=[values["params_file"], parameters(values)],
        output="screen",
        sigterm_timeout=str(SHUTDOWN_TIMEOUT_S),
        sigkill_timeout=str(SHUTDOWN_TIMEOUT_S),
    )
    return [end_with(training, "the training node"), training]


def parameters(values: dict[str, str]) -> dict[str, object]:
    """Return the parameters that are set by arguments.

    Raises:
        ConfigError: max_steps is not a number of steps, or resume is neither true nor false.
    """
    chosen: dict[str, object] = {
        name: values[name] for name in ("out", "config", "weights", "rectified") if values[name]
    }
    for name in ("data", "validate"):
        if values[name]:
            chosen[name] = [path.strip() for path in values[name].split(",")]
    if values["max_steps"]:
        if not values["max_steps"].isdecimal():
            raise ConfigError(f"launch argument max_steps is '{values['max_steps']}'; it must be a number of steps")
        chosen["max_steps"] = int(values["max_steps"])
    if values["resume"]:
        chosen["resume"] = is_true("resume", values["resume"])
    return chosen
