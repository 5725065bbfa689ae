# SPDX-License-Identifier: Apache-2.0
"""`monodvps ablations`: the ablations of the paper's tables 1 and 2 on the data set 'drives'."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monodvps_ros.cli.overrides import only_settings
from monodvps_ros.config import TrainingConfig
from monodvps_ros.errors import ConfigError, shortened
from monodvps_ros.files import owned


def ablations(
    data: Annotated[
        Path, typer.Option(help="Folder of 'drives', rendered by monodvps scenes --split train and --split val.")
    ],
    out: Annotated[Path, typer.Option(help="Output folder for runs and results; finished runs are kept.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=VALUE]...", help="Training settings of all runs, such as network.encoder=resnet50."
        ),
    ] = None,
    configs: Annotated[Path, typer.Option(help="Folder of the ablation configurations.")] = Path("config/ablations"),
    steps: Annotated[
        int | None, typer.Option(help="Training steps of each run. Default: as configured.", min=1)
    ] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated random seeds.")] = "0",
    only: Annotated[
        list[str] | None, typer.Option(help="Run only this ablation; may be repeated. Default: all.")
    ] = None,
    teacher: Annotated[
        str,
        typer.Option(
            help="Weights file that pseudo-labels the unlabelled drives. Default: 'panoptic_only' of the same seed."
        ),
    ] = "",
    weights: Annotated[str, typer.Option(help="Weights file or checkpoint that all runs start from.")] = "",
    device: Annotated[
        str | None, typer.Option(help="Training device: auto, cpu or cuda. Default: as configured.")
    ] = None,
    validation_frames: Annotated[int, typer.Option(help="Maximum number of frames to evaluate on.", min=1)] = 200,
) -> int:
    """Train each ablation with each seed for the same number of steps and compare it on 'val' with the paper."""
    from monodvps_ros.training.ablations import TABLE_FILE, Ablations, run_ablations  # noqa: PLC0415 (takes seconds)

    overrides = only_settings(words or [], TrainingConfig)
    if steps is not None:
        overrides["max_steps"] = steps
    if device is not None:
        overrides["device"] = device
    console = Console(markup=False, stderr=True)
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
    with owned(out):
        stopped_by = run_ablations(wanted, console)
    if stopped_by:
        console.print("stopped; run the same command again to continue")
        return 128 + stopped_by
    Console(markup=False).print((out / TABLE_FILE).read_text(encoding="utf-8"), highlight=False, soft_wrap=True)
    return 0


def parse_seeds(text: str) -> tuple[int, ...]:
    """Read comma-separated integers.

    Raises:
        ConfigError: the text is invalid, or a seed is given twice.
    """
    try:
        seeds = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ConfigError(f"seeds is '{shortened(text)}'; expected comma-separated integers, such as 0,1") from None
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise ConfigError(f"seeds is '{shortened(text)}'; expected distinct integers, 0 or above")
    return seeds
