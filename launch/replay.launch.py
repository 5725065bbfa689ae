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
from monodvps_ros.config.launch_cameras import LaunchCamera, is_true, launch_cameras
from monodvps_ros.errors import ConfigError

#: Time for the outputs of the last frame after it was played.
LINGER_S = 3.0

ARGUMENTS = (
    DeclareLaunchArgument("bag", description="Recording to play."),
    DeclareLaunchArgument("rate", default_value="1.0", description="Playback speed; 2.0 plays twice as fast."),
    DeclareLaunchArgument("loop", default_value="false", description="Repeat the recording endlessly."),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of several cameras, comma-separated; image_topic is then a list as well. "
        "Empty: as in params_file.",
    ),
    DeclareLaunchArgument(
        "image_topic",
        default_value="",
        description="Image topic to play, in a bag with several cameras; with cameras one for each.",
    ),
    DeclareLaunchArgument("namespace", default_value="", description="Namespace of camera and node."),
    DeclareLaunchArgument("compressed", default_value="false", description="Play, and subscribe to, JPEG images."),
    DeclareLaunchArgument("image", default_value="", description="Does not apply: the player publishes image."),
    DeclareLaunchArgument("camera_info", default_value="", description="Does not apply either."),
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
    for name in ("image", "camera_info"):
        if values[name]:
            raise ConfigError(f"launch argument {name} cannot apply to a replay; image_topic chooses what is played")
    params_file = context.launch_configurations.get("params_file", "")
    cameras = launch_cameras({"cameras": values["cameras"], "params_file": params_file, "image": values["image_topic"]})
    players = [player(values, camera) for camera in cameras]
    end = TimerAction(period=LINGER_S, actions=[EmitEvent(event=Shutdown(reason="the recording has ended"))])
    playing = list(players)

    def on_exit(event: ProcessExited, _: LaunchContext) -> TimerAction | None:
        if event.action in playing:
            playing.remove(event.action)
            return None if playing else end
        return None

    start = once_the_recorder_is_ready(players) if values["record"] else players
    return [*start, RegisterEventHandler(OnProcessExit(on_exit=on_exit))]


def player(values: dict[str, str], camera: LaunchCamera) -> ExecuteProcess:
    """Play the images of one camera."""
    program = Path(get_package_prefix("monodvps_ros")) / "lib" / "monodvps_ros" / "monodvps"
    options = ["--rate", values["rate"]]
    namespace = "/".join(part for part in (values["namespace"], camera.name) if part)
    if namespace:
        options += ["--namespace", namespace]
    if camera.image:
        options += ["--image-topic", camera.image]
    options += ["--" + name for name in ("loop", "compressed") if is_true(name, values[name])]
    return ExecuteProcess(cmd=[str(program), "play", values["bag"], *options], name="player", output="screen")


def once_the_recorder_is_ready(players: list[ExecuteProcess]) -> list[LaunchDescriptionEntity]:
    """Start the players once the recorder of camera.launch.py is connected to every output; shut down if it fails."""
    waiting = list(players)

    def on_stdout(event: ProcessIO) -> list[ExecuteProcess] | None:
        if not (event.process_name.startswith("recorder") and b'"ready"' in event.text):
            return None
        ready = list(waiting)
        waiting.clear()
        return ready

    def on_exit(event: ProcessExited, _: LaunchContext) -> list[LaunchDescriptionEntity] | None:
        if not event.process_name.startswith("recorder") or not waiting:
            return None
        reason = "the recorder failed to start, so nothing is played; its last line gives the reason"
        return [LogInfo(msg=reason), EmitEvent(event=Shutdown(reason=reason))]

    return [
        RegisterEventHandler(OnProcessIO(on_stdout=on_stdout)),
        RegisterEventHandler(OnProcessExit(on_exit=on_exit)),
    ]
