# SPDX-License-Identifier: Apache-2.0
"""`monodvps play`: publish a bag, a data set, a folder of images or a video as a ROS 2 camera."""

import time
from pathlib import Path
from typing import Annotated

import rclpy
import typer
from rclpy.node import Node
from rich.console import Console

from monodvps_ros.cli.options import ImageTopicOption, RectifiedOption
from monodvps_ros.data import open_source
from monodvps_ros.data.incomplete import exit_code
from monodvps_ros.data.reading import ReadableSamples
from monodvps_ros.data.schedule import Schedule
from monodvps_ros.errors import DataError, counted
from monodvps_ros.ros.nodes.player import CameraPublisher, PlayCount, frames_to_play
from monodvps_ros.ros.nodes.player import play as play_samples
from monodvps_ros.ros.nodes.running import initialize
from monodvps_ros.ros_environment import starting_ros


def play(
    input: Annotated[
        Path, typer.Argument(help="Rosbag2 folder, data set, folder of images with camera.json, or video file.")
    ],
    rate: Annotated[float, typer.Option(min=0.01, max=100.0, help="Playback speed; 2 plays twice as fast.")] = 1.0,
    loop: Annotated[
        bool, typer.Option("--loop", help="Repeat from the beginning at the end; stamps jump back as well.")
    ] = False,
    namespace: Annotated[str, typer.Option(help="Namespace of the topics image and camera_info.")] = "",
    compressed: Annotated[
        bool, typer.Option("--compressed", help="Publish image/compressed (JPEG) instead of image.")
    ] = False,
    image_topic: ImageTopicOption = None,
    rectified: RectifiedOption = "auto",
    frames: Annotated[int | None, typer.Option(min=1, help="Maximum number of frames to play.")] = None,
    wait_for: Annotated[int, typer.Option(min=0, help="Number of image subscribers to wait for before playing.")] = 1,
) -> int:
    """Publish a recording as a ROS 2 camera, at the recorded rate.

    Topics: image and camera_info, with the recorded stamps, frame_id and camera_info. The camera_info of rectified
    images is published without distortion, since the topic name no longer says that they are rectified. A late frame is
    published late. Exit code 3: finished, but frames of the recording are missing, damaged or skipped because of their
    stamps.
    """
    console = Console(markup=False, highlight=False)
    source = open_source(input, image_topic=image_topic, rectified=rectified)
    if not len(source):
        raise DataError(f"{input} contains no frames; give a recording with at least one")
    samples = ReadableSamples(source, str(input), frames)
    count = PlayCount()
    initialize()
    with starting_ros():
        node = Node("player", namespace=namespace or None)
        publisher = CameraPublisher(node, compressed)
    try:
        console.print(
            f"{publisher.image_topic}: {counted(len(source), 'frame')} at {source.rate_hz * rate:g} Hz", soft_wrap=True
        )
        _wait_for_subscribers(publisher, wait_for, console)
        playing = frames_to_play(samples, loop=loop, rate_hz=source.rate_hz)
        for _ in play_samples(playing, publisher, Schedule(source.rate_hz, rate), count):
            pass
        publisher.flush()
    finally:
        rclpy.try_shutdown()
        console.print(
            f"{counted(count.published, 'frame')} published, {count.late} late, {count.without_camera_info} without K"
        )
    return exit_code(samples.damage)


def _wait_for_subscribers(publisher: CameraPublisher, wanted: int, console: Console) -> None:
    announced = False
    while publisher.subscribers()[0] < wanted:
        if not announced:
            console.print(
                "waiting for a subscriber (Ctrl-C to quit; --wait-for 0 to start at once); the perception node "
                "subscribes once there are subscribers to its outputs",
                soft_wrap=True,
            )
            announced = True
        time.sleep(0.05)
    if wanted:
        time.sleep(0.5)  # discovery: a publisher sees its subscribers before they see it
