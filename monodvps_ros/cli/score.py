# SPDX-License-Identifier: Apache-2.0
"""`monodvps score`: every metric of a weights file on a split of 'drives', by one command."""

import json
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from monodvps_ros.cli.overrides import split_words
from monodvps_ros.cli.splits import Split
from monodvps_ros.config import PipelineConfig, load
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.evaluation.headline import LIVE, MEDIAN, headline_table
from monodvps_ros.evaluation.result_files import read_result_file, write_result_file


def score(
    data: Annotated[Path, typer.Option(help="Folder of 'drives', made by monodvps scenes --split.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Settings of the pipeline, such as tracker.max_age=0."),
    ] = None,
    weights: Annotated[str, typer.Option(help="Weights file; 'random': untrained. Default: the shipped file.")] = "",
    split: Annotated[Split, typer.Option(help="What to measure on.")] = Split.TEST,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all numbers here.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page here that opens in any browser, offline.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="JSON of another run to compare with.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    min_area: Annotated[
        int, typer.Option(min=0, help="True things of which fewer pixels are to be seen count as void.")
    ] = 0,
    frames: Annotated[int | None, typer.Option(min=1, help="Measure this many frames of each drive at most.")] = None,
) -> None:
    """Predict a split of 'drives' and measure it: depth, panoptic segmentation, tracking, time.

    Depth is measured twice: with the true median in each frame, and with the metres that the node would publish.
    """
    from monodvps_ros.evaluation.scoring import Scoring  # noqa: PLC0415 (torch takes seconds; --help must not)
    from monodvps_ros.perception import resolve_device  # noqa: PLC0415
    from monodvps_ros.perception.loading import load_model  # noqa: PLC0415

    others, overrides = split_words(words or [], PipelineConfig)
    if others:
        raise ConfigError(f"'{others[0]}' is no setting; expected NAME=VALUE")
    if "scale.camera_height_m" in overrides:
        raise ConfigError("scale.camera_height_m is that of each drive here; leave it out")
    settings = load(PipelineConfig, None, {"device": device, "weights": weights, **overrides})
    other = None if baseline is None else read_score(baseline)
    model = load_model(settings, resolve_device(settings.device))
    console = Console(highlight=False)
    console.print(f"{split.value}: {model.description}", soft_wrap=True)
    scoring = Scoring(model, settings, pictures=4 if report is not None else 0, min_area_px=min_area)
    _run(scoring, split.value, data, frames)
    results = {"split": split.value, "weights": model.description, "settings": overrides, **scoring.results()}
    if json_file is not None:
        write_result_file(json_file, json.dumps(results, indent=2, allow_nan=False) + "\n")
    if report is not None:
        write_result_file(report, _page(scoring, results, other, "" if baseline is None else baseline.name))
    columns = {"median scale": results["headline"][MEDIAN], f"scale by {_mode(settings)}": results["headline"][LIVE]}
    if other is not None and baseline is not None:
        columns |= {f"{baseline.stem}, {name}": other["headline"][name] for name in (MEDIAN, LIVE)}
    console.print(headline_table(columns, f"{results['frames']} frames of {results['drives']} drives"))
    console.print(f"pipeline: half of the frames within {results['pipeline_ms']['p50']:.0f} ms")
    if results["frames_without_metres"]:
        console.print(f"{results['frames_without_metres']} frames had no metres: no road was seen yet")
    for path in (json_file, report):
        if path is not None:
            console.print(f"wrote {path}", soft_wrap=True)


def read_score(path: Path) -> dict[str, Any]:
    """Read the JSON of another run.

    Raises:
        DataError: it cannot be read, or is something else.
    """
    return read_result_file(path, "headline")


def _mode(settings: PipelineConfig) -> str:
    return settings.scale.mode.replace("_", " ")


def _run(scoring: Any, name: str, data: Path, frames: int | None) -> None:
    from monodvps_ros.data import open_source  # noqa: PLC0415
    from monodvps_ros.scenes.drives import split  # noqa: PLC0415
    from monodvps_ros.scenes.split_files import is_written  # noqa: PLC0415

    drives = split(name)
    missing = [drive for drive in drives if not is_written(drive, data, as_bag=True)]
    if missing:
        raise DataError(
            f"{data / missing[0].folder}: {missing[0].name} is not there ({len(missing)} of {len(drives)} drives); "
            f"render them with: monodvps scenes --split {name} --out {data}"
        )
    total = sum(min(drive.config.frames, frames or drive.config.frames) for drive in drives)
    columns = TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("scoring", total=total)
        for drive in drives:
            source = open_source(data / drive.folder / drive.name)
            if source.label_space.name != scoring.pipeline.model.label_space.name:
                raise ConfigError(
                    f"the drives have the classes of '{source.label_space.name}' but the model those of "
                    f"'{scoring.pipeline.model.label_space.name}'; only a model of the same classes can be measured"
                )
            for _ in scoring.drive(islice(source, frames), drive.config.camera_height_m):
                progress.advance(task)


def _page(scoring: Any, results: dict[str, Any], other: dict[str, Any] | None, other_name: str) -> str:
    from monodvps_ros.evaluation.report import render_report  # noqa: PLC0415

    evaluation = scoring.evaluations[LIVE]
    title = f"{results['split']}: {results['weights']}"
    before = None if other is None else other[LIVE]
    return render_report(
        results[LIVE], evaluation.worst_frames(), evaluation.film.contents(), before, other_name, title
    )
