# SPDX-License-Identifier: Apache-2.0
"""`monodvps view`: show predictions, live or recorded, in the rerun viewer."""

import signal
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monodvps_ros.cli.options import ImageTopicOption, RectifiedOption
from monodvps_ros.data.incomplete import exit_code
from monodvps_ros.errors import ConfigError, counted
from monodvps_ros.ros_environment import check_environment

console = Console(markup=False, highlight=False)


def view(
    input: Annotated[
        Path | None,
        typer.Argument(
            help="Recording of the node's topics, folder of such recordings, or folder with pan/ and dep/. "
            "Default: the topics of a running node."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Images that the predictions were made of. Default: images in the recording, if any."),
    ] = None,
    camera: Annotated[
        str | None, typer.Option(help="Namespace of the node's topics, such as front with several cameras.")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="Data set whose classes and layout of pan/ and dep/ apply; see docs/file_formats.md.")
    ] = "cityscapes-dvps",
    image_topic: ImageTopicOption = None,
    rectified: RectifiedOption = "auto",
    frames: Annotated[int | None, typer.Option(min=1, help="Maximum number of frames to show.")] = None,
    save: Annotated[Path | None, typer.Option(help="Write this .rrd file instead of starting the viewer.")] = None,
    connect: Annotated[
        str | None,
        typer.Option(help="Show in a viewer that runs already, such as rerun+http://192.0.2.1:9876/proxy."),
    ] = None,
) -> int:
    """Show images, masks, depth, cloud, boxes and tracks on one timeline in the rerun viewer (docs/view.md).

    Live until Ctrl-C. Exit code 3: finished, but images of single frames are missing, or the recording is
    damaged.
    """
    if save is not None and connect is not None:
        raise ConfigError("--save and --connect exclude each other: give the file or the viewer")
    if input is None:
        if data is not None or image_topic is not None or rectified != "auto":
            raise ConfigError("--data, --image-topic and --rectified apply to recordings; name the recording as well")
        return _live(camera or "", dataset, frames, save, connect)
    from monodvps_ros.view.command import show, viewer_stream  # noqa: PLC0415 - imports torch
    from monodvps_ros.view.recorded import RecordedFrames  # noqa: PLC0415

    recorded = RecordedFrames(input, dataset, data, camera, image_topic, rectified)
    with viewer_stream(save, connect) as stream:
        count = sum(1 for _ in show(islice(recorded, frames), recorded.labels, stream))
    _report(count, save)
    if recorded.without_images:
        console.print("no images: the maps are shown alone; --data IMAGES adds what they were made of", soft_wrap=True)
    return exit_code(recorded.damage)


def _live(camera: str, dataset: str, frames: int | None, save: Path | None, connect: str | None) -> int:
    check_environment()  # before rclpy is imported
    from monodvps_ros.ros.nodes.viewer import received_frames  # noqa: PLC0415
    from monodvps_ros.view.command import show, viewer_stream  # noqa: PLC0415
    from monodvps_ros.view.recorded import layout_of  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the file is completed as at Ctrl-C
    labels, count = layout_of(dataset).labels, 0
    with viewer_stream(save, connect) as stream, closing(received_frames(camera)) as received:
        console.print("waiting for outputs of a perception node; Ctrl-C ends", soft_wrap=True)
        try:
            for _ in show(islice(received, frames), labels, stream):
                count += 1
        except KeyboardInterrupt:
            pass
    _report(count, save)
    return 0


def _report(count: int, save: Path | None) -> None:
    console.print(counted(count, "frame") + ("" if save is None else f"; open them with: rerun {save}"), soft_wrap=True)
