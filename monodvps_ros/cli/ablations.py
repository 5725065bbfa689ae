# SPDX-License-Identifier: Apache-2.0
"""`monodvps ablations`: the ablations of the paper's tables 1 and 2 on the data set 'drives', by one command."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monodvps_ros.cli.overrides import only_settings
from monodvps_ros.config import TrainingConfig
from monodvps_ros.errors import ConfigError


def ablations(
    data: Annotated[Path, typer.Option(help="Folder of 'drives', made by monodvps scenes --split train and val.")],
    out: Annotated[Path, typer.Option(help="Folder for runs and results; what is finished there is not run again.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Settings of all runs, such as network.encoder=resnet50."),
    ] = None,
    configs: Annotated[Path, typer.Option(help="Folder of the ablations' configs.")] = Path("config/ablations"),
    steps: Annotated[int | None, typer.Option(help="Steps of each run; default: the configs'.", min=1)] = None,
    seeds: Annotated[str, typer.Option(help="Seeds, parted by commas.")] = "0",
    only: Annotated[list[str] | None, typer.Option(help="Run this one; may be repeated. Default: all.")] = None,
    teacher: Annotated[
        str, typer.Option(help="Weights that label the unlabelled drives; default: 'panoptic_only' of the same seed.")
    ] = "",
    weights: Annotated[str, typer.Option(help="Weights or checkpoint that all runs start from.")] = "",
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda; default: the configs'.")] = None,
    validation_frames: Annotated[int, typer.Option(help="Measure on this many frames at most.", min=1)] = 200,
) -> int:
    """Train each variant with each seed for the same steps, measure it on 'val', and set it beside the paper's row."""
    from monodvps_ros.training.ablations import TABLE_FILE, Ablations, run_ablations  # noqa: PLC0415 (takes seconds)

    overrides = only_settings(words or [], TrainingConfig)
    if steps is not None:
        overrides["max_steps"] = str(steps)
    if device is not None:
        overrides["device"] = device
    console = Console(stderr=True)
    wanted = Ablations(
        data=data,
        out=out,
        configs=configs,
        seeds=parse_seeds(seeds),
        names=tuple(only or ()),
        overrides=tuple(overrides.items()),
        validation_frames=validation_frames,
        teacher=teacher,
        weights=weights,
    )
    stopped_by = run_ablations(wanted, console)
    if stopped_by:
        console.print("stopped; the same command goes on")
        return 128 + stopped_by
    Console().print((out / TABLE_FILE).read_text(encoding="utf-8"), markup=False, highlight=False, soft_wrap=True)
    return 0


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read whole numbers parted by commas.

    Raises:
        ConfigError: the text is something else, or names one twice.
    """
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"seeds is '{text}'; expected whole numbers parted by commas, such as 0,1") from None
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(f"seeds is '{text}'; expected different numbers, 0 or above")
    return seeds
