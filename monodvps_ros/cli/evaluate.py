# SPDX-License-Identifier: Apache-2.0
"""`monodvps evaluate`: measure predictions against truth; a JSON file and a page to look at."""

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from monodvps_ros.cli.options import Rectified, RectifiedOption
from monodvps_ros.evaluation.pairs import FramePairs, check_any
from monodvps_ros.evaluation.report import CARDS, card_text, render_report
from monodvps_ros.evaluation.result_files import read_result_file, write_result_file
from monodvps_ros.evaluation.runner import Evaluation
from monodvps_ros.evaluation.scaling import Scaling
from monodvps_ros.metrics import DepthProtocol, dataset_rules


class Dataset(str, Enum):
    """Data sets and the constants by which they are measured."""

    CITYSCAPES_DVPS = "cityscapes-dvps"
    SEMKITTI_DVPS = "semkitti-dvps"
    BAG = "bag"


class Crop(str, Enum):
    """Part of the image in which depth is measured."""

    NONE = "none"
    GARG = "garg"
    EIGEN = "eigen"
    CITYSCAPES = "cityscapes"


def evaluate(
    ground_truth: Annotated[Path, typer.Option(help="Data set or recording with truth.")],
    predictions: Annotated[Path, typer.Option(help="Folder with pan/ and dep/, or recording of the node's topics.")],
    dataset: Annotated[Dataset, typer.Option(help="Whose constants and file names apply.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page here that opens in any browser, offline.")] = None,
    scaling: Annotated[Scaling, typer.Option(help="What brings predicted depth to metres.")] = Scaling.NONE,
    camera_height: Annotated[
        float | None, typer.Option(help="Height of the camera above the road, for --scaling camera-height [m].")
    ] = None,
    cap: Annotated[float, typer.Option(help="True depth beyond this is not measured by depth errors [m].")] = 80.0,
    crop: Annotated[Crop, typer.Option(help="Part of the image in which depth errors are measured.")] = Crop.NONE,
    baseline: Annotated[Path | None, typer.Option(help="JSON of another run to compare with in the page.")] = None,
    worst: Annotated[int, typer.Option(help="Frames to show in the page, by PQ and by depth error each.", min=0)] = 4,
    image_topic: Annotated[str | None, typer.Option(help="Images of a recording with several cameras.")] = None,
    rectified: RectifiedOption = Rectified.AUTO,
) -> None:
    """Measure depth, panoptic segmentation and tracking against truth: PQ, VPQ, DVPQ, STQ, DSTQ, depth errors."""
    other = None if baseline is None else read_results(baseline)
    rules = dataset_rules(dataset.value)
    protocol = DepthProtocol(max_depth_m=cap, crop=crop.value)
    pairs = FramePairs(rules, ground_truth, predictions, image_topic, rectified.value)
    evaluation = Evaluation(
        rules, pairs.space, scaling, protocol, camera_height, pictures=worst if report is not None else 0
    )
    _run(evaluation, pairs)
    check_any(evaluation.frames, evaluation.without_prediction, pairs.without_truth, ground_truth)
    results = {
        **evaluation.results(),
        "ground_truth": str(ground_truth),
        "predictions": str(predictions),
        "unpaired": {
            "predictions": pairs.without_truth.summary(),
            "ground_truth": evaluation.without_prediction.summary(),
        },
    }
    if json_file is not None:
        write_result_file(json_file, json.dumps(results, indent=2, allow_nan=False) + "\n")
    if report is not None:
        title = predictions.resolve().name
        name = "baseline" if baseline is None else baseline.name
        page = render_report(results, evaluation.worst_frames(), evaluation.film.contents(), other, name, title)
        write_result_file(report, page)
    _print_summary(results, json_file, report)


def read_results(path: Path) -> dict[str, Any]:
    """Read the JSON of an evaluation.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    return read_result_file(path, "pq", "depth")


def _run(evaluation: Evaluation, pairs: FramePairs) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("evaluate", total=len(pairs))
        for pair in pairs:
            evaluation.add(pair)
            progress.advance(task)


def _print_summary(results: dict[str, Any], json_file: Path | None, report: Path | None) -> None:
    console = Console()
    table = Table(title=f"{results['dataset']}: {results['frames']} frames in {results['sequences']} sequences")
    for title, *_ in CARDS:
        table.add_column(title, justify="right")
    table.add_row(*(card_text(results, card) for card in CARDS))
    console.print(table)
    for side, what in (
        ("predictions", "predictions without a true frame"),
        ("ground_truth", "true frames without a prediction"),
    ):
        unpaired = results["unpaired"][side]
        if unpaired["count"]:
            shown = ", ".join(unpaired["names"][:5]) + (", …" if unpaired["count"] > 5 else "")
            console.print(f"{unpaired['count']} {what} left out: {shown}", highlight=False)
    for path in (json_file, report):
        if path is not None:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)
