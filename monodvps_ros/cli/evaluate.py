# SPDX-License-Identifier: Apache-2.0
"""`monodvps evaluate`: measure predictions, or weights, against truth; a JSON file and a page to look at."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from monodvps_ros.cli.options import Rectified, RectifiedOption
from monodvps_ros.cli.overrides import only_settings
from monodvps_ros.cli.splits import Split
from monodvps_ros.config import PipelineConfig


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


_Data = Annotated[
    Path, typer.Option(help="Data set, recording or folder of images with truth; with --split, folder of 'drives'.")
]
_Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME=VALUE]...", help="Pipeline settings for --weights, such as tracker.max_age=0."),
]
_Predictions = Annotated[
    Path | None, typer.Option(help="Predictions made before: folder with pan/ and dep/, or recording of the node.")
]
_Weights = Annotated[
    str, typer.Option(help="Without --predictions: weights file that predicts now, 'shipped' or 'random'.")
]
_Against = Annotated[str, typer.Option(help="Weights file to compare --weights with on the same frames.")]
_Split = Annotated[Split | None, typer.Option(help="Measure --weights on this split of 'drives' in --data.")]
_Labels = Annotated[
    Path | None, typer.Option(help="YAML that says what label images mean. Default: labels.yaml in --data.")
]
_Stills = Annotated[bool, typer.Option("--stills", help="Treat each image alone: no tracking, no flow.")]
_Frames = Annotated[int | None, typer.Option(min=1, help="Measure the first N frames of each recording.")]
_Last = Annotated[int | None, typer.Option(min=1, help="Measure the last N frames of each recording.")]
_Dataset = Annotated[
    str,
    typer.Option(
        help="Data set whose windows and prediction layout apply, such as semkitti-dvps; docs/file_formats.md lists "
        "them. Default: that of --data."
    ),
]
_Scaling = Annotated[
    Scaling | None,
    typer.Option(help="Scaling of predicted depth to metres. Default: none; for --weights all, median in the page."),
]
_CameraHeight = Annotated[float | None, typer.Option(help="Height of the camera above the road [m].")]
_Cap = Annotated[float, typer.Option(help="Leave true depth beyond this out of depth errors [m].")]
_Crop = Annotated[Crop, typer.Option(help="Part of the image in which depth errors are measured.")]
_MinArea = Annotated[int, typer.Option(min=0, help="Treat true things of fewer pixels as void.")]
_Json = Annotated[Path | None, typer.Option("--json", help="Write the result here as JSON.")]
_Report = Annotated[Path | None, typer.Option(help="Write an HTML page here that opens offline.")]
_Baseline = Annotated[Path | None, typer.Option(help="JSON of another evaluation to compare with.")]
_Worst = Annotated[int, typer.Option(help="Worst frames to show in the page, by kind of error.", min=0)]
_ImageTopic = Annotated[str | None, typer.Option(help="Image topic of a recording with several cameras.")]
_Device = Annotated[str, typer.Option(help="Device for --weights: auto, cpu, cuda or cuda:N.")]


def evaluate(
    data: _Data,
    words: _Words = None,
    predictions: _Predictions = None,
    weights: _Weights = "shipped",
    against: _Against = "",
    split: _Split = None,
    labels: _Labels = None,
    stills: _Stills = False,
    frames: _Frames = None,
    last: _Last = None,
    dataset: _Dataset = "",
    depth_scaling: _Scaling = None,
    camera_height: _CameraHeight = None,
    cap: _Cap = 80.0,
    crop: _Crop = Crop.NONE,
    min_area: _MinArea = 0,
    json_file: _Json = None,
    report: _Report = None,
    baseline: _Baseline = None,
    worst: _Worst = 4,
    image_topic: _ImageTopic = None,
    rectified: RectifiedOption = Rectified.AUTO,
    device: _Device = "auto",
) -> int:
    """Measure depth, segmentation and tracking against truth: PQ, VPQ, DVPQ, STQ, DSTQ, mIoU, depth errors and more.

    docs/evaluation.md describes every figure, the JSON, and label images. Exit code 3: done, but frames of the data or
    of the predictions are missing, damaged or left out because of their stamps.
    """
    from monodvps_ros.evaluation import command  # noqa: PLC0415 (torch takes seconds to import, and --help must not)

    return command.evaluate(
        command.Request(
            data=data,
            predictions=predictions,
            weights=weights,
            against=against,
            split="" if split is None else split.value,
            settings=only_settings(words or [], PipelineConfig),
            device=device,
            dataset=dataset,
            labels=labels,
            stills=stills,
            frames=frames,
            last=last,
            min_area_px=min_area,
            scaling="" if depth_scaling is None else depth_scaling.value,
            camera_height_m=camera_height,
            cap_m=cap,
            crop=crop.value,
            image_topic=image_topic,
            rectified=rectified.value,
            json=json_file,
            report=report,
            baseline=baseline,
            worst=worst,
        )
    )
