# SPDX-License-Identifier: Apache-2.0
"""`monodvps demo`: run the perception node over DDS on a drive; write a recording, images and a report."""

from pathlib import Path
from typing import Annotated

import typer

from monodvps_ros.cli.options import WEIGHTS_HELP, ImageTopicOption, RectifiedOption
from monodvps_ros.files import owned


def demo(
    input: Annotated[
        Path | None,
        typer.Option(
            help="Rosbag2 folder, folder of images with camera.json, or video file. Default: a synthetic drive."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Output folder for the recording, images and report.")] = Path("out/demo"),
    weights: Annotated[str | None, typer.Option(help=f"{WEIGHTS_HELP}street.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Maximum number of frames to play.")] = None,
    image_topic: ImageTopicOption = None,
    rectified: RectifiedOption = "auto",
    rate: Annotated[
        float, typer.Option(min=0.01, max=100.0, help="Playback speed; 0.5 plays at half the recorded rate.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the synthetic drive.")] = 0,
    device: Annotated[str, typer.Option(help="Device: auto (CUDA if available), cpu, cuda or cuda:N.")] = "auto",
    camera_height: Annotated[
        float | None, typer.Option(min=0.05, max=50.0, help="Height of the camera above the road (m).")
    ] = None,
) -> int:
    """Run the perception node on a drive over DDS; write a recording, images and a report.

    Exit codes: 0: success; 1: the node or the recorder failed, and its last output is shown; 2: invalid argument;
    3: finished, but input frames are missing, damaged or skipped because of their stamps.
    """
    from monodvps_ros.demo.run import run_demo  # noqa: PLC0415 - takes seconds

    with owned(out):
        return run_demo(input, out, weights, frames, image_topic, rectified, rate, seed, device, camera_height)
