# SPDX-License-Identifier: Apache-2.0
"""The perception node on a live camera: ``ros2 launch monodvps_ros camera.launch.py image:=/cam/image_raw``."""

import os
from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from monodvps_ros.outputs import OUTPUT_TOPICS

SHARE = Path(get_package_share_directory("monodvps_ros"))
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")

ARGUMENTS = (
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
    DeclareLaunchArgument(
        "params_file",
        default_value=str(SHARE / "config" / "perception.yaml"),
        description="Parameter file; the arguments below override it.",
    ),
    DeclareLaunchArgument("weights", default_value="", description="Weights file; empty: as in params_file."),
    DeclareLaunchArgument(
        "device", default_value="", description="Device: auto, cpu, cuda or cuda:N; empty: as in params_file."
    ),
    DeclareLaunchArgument("image", default_value="image", description="Image topic of the camera."),
    DeclareLaunchArgument(
        "camera_info", default_value="", description="camera_info topic of the camera; empty: beside the image topic."
    ),
    DeclareLaunchArgument(
        "camera_height",
        default_value="",
        description="Height of the camera above the road (m); empty: as in params_file.",
    ),
    DeclareLaunchArgument("use_sim_time", default_value="false", description="Use the time of /clock."),
    DeclareLaunchArgument("compressed", default_value="false", description="Subscribe to <image>/compressed instead."),
    DeclareLaunchArgument("rviz", default_value="false", description="Start RViz too."),
    DeclareLaunchArgument(
        "fixed_frame",
        default_value="camera",
        description="Fixed frame of RViz; with the frame_id of the images, no tf is needed.",
    ),
    DeclareLaunchArgument(
        "record", default_value="", description="Folder to record all outputs to; empty: no recording."
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Describe the node and, on request, RViz and a recorder."""
    entities: list[LaunchDescriptionEntity] = list(ARGUMENTS)
    if not any(name in os.environ for name in PROFILE_VARIABLES):
        profile = SHARE / "config" / "fastdds_large_messages.xml"
        entities.append(SetEnvironmentVariable(PROFILE_VARIABLES[0], str(profile)))
    return LaunchDescription([*entities, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Create the processes from the values of the arguments."""
    values = {argument.name: LaunchConfiguration(argument.name).perform(context).strip() for argument in ARGUMENTS}
    namespace, image = values["namespace"], values["image"]
    remappings = [
        ("image", image),
        ("image/compressed", f"{image}/compressed"),
        ("camera_info", values["camera_info"] or sibling(image, "camera_info")),
    ]
    perception = Node(
        package="monodvps_ros",
        executable="perception_node",
        name="perception",
        namespace=namespace,
        parameters=[values["params_file"], parameters(values)],
        remappings=remappings,
        output="screen",
    )
    started: list[LaunchDescriptionEntity] = [perception]
    if is_true(values["rviz"]):
        started.append(
            Node(
                package="rviz2",
                executable="rviz2",
                namespace=namespace,
                arguments=["-d", str(SHARE / "config" / "monodvps.rviz"), "-f", values["fixed_frame"]],
                parameters=[{"use_sim_time": is_true(values["use_sim_time"])}],
                remappings=remappings,
            )
        )
    if values["record"]:
        started.append(recorder(values["record"], namespace))
    return started


def parameters(values: dict[str, str]) -> dict[str, object]:
    """Return the parameters that are set by arguments."""
    chosen: dict[str, object] = {"use_sim_time": is_true(values["use_sim_time"])}
    if is_true(values["compressed"]):
        chosen["compressed"] = True
    if values["weights"]:
        chosen["pipeline.weights"] = values["weights"]
    if values["device"]:
        chosen["pipeline.device"] = values["device"]
    if values["camera_height"]:
        chosen["pipeline.scale.camera_height_m"] = float(values["camera_height"])
    return chosen


def recorder(folder: str, namespace: str) -> ExecuteProcess:
    """Record every output, byte for byte."""
    topics = ["/" + "/".join(part for part in (namespace.strip("/"), row.topic) if part) for row in OUTPUT_TOPICS]
    program = Path(get_package_prefix("monodvps_ros")) / "lib" / "monodvps_ros" / "recorder"
    return ExecuteProcess(cmd=[str(program), *topics, "--out", folder], name="recorder")


def sibling(topic: str, name: str) -> str:
    """Return a topic of the same namespace: /cam/image_raw, camera_info gives /cam/camera_info."""
    namespace, slash, _ = topic.rpartition("/")
    return f"{namespace}{slash}{name}"


def is_true(text: str) -> bool:
    """Read a launch argument as true or false.

    Raises:
        ValueError: it is something else.
    """
    if text.lower() not in ("true", "false", "1", "0"):
        raise ValueError(f"'{text}' is neither true nor false")
    return text.lower() in ("true", "1")
