# SPDX-License-Identifier: Apache-2.0
"""The perception node on a live camera: ``ros2 launch monodvps_ros camera.launch.py image:=/cam/image_raw``.

Of several cameras: ``cameras:=front,left image:=/front/image_raw,/left/image_raw camera_height:=1.6,0.9``.
"""

import os
from dataclasses import replace
from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from monodvps_ros.config.launch_cameras import LaunchCamera, is_true, launch_cameras
from monodvps_ros.outputs import RECORDED_TOPICS, SCALE_TOPIC

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
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of several cameras, comma-separated; arguments of the camera are then lists as well. "
        "Empty: as in params_file.",
    ),
    DeclareLaunchArgument("image", default_value="", description="Image topic of the camera; empty: image."),
    DeclareLaunchArgument(
        "camera_info", default_value="", description="camera_info topic of the camera; empty: beside the image topic."
    ),
    DeclareLaunchArgument(
        "camera_height",
        default_value="",
        description="Height of the camera above the road (m); empty: as in params_file.",
    ),
    DeclareLaunchArgument("use_sim_time", default_value="false", description="Use the time of /clock."),
    DeclareLaunchArgument(
        "compressed", default_value="", description="Subscribe to <image>/compressed instead; empty: as in params_file."
    ),
    DeclareLaunchArgument(
        "rectified",
        default_value="",
        description="Whether the images are rectified: auto, true or false; empty: as in params_file.",
    ),
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
    namespace, cameras = values["namespace"], launch_cameras(values)
    perception = Node(
        package="monodvps_ros",
        executable="perception_node",
        name="perception",
        namespace=namespace,
        parameters=[values["params_file"], parameters(values, cameras)],
        remappings=[remapping for camera in cameras for remapping in camera.remappings()],
        output="screen",
    )
    started: list[LaunchDescriptionEntity] = [perception]
    if is_true("rviz", values["rviz"]):
        started.append(
            Node(
                package="rviz2",
                executable="rviz2",
                namespace="/".join(part for part in (namespace, cameras[0].name) if part),
                arguments=["-d", str(SHARE / "config" / "monodvps.rviz"), "-f", values["fixed_frame"]],
                parameters=[{"use_sim_time": is_true("use_sim_time", values["use_sim_time"])}],
                remappings=replace(cameras[0], name="").remappings(),
            )
        )
    if values["record"]:
        started.append(recorder(values["record"], namespace, cameras))
    return started


def parameters(values: dict[str, str], cameras: list[LaunchCamera]) -> dict[str, object]:
    """Return the parameters that are set by arguments."""
    chosen: dict[str, object] = {"use_sim_time": is_true("use_sim_time", values["use_sim_time"])}
    if cameras[0].name:
        chosen["cameras"] = [camera.name for camera in cameras]
    for camera in cameras:
        chosen |= camera.parameters()
    if values["weights"]:
        chosen["pipeline.weights"] = values["weights"]
    if values["device"]:
        chosen["pipeline.device"] = values["device"]
    return chosen


def recorder(folder: str, namespace: str, cameras: list[LaunchCamera]) -> ExecuteProcess:
    """Record every output of every camera, byte for byte."""
    names = [
        camera.prefix + topic for camera in cameras for topic in (*(row.topic for row in RECORDED_TOPICS), SCALE_TOPIC)
    ]
    topics = ["/" + "/".join(part for part in (namespace.strip("/"), name) if part) for name in names]
    program = Path(get_package_prefix("monodvps_ros")) / "lib" / "monodvps_ros" / "recorder"
    return ExecuteProcess(cmd=[str(program), *topics, "--out", folder], name="recorder")
