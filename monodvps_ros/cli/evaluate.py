# SPDX-License-Identifier: Apache-2.0
"""`monodvps evaluate`: measure predictions, or weights, against truth; a JSON file and a page to look at."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from monodvps_ros.cli.options import Rectified, RectifiedOption
from monodvps_ros.cli.overrides import split_words
from monodvps_ros.cli.splits import Split
from monodvps_ros.config import PipelineConfig
from monodvps_ros.data.incomplete import exit_code
from monodvps_ros.errors import ConfigError


class Dataset(str, Enum):
    """Data sets with constants of their own."""

    CITYSCAPES_DVPS = "cityscapes-dvps"
    SEMKITTI_DVPS = "semkitti-dvps"
    RECORDING = "recording"


class Scaling(str, Enum):
    """What brings predicted depth to metres."""

    NONE = "none"
    MEDIAN = "median"
    CAMERA_HEIGHT = "camera-height"
    LIVE = "live"


class Crop(str, Enum):
    """Part of the image in which depth is measured."""

    NONE = "none"
    GARG = "garg"
    EIGEN = "eigen"
    CITYSCAPES = "cityscapes"


def evaluate(
    data: Annotated[Path, typer.Option(help="Data set, recording or folder of images with truth; folder of 'drives'.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Pipeline settings for --weights, such as tracker.max_age=0."),
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Predictions made before: folder with pan/ and dep/, or recording of the node.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="Without --predictions: weights file that predicts now, 'shipped' or 'random'.")
    ] = "shipped",
    against: Annotated[str, typer.Option(help="Weights file to compare --weights with on the same frames.")] = "",
    split: Annotated[Split | None, typer.Option(help="Measure --weights on this split of 'drives' in --data.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="YAML that says what label images mean. Default: labels.yaml in --data.")
    ] = None,
    stills: Annotated[bool, typer.Option("--stills", help="Treat each image alone: no tracking, no flow.")] = False,
    frames: Annotated[int | None, typer.Option(min=1, help="Measure the first N frames of each recording.")] = None,
    last: Annotated[int | None, typer.Option(min=1, help="Measure the last N frames of each recording.")] = None,
    dataset: Annotated[
        Dataset | None, typer.Option(help="Whose windows and prediction layout apply. Default: that of --data.")
    ] = None,
    depth_scaling: Annotated[
        Scaling | None,
        typer.Option(
            help="Scaling of predicted depth to metres. Default: none; for --weights all, median in the page."
        ),
    ] = None,
    camera_height: Annotated[float | None, typer.Option(help="Height of the camera above the road [m].")] = None,
    cap: Annotated[float, typer.Option(help="Leave true depth beyond this out of depth errors [m].")] = 80.0,
    crop: Annotated[Crop, typer.Option(help="Part of the image in which depth errors are measured.")] = Crop.NONE,
    min_area: Annotated[int, typer.Option(min=0, help="Treat true things of fewer pixels as void.")] = 0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write an HTML page here that opens offline.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="JSON of another evaluation to compare with.")] = None,
    worst: Annotated[int, typer.Option(help="Worst frames to show in the page, by kind of error.", min=0)] = 4,
    image_topic: Annotated[str | None, typer.Option(help="Image topic of a recording with several cameras.")] = None,
    rectified: RectifiedOption = Rectified.AUTO,
    device: Annotated[str, typer.Option(help="Device for --weights: auto, cpu, cuda or cuda:N.")] = "auto",
) -> int:
    """Measure depth, segmentation and tracking against truth: PQ, VPQ, DVPQ, STQ, DSTQ, mIoU, depth errors and more.

    docs/evaluation.md describes every figure, the JSON, and label images. Exit code 3: done, but frames of the data or
    of the predictions are missing, damaged or left out because of their stamps.
    """
    # torch takes seconds to import, and --help must not
    from monodvps_ros.evaluation import command  # noqa: PLC0415
    from monodvps_ros.evaluation.depth_scaling import DepthScaling  # noqa: PLC0415
    from monodvps_ros.metrics import DepthProtocol  # noqa: PLC0415

    others, settings = split_words(words or [], PipelineConfig)
    if others:
        raise ConfigError(f"'{others[0]}' is no setting; expected NAME=VALUE")
    result = command.evaluate(
        command.Request(
            data=data,
            predictions=predictions,
            weights=weights,
            against=against,
            split="" if split is None else split.value,
            settings=settings,
            device=device,
            dataset="" if dataset is None else dataset.value,
            labels=labels,
            stills=stills,
            frames=frames,
            last=last,
            min_area_px=min_area,
            scaling=None if depth_scaling is None else DepthScaling(depth_scaling.value),
            camera_height_m=camera_height,
            protocol=DepthProtocol(max_depth_m=cap, crop=crop.value),
            image_topic=image_topic,
            rectified=rectified.value,
            json=json_file,
            report=report,
            baseline=baseline,
            worst=worst,
        )
    )
    return exit_code(result["damage"])
