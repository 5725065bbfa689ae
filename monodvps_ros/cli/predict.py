# SPDX-License-Identifier: Apache-2.0
"""`monodvps predict`: write predictions of a recording, a data set, a folder of images or a video."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monodvps_ros.cli.options import WEIGHTS_HELP, ImageTopicOption, RectifiedOption
from monodvps_ros.cli.overrides import only_settings
from monodvps_ros.config import PipelineConfig, load
from monodvps_ros.data.incomplete import EXIT_INCOMPLETE, exit_code
from monodvps_ros.errors import DataError, counted
from monodvps_ros.files import owned
from monodvps_ros.progress import tracked

_Format = Annotated[
    str,
    typer.Option(
        "--format",
        help="Format of the predictions: 'bag', or a data set's layout of pan/ and dep/, such as cityscapes-dvps; "
        "listed in docs/file_formats.md.",
    ),
]


def predict(
    input_: Annotated[Path, typer.Option("--input", help="Recording, data set, folder of images or video file.")],
    out: Annotated[Path, typer.Option(help="Output folder; an interrupted run is continued.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Pipeline settings by dotted name, such as tracker.max_age=30."),
    ] = None,
    weights: Annotated[str, typer.Option(help=f"{WEIGHTS_HELP}street.")] = "",
    format_: _Format = "cityscapes-dvps",
    config: Annotated[
        Path | None, typer.Option(help="Pipeline configuration (YAML). Default: built-in defaults.")
    ] = None,
    image_topic: ImageTopicOption = None,
    rectified: RectifiedOption = "auto",
    device: Annotated[str, typer.Option(help="Device: auto (CUDA if available), cpu, cuda or cuda:N.")] = "auto",
    frames: Annotated[int | None, typer.Option(min=1, help="Maximum number of frames to predict.")] = None,
) -> int:
    """Write depth and panoptic predictions: pan/ and dep/ in the layout of the public evaluation scripts, or bags.

    An interrupted run is continued: by frame in pan/ and dep/, by sequence in bags. Exit code 3: finished, but input
    frames are missing, damaged or skipped because of their stamps, or the network gave NaN or infinite numbers.
    """
    # Imported here so that --help does not wait for torch.
    from monodvps_ros.data import open_source  # noqa: PLC0415
    from monodvps_ros.data.fingerprints import fingerprint  # noqa: PLC0415
    from monodvps_ros.evaluation.prediction import BagPrediction, FolderPrediction, Run  # noqa: PLC0415
    from monodvps_ros.perception import Pipeline, resolve_device  # noqa: PLC0415
    from monodvps_ros.perception.loading import load_model  # noqa: PLC0415

    overrides = only_settings(words or [], PipelineConfig)
    source = open_source(input_, image_topic=image_topic, rectified=rectified)
    if not len(source):
        raise DataError(f"{input_}: contains no frames")
    height_m = getattr(source, "camera_height_m", None)
    if height_m is not None:
        overrides.setdefault("scale.camera_height_m", height_m)
    settings = load(PipelineConfig, config, {"device": device, "weights": weights, **overrides})
    model = load_model(settings, resolve_device(settings.device))
    run = Run(source, Pipeline(model, settings), frames)
    console = Console(markup=False, stderr=True)
    console.print(
        f"{input_}: {counted(run.length, 'frame')} at {source.rate_hz:g} Hz; {model.description}", soft_wrap=True
    )
    kind = BagPrediction if format_ == "bag" else FolderPrediction
    name = str(input_.resolve()) + ("" if rectified == "auto" else f", rectified: {rectified}")
    with owned(out):
        given = {"input": name, "input_fingerprint": fingerprint(input_, without=out)}
        prediction = kind(run, out, format_, given)
        begin = time.perf_counter()
        for _ in tracked(prediction, "predicting", run.length, console, transient=False):
            pass
    for line in prediction.summary(time.perf_counter() - begin):
        Console(markup=False).print(line, soft_wrap=True, highlight=False)
    return exit_code(run.damage) or (EXIT_INCOMPLETE if run.not_finite else 0)
