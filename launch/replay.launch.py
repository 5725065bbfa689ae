# SPDX-License-Identifier: Apache-2.0
"""The perception node on a recording: ``ros2 launch monodvps_ros replay.launch.py bag:=drive record:=out``.

The recording can be anything that ``monodvps play`` reads: a rosbag2 folder, a data set, a folder of images or a video.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessIO
from launch.events import Shutdown
from launch.events.process import ProcessExited, ProcessIO
from launch.launch_description_entity import LaunchDescriptionEntity
from launch.launch_description_sources import PythonLaunchDescriptionSource

from launch import LaunchContext, LaunchDescription
from monodvps_ros.config.launch_cameras import LaunchCamera, is_true, launch_cameras, number
from monodvps_ros.data.incomplete import EXIT_INCOMPLETE
from monodvps_ros.errors import ConfigError
from monodvps_ros.ros.launching import argument_values, failure, program_of

#: Time for the outputs of the last frame after it was played.
LINGER_S = 3.0

ARGUMENTS = (
    DeclareLaunchArgument("bag", description="Recording to play."),
    DeclareLaunchArgument("rate", default_value="1.0", description="Playback speed; 2.0 plays twice as fast."),
    DeclareLaunchArgument("loop", default_value="false", description="Repeat the recording endlessly."),
    DeclareLaunchArgument(
        "cameras",
        default_value="",
        description="Names of several cameras, comma-separated; image_topic and compressed are then lists as well. "
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
    return LaunchDescription([*ARGUMENTS, OpaqueFunction(function=play)])


def play(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    """Include camera.launch.py and create the players, from the values of the arguments, which are checked first."""
    values = argument_values(context, ARGUMENTS)
    for name in ("image", "camera_info"):
        if values[name]:
            raise ConfigError(f"launch argument {name} cannot apply to a replay; image_topic chooses what is played")
    if not Path(values["bag"]).exists():
        raise ConfigError(f"launch argument bag: {values['bag']} does not exist")
    number("rate", values["rate"], 0.01, 100.0)
    others = context.launch_configurations
    params_file = others.get("params_file", "")
    cameras = launch_cameras(
        {name: values[name] for name in ("cameras", "compressed")}
        | {"params_file": params_file, "image": values["image_topic"]}
    )
    recorded = bool(values["record"]) and is_true("record_input", others.get("record_input", "false"))
    players = [player(values, camera, subscribers=2 if recorded else 1) for camera in cameras]
    camera_file = Path(get_package_share_directory("monodvps_ros")) / "launch" / "camera.launch.py"
    return [
        end_after(players),
        *(after_recorder(players) if values["record"] else []),
        IncludeLaunchDescription(PythonLaunchDescriptionSource(str(camera_file))),
        *([] if values["record"] else players),
    ]


def end_after(players: list[ExecuteProcess]) -> RegisterEventHandler:
    """Shut down once all players have ended, with an error where one failed."""
    playing = list(players)

    def on_exit(event: ProcessExited, context: LaunchContext) -> TimerAction | None:
        if event.action not in playing or context.is_shutdown:
            return None
        if event.returncode not in (0, EXIT_INCOMPLETE):
            raise RuntimeError(failure("the player", event.returncode))
        playing.remove(event.action)
        end = EmitEvent(event=Shutdown(reason="the recording has ended"))
        return None if playing else TimerAction(period=LINGER_S, actions=[end])

    return RegisterEventHandler(OnProcessExit(on_exit=on_exit))


def player(values: dict[str, str], camera: LaunchCamera, subscribers: int) -> ExecuteProcess:
    """Play the images of one camera, to as many subscribers."""
    options = ["--rate", values["rate"], "--wait-for", str(subscribers)]
    namespace = "/".join(part for part in (values["namespace"], camera.name) if part)
    if namespace:
        options += ["--namespace", namespace]
    if camera.image:
        options += ["--image-topic", camera.image]
    for name, text in (("loop", values["loop"]), ("compressed", camera.compressed)):
        options += ["--" + name] if is_true(name, text) else []
    return ExecuteProcess(cmd=[program_of("monodvps"), "play", values["bag"], *options], name="player", output="screen")


def after_recorder(players: list[ExecuteProcess]) -> list[LaunchDescriptionEntity]:
    """Start the players once the recorder of camera.launch.py is connected to every output; fail where it does."""
    waiting = list(players)

    def on_stdout(event: ProcessIO) -> list[ExecuteProcess] | None:
        if not (event.process_name.startswith("recorder") and b'"ready"' in event.text):
            return None
        ready = list(waiting)
        waiting.clear()
        return ready

    def on_exit(event: ProcessExited, context: LaunchContext) -> None:
        if event.process_name.startswith("recorder") and event.returncode and not context.is_shutdown:
            raise RuntimeError(failure("the recorder", event.returncode))

    return [
        RegisterEventHandler(OnProcessIO(on_stdout=on_stdout)),
        RegisterEventHandler(OnProcessExit(on_exit=on_exit)),
    ]
