# SPDX-License-Identifier: Apache-2.0
"""`monodvps evaluate`: evaluate predictions or weights against ground truth; writes JSON and an HTML report."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from monodvps_ros.cli.options import ImageTopicOption, RectifiedOption, Split
from monodvps_ros.cli.overrides import only_settings
from monodvps_ros.config import PipelineConfig

_Data = Annotated[
    Path,
    typer.Option(
        help="Data set, recording or folder of images with ground truth; with --split, the folder of 'drives'."
    ),
]
_Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME=VALUE]...", help="Pipeline settings for --weights, such as tracker.max_age=0."),
]
_Predictions = Annotated[
    Path | None,
    typer.Option(help="Stored predictions: a folder with pan/ and dep/, or a recording of the node's outputs."),
]
_Weights = Annotated[
    str,
    typer.Option(
        help="Weights to evaluate, without --predictions: a file, a shipped name (street, drives) or 'random'. "
        "Default: the shipped weights."
    ),
]
_Against = Annotated[str, typer.Option(help="Weights to compare --weights with on the same frames.")]
_Split = Annotated[Split | None, typer.Option(help="Evaluate --weights on this split of the 'drives' in --data.")]
_Labels = Annotated[
    Path | None, typer.Option(help="YAML file that defines the values of label images. Default: labels.yaml in --data.")
]
_Stills = Annotated[bool, typer.Option("--stills", help="Process each image independently, without tracking or flow.")]
_Frames = Annotated[int | None, typer.Option(min=1, help="Evaluate the first N frames of each recording.")]
_Last = Annotated[int | None, typer.Option(min=1, help="Evaluate the last N frames of each recording.")]
_Dataset = Annotated[
    str,
    typer.Option(
        help="Data set whose VPQ windows and prediction layout apply, such as semkitti-dvps; listed in "
        "docs/file_formats.md. Default: that of --data."
    ),
]
_Scaling = Annotated[
    Literal["none", "median", "camera-height", "live"] | None,
    typer.Option(
        help="How predicted depth is scaled to metres. Default: none for --predictions; all for --weights, with median "
        "in the report."
    ),
]
_CameraHeight = Annotated[float | None, typer.Option(help="Height of the camera above the road (m).")]
_Cap = Annotated[float, typer.Option(help="Maximum true depth in depth errors (m).")]
_Crop = Annotated[
    Literal["none", "garg", "eigen", "cityscapes"],
    typer.Option(help="Part of the image in which depth errors are computed."),
]
_MinArea = Annotated[int, typer.Option(min=0, help="Minimum area of a true thing in pixels; smaller ones are void.")]
_Json = Annotated[Path | None, typer.Option("--json", help="Write the result to this JSON file.")]
_Totals = Annotated[Path | None, typer.Option(help="Write the totals to this file, for 'monodvps fleet evaluate'.")]
_Report = Annotated[Path | None, typer.Option(help="Write a self-contained HTML report to this file.")]
_Baseline = Annotated[Path | None, typer.Option(help="JSON file of another evaluation to compare with.")]
_Worst = Annotated[int, typer.Option(help="Number of worst frames in the report, for each kind of error.", min=0)]
_Device = Annotated[str, typer.Option(help="Device for --weights: auto, cpu, cuda or cuda:N.")]


def evaluate(
    data: _Data,
    words: _Words = None,
    predictions: _Predictions = None,
    weights: _Weights = "",
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
    crop: _Crop = "none",
    min_area: _MinArea = 0,
    json_file: _Json = None,
    totals: _Totals = None,
    report: _Report = None,
    baseline: _Baseline = None,
    worst: _Worst = 4,
    image_topic: ImageTopicOption = None,
    rectified: RectifiedOption = "auto",
    device: _Device = "auto",
) -> int:
    """Evaluate depth, segmentation and tracking against ground truth: PQ, VPQ, DVPQ, STQ, DSTQ, mIoU, depth errors.

    docs/evaluation.md describes metrics, JSON and label images. Exit code 3: finished, but input frames are missing.
    """
    from monodvps_ros.evaluation import command  # noqa: PLC0415 (torch takes seconds to import, and --help must not)

    return command.evaluate(
        command.Request(
            data=data,
            predictions=predictions,
            weights=weights,
            against=against,
            split=split or "",
            settings=only_settings(words or [], PipelineConfig),
            device=device,
            dataset=dataset,
            labels=labels,
            stills=stills,
            frames=frames,
            last=last,
            min_area_px=min_area,
            scaling=depth_scaling or "",
            camera_height_m=camera_height,
            cap_m=cap,
            crop=crop,
            image_topic=image_topic,
            rectified=rectified,
            json=json_file,
            totals=totals,
            report=report,
            baseline=baseline,
            worst=worst,
        )
    )
