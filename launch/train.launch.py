# SPDX-License-Identifier: Apache-2.0
"""Train on recordings: ``ros2 launch monodvps_ros train.launch.py data:=drive_1,drive_2 out:=runs/first``.

It ends with the training. Ctrl-C stops with a checkpoint; ``resume:=true`` goes on from it.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

SHARE = Path(get_package_share_directory("monodvps_ros"))
#: For the current step, the checkpoint and the weights file, before launch kills the node.
SHUTDOWN_TIMEOUT_S = 120

ARGUMENTS = (
    DeclareLaunchArgument("namespace", default_value="", description="Of the node and of training/progress."),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "training_node.yaml"),
        description="Parameters; the arguments below stand above it.",
    ),
    DeclareLaunchArgument(
        "data", default_value="", description="Bags or data sets, with commas between them; empty: as params_file says."
    ),
    DeclareLaunchArgument("out", default_value="", description="Folder to write to; empty: as params_file says."),
    DeclareLaunchArgument("config", default_value="", description="Training config; empty: as params_file says."),
    DeclareLaunchArgument("weights", default_value="", description="File to start from; empty: as params_file says."),
    DeclareLaunchArgument(
        "validate", default_value="", description="Data with truth, with commas; empty: as params_file says."
    ),
    DeclareLaunchArgument(
        "max_steps", default_value="", description="Steps of the whole training; empty: as params_file says."
    ),
    DeclareLaunchArgument(
        "resume",
        default_value="",
        description="true: go on from the last checkpoint in out; empty: as params_file says.",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Describe the node."""
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Make the process from the arguments' values."""
    values = {argument.name: LaunchConfiguration(argument.name).perform(context).strip() for argument in ARGUMENTS}
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
    return [training]


def parameters(values: dict[str, str]) -> dict[str, object]:
    """Return the node's parameters that an argument sets.

    Raises:
        ValueError: max_steps is no whole number, or resume is neither true nor false.
    """
    chosen: dict[str, object] = {name: values[name] for name in ("out", "config", "weights") if values[name]}
    for name in ("data", "validate"):
        if values[name]:
            chosen[name] = [path.strip() for path in values[name].split(",")]
    if values["max_steps"]:
        chosen["max_steps"] = int(values["max_steps"])
    if values["resume"]:
        if values["resume"].lower() not in ("true", "false"):
            raise ValueError(f"resume is '{values['resume']}'; it must be true or false")
        chosen["resume"] = values["resume"].lower() == "true"
    return chosen
