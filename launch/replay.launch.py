# SPDX-License-Identifier: Apache-2.0
"""The perception node on a recording: ``ros2 launch monodvps_ros replay.launch.py bag:=drive record:=out``.

The recording may be whatever ``monodvps play`` takes: a rosbag2 folder, a data set, a folder of images or a video.
"""

from pathlib import Path

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import Shutdown
from launch.events.process import ProcessExited, ProcessIO
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from launch import LaunchContext, LaunchDescription

#: For the last frame to come out after the last one was played.
LINGER_S = 3.0

ARGUMENTS = (
    DeclareLaunchArgument("bag", description="Recording to play."),
    DeclareLaunchArgument("rate", default_value="1.0", description="2.0 plays twice as fast."),
    DeclareLaunchArgument("loop", default_value="false", description="Play it over and over."),
    DeclareLaunchArgument("image_topic", default_value="", description="In a bag of several cameras: the one to play."),
    DeclareLaunchArgument("namespace", default_value="", description="Of camera and node."),
    DeclareLaunchArgument("compressed", default_value="false", description="Play and subscribe to JPEG images."),
    DeclareLaunchArgument("record", default_value="", description="Folder to record all outputs to; empty: none."),
)


def generate_launch_description() -> LaunchDescription:
    """Describe the node, the player, and the end after the last frame. Further arguments: of camera.launch.py."""
    camera = Path(get_package_share_directory("monodvps_ros")) / "launch" / "camera.launch.py"
    return LaunchDescription(
        [
            *ARGUMENTS,
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(camera))),
            OpaqueFunction(function=play),
        ]
    )


def play(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Make the player from the arguments' values."""
    values = {argument.name: LaunchConfiguration(argument.name).perform(context).strip() for argument in ARGUMENTS}
    program = Path(get_package_prefix("monodvps_ros")) / "lib" / "monodvps_ros" / "monodvps"
    options = ["--rate", values["rate"]]
    for name in ("namespace", "image_topic"):
        if values[name]:
            options += ["--" + name.replace("_", "-"), values[name]]
    options += ["--" + name for name in ("loop", "compressed") if values[name].lower() in ("true", "1")]
    player = ExecuteProcess(cmd=[str(program), "play", values["bag"], *options], name="player", output="screen")
    end = TimerAction(period=LINGER_S, actions=[EmitEvent(event=Shutdown(reason="the recording has ended"))])
    start = once_the_recorder_is_ready(player) if values["record"] else [player]
    return [*start, RegisterEventHandler(OnProcessExit(target_action=player, on_exit=[end]))]


def once_the_recorder_is_ready(player: ExecuteProcess) -> list[LaunchDescriptionEntity]:
    """Start the player when every output is connected to the recorder of camera.launch.py; end where that gives up."""
    waiting = [player]

    def on_stdout(event: ProcessIO) -> ExecuteProcess | None:
        ready = event.process_name.startswith("recorder") and b'"ready"' in event.text
        return waiting.pop() if ready and waiting else None

    def on_exit(event: ProcessExited, _: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if not event.process_name.startswith("recorder") or not waiting:
            return None
        reason = "the recorder ended before it began, so nothing is played; its last line says why"
        return [LogInfo(msg=reason), EmitEvent(event=Shutdown(reason=reason))]

    return [
        RegisterEventHandler(OnProcessIO(on_stdout=on_stdout)),
        RegisterEventHandler(OnProcessExit(on_exit=on_exit)),
    ]
