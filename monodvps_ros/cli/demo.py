# SPDX-License-Identifier: Apache-2.0
"""`monodvps demo`: the perception node over real DDS on a drive, from a camera to pictures and a report."""

from pathlib import Path
from typing import Annotated

import typer

from monodvps_ros.cli.options import Rectified, RectifiedOption


def demo(
    input: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images with camera.json, video file, or rosbag2 folder. Default: a synthetic drive."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for recording, pictures and report.")] = Path("out/demo"),
    weights: Annotated[
        str | None,
        typer.Option(help="Weights file; 'random': untrained. Default: the shipped file, untrained where none ships."),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Play this many frames at most.")] = None,
    image_topic: Annotated[str | None, typer.Option(help="To play, of a recording with several cameras.")] = None,
    rectified: RectifiedOption = Rectified.AUTO,
    rate: Annotated[float, typer.Option(min=0.01, max=100.0, help="0.5 plays at half the recorded rate.")] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic drive.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    camera_height: Annotated[
        float | None, typer.Option(min=0.05, max=50.0, help="Height of the camera above the road in metres.")
    ] = None,
) -> int:
    """Run the perception node on a drive over DDS; leave a recording, pictures and a report.

    Exit code 0: done. 1: node or recorder failed; their last words are shown. 2: an argument is wrong. 3: done, but
    frames of the input are missing, damaged or left out because of their stamps.
    """
    from monodvps_ros.demo.run import run_demo  # noqa: PLC0415 - takes seconds

    return run_demo(input, out, weights, frames, image_topic, rectified.value, rate, seed, device, camera_height)
