# SPDX-License-Identifier: Apache-2.0
"""`monodvps train`: from recordings to a weights file."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from monodvps_ros.cli.options import Rectified, RectifiedOption
from monodvps_ros.cli.overrides import split_words
from monodvps_ros.config import TrainingConfig, load
from monodvps_ros.data.incomplete import exit_code
from monodvps_ros.errors import ConfigError


def train(
    data: Annotated[list[str], typer.Option(help="A bag, a data set, a folder of images or a video; may be repeated.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and the weights file.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]... [NAME=VALUE]...",
            help="More data, and settings by their dotted names, such as loss.depth=10.",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Training config, YAML; without it, the defaults.")] = None,
    validate: Annotated[str, typer.Option(help="Data with truth to measure on.")] = "",
    rectified: RectifiedOption = Rectified.AUTO,
    max_steps: Annotated[int | None, typer.Option(help="Steps of the whole training.", min=1)] = None,
    weights: Annotated[str, typer.Option(help="Weights file to start from, or a checkpoint.")] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    devices: Annotated[int, typer.Option(help="Processes on each machine.", min=1)] = 1,
    nodes: Annotated[int, typer.Option(help="Machines.", min=1)] = 1,
) -> int:
    """Train the network: depth, flow and ego motion from raw video, panoptic segmentation from labels.

    Exit code 3: done, but frames of the data are missing, damaged or left out because of their stamps. Where these are
    more than the others, nothing is trained.
    """
    from monodvps_ros.data import open_source  # noqa: PLC0415 (training's imports take seconds; --help must not)
    from monodvps_ros.data.formats.pseudo_labels import is_pseudo_labelled  # noqa: PLC0415
    from monodvps_ros.training.run import train as run  # noqa: PLC0415

    paths, overrides = split_words(words or [], TrainingConfig)
    if max_steps is not None:
        overrides["max_steps"] = str(max_steps)
    settings = load(TrainingConfig, config, overrides)
    if resume and weights:
        raise ConfigError("--resume goes on with the checkpoint's own weights; leave --weights out")
    if validate and is_pseudo_labelled(Path(validate)):
        raise ConfigError(f"--validate {validate} holds pseudo-labels, a teacher's guesses; give data with true labels")
    names = [*data, *paths]
    result = run(
        settings,
        [open_source(Path(name), rectified=rectified.value) for name in names],
        out,
        names=names,
        validation=open_source(Path(validate), rectified=rectified.value) if validate else None,
        weights=weights,
        resume=resume,
        devices=devices,
        nodes=nodes,
    )
    Console().print(f"{result.weights} after {result.steps} steps", soft_wrap=True, highlight=False)
    code = exit_code(result.damage)
    if not result.stopped_by:
        return code
    Console(stderr=True).print(f"stopped at step {result.steps} of {settings.max_steps}; go on with --resume")
    return 128 + result.stopped_by
