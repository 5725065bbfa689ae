# SPDX-License-Identifier: Apache-2.0
"""The perception node on a recording: ``ros2 launch monodvps_ros replay.launch.py bag:=drive record:=out``.

The recording can be anything that ``monodvps play`` reads: a rosbag2 folder, a data set, a folder of images or a video.
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

#: Time for the outputs of the last frame after it was played.
LINGER_S = 3.0

ARGUMENTS = (
    DeclareLaunchArgument("bag", description="Recording to play."),
    DeclareLaunchArgument("rate", default_value="1.0", description="Playback speed; 2.0 plays twice as fast."),
    DeclareLaunchArgument("loop", default_value="false", description="Repeat the recording endlessly."),
    DeclareLaunchArgument(
        "image_topic", default_value="", description="Image topic to play, in a bag with several cameras."
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of camera and node."),
    DeclareLaunchArgument("compressed", default_value="false", description="Play, and subscribe to, JPEG images."),
    DeclareLaunchArgument(
        "record", default_value="", description="Folder to record all outputs to; empty: no recording."
    ),
)


def generate_launch_description() -> LaunchDescription:
    """Describe the node, the player, and the shutdown after the last frame. Also takes camera.launch.py's arguments."""
    camera = Path(get_package_share_directory("monodvps_ros")) / "launch" / "camera.launch.py"
    return LaunchDescription(
        [
            *ARGUMENTS,
            IncludeLaunchDescription(PythonLaunchDescriptionSource(str(camera))),
            OpaqueFunction(function=play),
        ]
    )


def play(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Create the player from the values of the arguments."""
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
    """Start the player once the recorder of camera.launch.py is connected to every output; shut down if it fails."""
    waiting = [player]

    def on_stdout(event: ProcessIO) -> ExecuteProcess | None:
        ready = event.process_name.startswith("recorder") and b'"ready"' in event.text
        return waiting.pop() if ready and waiting else None

    def on_exit(event: ProcessExited, _: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if not event.process_name.startswith("recorder") or not waiting:
            return None
        reason = "the recorder failed to start, so nothing is played; its last line gives the reason"
        return [LogInfo(msg=reason), EmitEvent(event=Shutdown(reason=reason))]

    return [
        RegisterEventHandler(OnProcessIO(on_stdout=on_stdout)),
        RegisterEventHandler(OnProcessExit(on_exit=on_exit)),
    ]
