# SPDX-License-Identifier: Apache-2.0
"""The perception node on a live camera: ``ros2 launch monodvps_ros camera.launch.py image:=/cam/image_raw``.

Of several cameras: ``cameras:=front,left image:=/front/image_raw,/left/image_raw camera_height:=1.6,0.9``.
"""

from pathlib import Path

import launch.logging
from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, ExecuteProcess, LogInfo, OpaqueFunction, SetEnvironmentVariable
from launch.launch_description_entity import LaunchDescriptionEntity
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription
from monodvps_ros.config.launch_cameras import LaunchCamera, full_name, is_true, launch_cameras, parameters_in
from monodvps_ros.config.launch_views import foxglove_view, rviz_view
from monodvps_ros.errors import ConfigError
from monodvps_ros.outputs import LABEL_INFO_TOPIC, RECORDED_TOPICS, SCALE_TOPIC
from monodvps_ros.ros.launching import argument_values, end_with, program_of, report_failure, require_package
from monodvps_ros.ros_environment import PROFILE, PROFILE_VARIABLES, is_profile_set

SHARE = Path(get_package_share_directory("monodvps_ros"))
RESPAWN_DELAY_S = 2.0

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
    DeclareLaunchArgument("record_input", default_value="false", description="Record image and camera_info as well."),
    DeclareLaunchArgument("record_diagnostics", default_value="false", description="Record /diagnostics as well."),
    DeclareLaunchArgument(
        "respawn",
        default_value="false",
        description="Start the node again when it ends with an error; not when it refuses to start.",
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Describe the node and, on request, RViz and a recorder."""
    entities: list[LaunchDescriptionEntity] = list(ARGUMENTS)
    if not is_profile_set():
        entities.append(SetEnvironmentVariable(PROFILE_VARIABLES[0], str(SHARE / "config" / PROFILE)))
    return LaunchDescription([*entities, OpaqueFunction(function=start)])


def start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Create the processes from the values of the arguments, which are all checked before one starts."""
    values = argument_values(context, ARGUMENTS)
    cameras = launch_cameras(values)
    respawn = is_true("respawn", values["respawn"])
    perception = Node(
        package="monodvps_ros",
        executable="perception_node",
        name="perception",
        namespace=values["namespace"],
        parameters=[values["params_file"], parameters(values, cameras)],
        remappings=[remapping for camera in cameras for remapping in camera.remappings()],
        output="screen",
        respawn=respawn,
        respawn_delay=RESPAWN_DELAY_S,
    )
    return [
        end_with(perception, "the perception node", respawn),
        *recording(values, cameras),
        *views(values, cameras),
        perception,
    ]


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


def views(values: dict[str, str], cameras: list[LaunchCamera]) -> list[LaunchDescriptionEntity]:
    """Write the views of RViz and Foxglove with the names of this launch, and start RViz on request."""
    shows = is_true("rviz", values["rviz"])
    if shows:
        require_package("rviz", "rviz2")
    said = values["namespace"], parameters_in(values["params_file"])
    folder = Path(launch.logging.launch_config.log_dir)
    rviz, foxglove = folder / "monodvps.rviz", folder / "monodvps_foxglove.json"
    rviz.write_text(rviz_view((SHARE / "config" / rviz.name).read_text(), said[0], cameras, said[1]))
    foxglove.write_text(foxglove_view((SHARE / "config" / foxglove.name).read_text(), said[0], cameras[0], said[1]))
    told = LogInfo(msg=f"views of these topics: rviz2 -d {rviz}; for Foxglove: {foxglove}")
    if not shows:
        return [told]
    process = Node(
        package="rviz2",
        executable="rviz2",
        namespace=values["namespace"],
        arguments=["-d", str(rviz), "-f", values["fixed_frame"]],
        parameters=[{"use_sim_time": is_true("use_sim_time", values["use_sim_time"])}],
    )
    return [told, report_failure(process, "RViz", "the node goes on"), process]


def recording(values: dict[str, str], cameras: list[LaunchCamera]) -> list[LaunchDescriptionEntity]:
    """Record, on request."""
    inputs = is_true("record_input", values["record_input"])
    diagnostics = is_true("record_diagnostics", values["record_diagnostics"])
    if not values["record"]:
        if inputs or diagnostics:
            given = "record_input" if inputs else "record_diagnostics"
            raise ConfigError(f"launch argument {given} cannot apply without record, which names the folder")
        return []
    if Path(values["record"]).exists():
        raise ConfigError(f"launch argument record: {values['record']} exists already; choose another name")
    process = recorder(values, cameras, inputs, diagnostics)
    return [report_failure(process, "the recorder", "nothing more is recorded; the node keeps running"), process]


def recorder(values: dict[str, str], cameras: list[LaunchCamera], inputs: bool, diagnostics: bool) -> ExecuteProcess:
    """Record every output of every camera, byte for byte."""
    namespace, said = values["namespace"], parameters_in(values["params_file"])
    names = [
        camera.prefix + topic for camera in cameras for topic in (*(row.topic for row in RECORDED_TOPICS), SCALE_TOPIC)
    ]
    optional = [full_name(namespace, LABEL_INFO_TOPIC)]
    if inputs:
        optional += [topic for camera in cameras for topic in camera.input_topics(namespace, said)]
    if diagnostics:
        optional.append("/diagnostics")
    topics = [full_name(namespace, name) for name in names]
    command = [program_of("recorder"), *topics, "--events", "--out", values["record"]]  # events are for the replay
    return ExecuteProcess(
        cmd=[*command, *(word for topic in optional for word in ("--optional", topic))],
        name="recorder",
        output={"stdout": "log", "stderr": "screen"},
    )
